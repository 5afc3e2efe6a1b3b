"""A source on the user's own disk: a model folder, or a file.

In: a path as the study or the catalogue has it. Out: the same path, absolute and checked. Nothing
is copied and nothing is cached: the bytes stay the user's.
"""

from __future__ import annotations

from pathlib import Path

from lora_ledger.catalogue import LocalSource

from .cache import SourceError, require, sha256_of


def locate(source: LocalSource) -> Path:
    """The absolute path. Raises SourceError when nothing is there, or a folder has a hash."""
    path = Path(source.path).expanduser().absolute()
    if not path.exists():
        near = path.parent
        while not near.exists():
            near = near.parent
        raise SourceError(
            f"the local path {source.path} is not there (looked for {path}; the part that exists "
            f"is {near}); correct `path`, which is taken from the working directory"
        )
    if source.sha256 and path.is_dir():
        raise SourceError(
            f"{path} is a folder, and `sha256` is the hash of a file; leave `sha256` out"
        )
    return path


def obtain(source: LocalSource) -> Path:
    """The path, its hash checked where the source gives one."""
    path = locate(source)
    if source.sha256:
        require(
            path,
            source.sha256,
            origin=f"the local file {path}",
            remedy="restore the file, or put the new hash into the entry's `sha256`",
        )
    return path


def provenance(source: LocalSource) -> str:
    """The hash of the file; of a folder, which is the user's own, the name alone."""
    if source.sha256:
        return source.sha256
    path = locate(source)
    return sha256_of(path) if path.is_file() else f"folder {path.name}"
