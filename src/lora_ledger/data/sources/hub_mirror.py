"""A repository's files in the folder LEDGER_MIRROR.

In: a `HubSource`. Out: its files below `LEDGER_MIRROR/<owner>/<name>/`, checked, or links.
`hf download --local-dir` leaves a note beside each file, which gives commit and hash; both are
compared where they are there. Without notes the commit is unknown. Nothing is written there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lora_ledger.catalogue import HubSource

from . import cache, hub_rows
from .cache import SourceError
from .hub_names import STREAM, address, chosen, matching

NOTES = Path(".cache") / "huggingface" / "download"
SHARD = re.compile(r"(.*)-\d+-of-(\d+)")


@dataclass(frozen=True)
class Mirrored:
    """The matching files of a mirror, in order, and the commit that all their notes name."""

    folder: Path
    names: tuple[str, ...]
    commit: str | None

    def state(self) -> list[list[Any]]:
        """What changes when a file is replaced: names, sizes in bytes, times in ns."""
        stats = [(name, (self.folder / name).stat()) for name in self.names]
        return [[str(self.folder), name, s.st_size, s.st_mtime_ns] for name, s in stats]


def find(source: HubSource) -> Mirrored | None:
    """The mirror's files, or None where it lacks one that a pattern names. Hashes nothing.

    Raises SourceError when the notes name another commit than the source, or two commits.
    """
    folder = _folder(source)
    if folder is None:
        return None
    names = _names(folder)
    if matching(source, names)[1]:
        return None
    found = chosen(source, names, f"the mirror {folder}")
    _require_whole(source, folder, found)
    commits = {name: note[0] for name in found if (note := _note(folder, name))}
    for name, commit in commits.items():
        if source.resolved and commit != source.revision:
            raise SourceError(
                f"{folder / name} is of commit {commit} ({folder / NOTES}), and the source names "
                f"{source.revision}; fetch that commit into the mirror, take the folder out of it, "
                "or correct `revision`"
            )
    if len(set(commits.values())) > 1:
        raise SourceError(
            f"the files of {folder} are of several commits ({commits}), expected one; fetch them "
            "again with one `hf download --revision`"
        )
    whole = len(commits) == len(found)
    return Mirrored(folder, tuple(found), next(iter(commits.values())) if whole else None)


def _require_whole(source: HubSource, folder: Path, found: Sequence[str]) -> None:
    """SourceError where a download into the mirror broke off: its traces, or shards that are few.

    A stream may do with the first shards.
    """
    broken = sorted(path.name for path in (folder / NOTES).rglob("*.incomplete"))
    shards: dict[tuple[str, int], int] = {}
    for name in found:
        if numbered := SHARD.match(name):
            key = numbered[1], int(numbered[2])
            shards[key] = shards.get(key, 0) + 1
    few = [f"{stem}: {n} of {total}" for (stem, total), n in shards.items() if n < total]
    if broken or (few and not source.stream):
        raise SourceError(
            f"{folder} is not complete: found {'; '.join([*few, *broken])}, expected all parts; "
            "give the same `hf download` again, or take the folder out of the mirror"
        )


def lacking(source: HubSource) -> list[str]:
    """The patterns that match nothing in a mirror that has a folder for the repository."""
    folder = _folder(source)
    return matching(source, _names(folder))[1] if folder else []


def link(source: HubSource, mirrored: Mirrored, folder: Path) -> Mapping[str, str]:
    """Fill `folder` with links to the mirror's files; their hashes, all checked."""
    hashes = {}
    for name in mirrored.names:
        hashes[name] = _checked(source, mirrored.folder, name)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(mirrored.folder / name)
    return hashes


def stream(source: HubSource, mirrored: Mirrored, folder: Path) -> Mapping[str, str]:
    """Write the rows up to the budget to `folder`; each file that is read is checked before."""
    assert source.stream is not None

    def opened(name: str) -> BinaryIO:
        _checked(source, mirrored.folder, name)
        return (mirrored.folder / name).open("rb")

    check(source, mirrored)
    hub_rows.write(mirrored.names, opened, source.stream, folder / STREAM, address(source))
    return {STREAM: cache.sha256_of(folder / STREAM)}


def check(source: HubSource, mirrored: Mirrored) -> None:
    """Raise SourceError unless the files that the source gives a hash for have it."""
    for name in mirrored.names:
        if name in source.sha256:
            _checked(source, mirrored.folder, name)


def git_blob_of(path: Path) -> str:
    """The id that git gives a file: SHA-1 of `blob <size>`, a zero byte and the bytes."""
    total = hashlib.sha1(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()


def _folder(source: HubSource) -> Path | None:
    root = cache.mirror()
    folder = root / source.repo if root else None
    return folder if folder and folder.is_dir() else None


def _names(folder: Path) -> list[str]:
    """The repository's files in a folder, without the notes and what git keeps."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [path.as_posix() for path in paths if path.parts[0] not in (".cache", ".git")]


def _note(folder: Path, name: str) -> tuple[str, str] | None:
    """Commit and etag from the note beside a file, or None where there is none."""
    try:
        lines = (folder / NOTES / f"{name}.metadata").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    if not lines or not re.fullmatch(r"[0-9a-f]{40}", lines[0].strip()):
        return None
    return lines[0].strip(), lines[1].strip() if len(lines) > 1 else ""


def _checked(source: HubSource, folder: Path, name: str) -> str:
    """The sha256 of a mirrored file, compared with the source's and with the note's hash."""
    path = folder / name
    found = cache.sha256_of(path)
    note = _note(folder, name)
    etag = note[1] if note else ""
    expected = [source.sha256.get(name), etag if len(etag) == 64 else None]
    kind, actual = "sha256", found
    if re.fullmatch(r"[0-9a-f]{40}", etag):
        blob = git_blob_of(path)
        if blob != etag:
            kind, actual, expected = "git blob", blob, [etag]
    for wanted in expected:
        if wanted and wanted != actual:
            raise SourceError(
                f"the file {path} of LEDGER_MIRROR has the wrong bytes: expected {kind} {wanted}, "
                f"found {actual}; replace it or take it out of the mirror, and run again"
            )
    return found
