"""Checkpoints that count only once they are whole.

In: a folder of checkpoints. Out: the newest that is complete and belongs to this run. A checkpoint
is complete when its marker is there, which is written after all else has reached the disk; what a
killed process left half-written, or another run left behind, is deleted.
What is inside a checkpoint is the trainer's matter.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MARKER = "complete"
PREFIX = "checkpoint-"


def folder(work: Path, step: int) -> Path:
    """The folder of a step's checkpoint, with the number that transformers expects in its name."""
    return work / f"{PREFIX}{step}"


def complete(path: Path, fingerprint: str) -> None:
    """Declare a checkpoint whole: everything to the disk first, then the marker."""
    for file in sorted(path.rglob("*")):
        _sync(file)
    _sync(path)
    temporary = path / f".{MARKER}"
    temporary.write_text(fingerprint, "utf-8")
    _sync(temporary)
    temporary.replace(path / MARKER)
    _sync(path)


def keep_only(work: Path, path: Path) -> None:
    """Delete every checkpoint but `path`."""
    for other in work.glob(f"{PREFIX}*"):
        if other != path:
            _remove(other)


def newest(work: Path, fingerprint: str) -> Path | None:
    """The newest whole checkpoint of the run with this fingerprint; all others are deleted."""
    found = []
    for path in work.glob(f"{PREFIX}*"):
        marker = path / MARKER
        if marker.is_file() and marker.read_text("utf-8") == fingerprint:
            found.append(path)
    best = max(found, key=lambda path: int(path.name.removeprefix(PREFIX)), default=None)
    for path in work.glob(f"{PREFIX}*"):
        if path != best:
            _remove(path)
    return best


def _remove(path: Path) -> None:
    # Without its marker first, a deletion that is cut short leaves nothing that counts.
    (path / MARKER).unlink(missing_ok=True)
    shutil.rmtree(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
