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

from lora_ledger.records.atomic import new_folder, share

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


def step_of(path: Path) -> int:
    """The step whose checkpoint a folder is."""
    return int(path.name.removeprefix(PREFIX))


def whole(work: Path, fingerprint: str) -> list[Path]:
    """The whole checkpoints of the run with this fingerprint, the newest first."""
    found = []
    for path in work.glob(f"{PREFIX}*"):
        marker = path / MARKER
        if marker.is_file() and marker.read_text("utf-8") == fingerprint:
            found.append(path)
    return sorted(found, key=step_of, reverse=True)


def link(path: Path, work: Path, fingerprint: str) -> None:
    """A whole checkpoint as one of another run, in its folder: whole or not at all.

    The files are the same ones, or copies on a disk that has no links; none is ever written again.
    """
    to = folder(work, step_of(path))
    if to in whole(work, fingerprint):
        return
    with new_folder(to) as made:
        for file in path.iterdir():
            if file.name == MARKER:
                continue
            try:
                os.link(file, made / file.name)
            except OSError:
                shutil.copy2(file, made / file.name)
        complete(made, fingerprint)
    _sync(work)


def newest(work: Path, fingerprint: str) -> Path | None:
    """The newest whole checkpoint of the run with this fingerprint; all others are deleted."""
    best = next(iter(whole(work, fingerprint)), None)
    for path in work.glob(f"{PREFIX}*"):
        if path != best:
            _remove(path)
    return best


@contextmanager
def alone(work: Path, wait: bool = False) -> Iterator[None]:
    """Have the folder to oneself; the kernel lets go of it when the process ends, however it ends.

    Raises ValueError when another process has it, unless this one is to `wait` for it.
    """
    handle = _locked(work, wait)
    while handle is None:
        handle = _locked(work, wait)
    try:
        yield
    finally:
        os.close(handle)


def _locked(work: Path, wait: bool) -> int | None:
    """The handle that holds the lock; None when the folder was removed meanwhile."""
    work.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(work / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
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
