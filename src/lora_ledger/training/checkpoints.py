"""Checkpoints that count only once they are whole, in a folder that one process has to itself.

In: a folder of checkpoints. Out: the newest that is complete and belongs to this run. A checkpoint
is complete when its marker is there, which is written after all else has reached the disk; what a
killed process left half-written, or another run left behind, is deleted.
What is inside a checkpoint is the trainer's matter.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_ledger.records.atomic import share

LOCK = "alone.lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system says that has none."""
MARKER = "complete"
PREFIX = "checkpoint-"


def folder(work: Path, step: int) -> Path:
    """The folder of a step's checkpoint, with the number that transformers expects in its name."""
    return work / f"{PREFIX}{step}"


def complete(path: Path, fingerprint: str) -> None:
    """Declare a checkpoint whole: everything to the disk first, then the marker."""
    share(path)
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


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Have the folder to oneself; the kernel lets go of it when the process ends, however it ends.

    Raises ValueError when another process has it.
    """
    handle = _locked(work)
    while handle is None:
        handle = _locked(work)
    try:
        yield
    finally:
        os.close(handle)


def _locked(work: Path) -> int | None:
    """The handle that holds the lock; None when the folder was removed meanwhile."""
    work.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(work / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 32).decode("ascii", "replace").strip()
        os.close(handle)
        raise ValueError(
            f"{work}: found process {holder or '(not named)'} at work on this cell, expected none; "
            "wait for it, or stop it and give the same command again"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            os.close(handle)
            raise
    try:
        # Whoever held the lock before may have removed the folder, and a third made it again.
        same = os.path.samestat(os.fstat(handle), (work / LOCK).stat())
    except FileNotFoundError:
        same = False
    if not same:
        os.close(handle)
        return None
    os.truncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())
    return handle


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
