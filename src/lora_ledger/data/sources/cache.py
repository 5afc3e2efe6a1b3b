"""The cache: files by the hash of their bytes, and the mirror folder beside it.

In: a hash and a file name. Out: a path under the cache folder whose bytes were hashed just now.
Files enter by a rename on the same file system, so a reader sees a whole file or none, and two
processes that store the same bytes do no harm. Nothing here knows where bytes come from.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lora_ledger.records.atomic import share


class SourceError(Exception):
    """A source cannot be had, or its bytes are not the pinned ones. One message for a person."""


def cache_root() -> Path:
    """LEDGER_CACHE, or `lora-ledger` in XDG_CACHE_HOME, or `~/.cache/lora-ledger`."""
    if chosen := os.environ.get("LEDGER_CACHE"):
        return Path(chosen).expanduser()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser() / "lora-ledger"
    return Path.home() / ".cache" / "lora-ledger"


def cached_path(sha256: str, name: str) -> Path:
    """Where a file of this hash lies once it is cached; it need not be there."""
    return cache_root() / "sha256" / sha256 / name


def partial_path(sha256: str, name: str) -> Path:
    """Where the part of a download that has arrived waits for the rest, also after a kill."""
    return cache_root() / "partial" / sha256 / name


def mirror() -> Path | None:
    """The folder LEDGER_MIRROR, or None where it is not set."""
    folder = os.environ.get("LEDGER_MIRROR")
    return Path(folder).expanduser().absolute() if folder else None


def mirrored_path(name: str) -> Path | None:
    """The file of this name directly in LEDGER_MIRROR, or None."""
    folder = mirror()
    path = folder / name if folder else None
    return path if path and path.is_file() else None


def mirror_place(name: str) -> str:
    """Where the mirror would hold a name, for messages: without a mirror, `$LEDGER_MIRROR/name`."""
    folder = mirror()
    return f"{folder / name}" if folder else f"$LEDGER_MIRROR/{name}"


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require(path: Path, sha256: str, *, origin: str, remedy: str) -> None:
    """Raise SourceError with both hashes unless the file has the pinned one."""
    found = sha256_of(path)
    if found != sha256:
        raise SourceError(
            f"{origin} has the wrong bytes: expected sha256 {sha256}, found {found}; {remedy}"
        )


def lookup(sha256: str, name: str) -> Path | None:
    """The verified file from the cache, or from the mirror by way of the cache, or None.

    Raises SourceError when a file of that name is there with other bytes: a damaged copy is
    reported and never passed over.
    """
    path = cached_path(sha256, name)
    if path.is_file():
        require(
            path, sha256, origin=f"the cached file {path}", remedy="delete that file and run again"
        )
        return path
    mirrored = mirrored_path(name)
    if mirrored is None:
        return None
    with scratch() as folder:
        copy = Path(shutil.copyfile(mirrored, folder / name))
        require(
            copy,
            sha256,
            origin=f"the file {mirrored} of LEDGER_MIRROR",
            remedy="replace it or take it out of the mirror, and run again",
        )
        return store(copy, sha256)


def store(path: Path, sha256: str) -> Path:
    """Move a verified file out of a scratch folder to its place in the cache."""
    target = cached_path(sha256, path.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    share(path)
    path.replace(target)
    return target


@contextmanager
def scratch() -> Iterator[Path]:
    """A private folder on the cache's file system, removed at the end.

    One that a killed process left behind is under `tmp/`, where nothing is looked up.
    """
    try:
        parent = made(cache_root() / "tmp")
        folder = tempfile.TemporaryDirectory(dir=parent)
    except OSError as error:
        raise _unwritable(error) from error
    with folder as name:
        yield Path(name)


def made(folder: Path) -> Path:
    """A folder of the cache, made if need be. Raises SourceError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(error) from error
    return folder


@contextmanager
def locked(key: str) -> Iterator[None]:
    """Only one process at a time holds a key; a killed one lets go of it."""
    try:
        file = (made(cache_root() / "locks") / key).open("w")
    except OSError as error:
        raise _unwritable(error) from error
    with file:
        # A file system without locks costs a second download and no wrong byte: hashes are checked.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unwritable(error: OSError) -> SourceError:
    return SourceError(
        f"the cache folder {cache_root()} cannot be written ({error.strerror}); set LEDGER_CACHE "
        "to a folder that can"
    )
