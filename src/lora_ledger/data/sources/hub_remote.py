"""Asking a Hugging Face hub with its own library: commits, listings, files and rows.

In: a `HubSource` and a commit. Out: files in a folder of the cache, each compared with the hash
that the hub gives for it. The library is imported when it is needed. It is given the endpoint and
the token on every call (False where HF_TOKEN is not set, since it would read a file of its own
otherwise), keeps its cache below ours and writes no token. Nothing here decides which commit a
branch stands for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from lora_ledger.catalogue import HubSource

from . import cache, hub_rows, web
from .cache import SourceError
from .hub_mirror import NOTES, git_blob_of
from .hub_names import STREAM, address, chosen, endpoint, forbidden, nearest, page, token

GLANCE_SECONDS = 5.0
WILD = frozenset("*?[")


def resolve(source: HubSource) -> str:
    """The commit behind the source's revision. Raises SourceError."""
    if source.resolved:
        return source.revision
    with _explained(source):
        for attempt in range(web.TRIES):
            try:
                return _commit(source, web.WAIT_SECONDS)
            except Exception as error:
                status, answer = _status(error)
                again = status in web.AGAIN if status else _network(error)
                if not again or attempt + 1 == web.TRIES:
                    raise
                asked = (
                    web.retry_after(answer.headers.get("Retry-After"))
                    if answer is not None
                    else None
                )
                web.pause(endpoint(), asked, attempt + 1)
    raise AssertionError("the loop returns or raises")


def current(source: HubSource) -> str | None:
    """The commit that the revision stands for now, or None where the hub does not say it soon."""
    try:
        return _commit(source, GLANCE_SECONDS)
    except Exception:
        # Only a line for the user depends on it: whatever goes wrong here is no fault of the run.
        return None


def download(source: HubSource, commit: str, folder: Path) -> Mapping[str, str]:
    """Fill `folder` with the matching files; sha256 by name, in the order of the patterns.

    Files that an earlier call completed there are kept, and checked like the others.
    """
    library = _library()
    entries = _listing(source, commit)
    names = chosen(source, entries, f"{source.repo} at {commit}")
    hashes = {}
    for name in names:
        with _explained(source):
            library.hf_hub_download(
                source.repo,
                name,
                repo_type=source.type,
                revision=commit,
                cache_dir=cache.cache_root() / "hub" / "library",
                local_dir=folder,
                token=token() or False,
                endpoint=endpoint(),
            )
        hashes[name] = _checked(source, folder, name, entries[name])
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] != ".cache" and relative.as_posix() not in hashes:
            path.unlink()
    return hashes


def stream(source: HubSource, commit: str, folder: Path) -> Mapping[str, str]:
    """Write the rows up to the budget to `folder`, reading no more of the files than that takes.

    Parts of files have no hash: a hash that the source gives for one is compared with the hub's.
    """
    assert source.stream is not None
    library = _library()
    entries = _listing(source, commit)
    names = chosen(source, entries, f"{source.repo} at {commit}")
    for name in names:
        lfs = entries[name].lfs
        if name in source.sha256 and lfs and lfs.sha256 != source.sha256[name]:
            raise _wrong(source, name, source.sha256[name], lfs.sha256)
    files = library.HfFileSystem(
        endpoint=endpoint(), token=token() or False, skip_instance_cache=True
    )
    root = f"{'datasets/' if source.type == 'dataset' else ''}{source.repo}@{commit}"

    def opened(name: str) -> BinaryIO:
        # Parquet jumps between columns, and a cache that reads ahead would fetch them all twice.
        kind = "none" if name.endswith(".parquet") else "readahead"
        block = hub_rows.READ_BYTES
        return cast(BinaryIO, files.open(f"{root}/{name}", "rb", block_size=block, cache_type=kind))

    with _explained(source):
        hub_rows.write(names, opened, source.stream, folder / STREAM, address(source))
    return {STREAM: cache.sha256_of(folder / STREAM)}


def _library() -> Any:
    """The library, told not to announce itself, nor to draw bars into a log."""
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import disable_progress_bars

    # The library would ask the public hub who drives it, whatever the endpoint of this call is.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    # Its ten seconds are over soon where other jobs keep the machine busy.
    for key in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        setattr(constants, key, max(getattr(constants, key), int(web.WAIT_SECONDS)))
    if not sys.stderr.isatty() and constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        disable_progress_bars()
    return huggingface_hub


def _api() -> Any:
    return _library().HfApi(endpoint=endpoint(), token=token() or False)


def _commit(source: HubSource, seconds: float) -> str:
    found = _api().repo_info(
        source.repo, repo_type=source.type, revision=source.revision, timeout=seconds
    )
    return str(found.sha)


def _listing(source: HubSource, commit: str) -> dict[str, Any]:
    """The repository's files that can match, by path: size, lfs and blob_id of each."""
    wanted: dict[str, bool] = {}
    for pattern in source.files:
        parts = pattern.split("/")
        fixed = next((i for i, part in enumerate(parts) if WILD & set(part)), len(parts) - 1)
        below = bool(WILD & set(pattern))
        folder = "/".join(parts[:fixed])
        wanted[folder] = wanted.get(folder, False) or below
    try:
        return _below(source, commit, wanted)
    except Exception as error:
        # A folder that is not there: the whole listing gives the nearest names.
        if type(error).__name__ != "RemoteEntryNotFoundError" or set(wanted) == {""}:
            with _explained(source):
                raise
        with _explained(source):
            return _below(source, commit, {"": True})


def _below(source: HubSource, commit: str, folders: Mapping[str, bool]) -> dict[str, Any]:
    entries = {}
    for folder, recursive in folders.items():
        for entry in _api().list_repo_tree(
            source.repo,
            folder or None,
            recursive=recursive,
            revision=commit,
            repo_type=source.type,
        ):
            if hasattr(entry, "blob_id"):
                entries[entry.path] = entry
    return entries


def _checked(source: HubSource, folder: Path, name: str, entry: Any) -> str:
    """The sha256 of a downloaded file; one with other bytes is deleted, and SourceError raised."""
    path = folder / name
    found = cache.sha256_of(path)
    lfs = entry.lfs.sha256 if entry.lfs else None
    for wanted in (lfs, source.sha256.get(name)):
        if wanted and wanted != found:
            _discard(folder, name)
            raise _wrong(source, name, wanted, found)
    if lfs is None and (blob := git_blob_of(path)) != entry.blob_id:
        _discard(folder, name)
        raise _wrong(source, name, entry.blob_id, blob, "git blob")
    return found


def _discard(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / NOTES / f"{name}.metadata").unlink(missing_ok=True)


def _wrong(
    source: HubSource, name: str, wanted: str, found: str, kind: str = "sha256"
) -> SourceError:
    return SourceError(
        f"{name} of {address(source)}, as {endpoint()} gives it, has the wrong bytes: expected "
        f"{kind} {wanted}, found {found}; nothing of it was kept: run again, or correct `sha256` "
        "and `revision` of the source"
    )


@contextmanager
def _explained(source: HubSource) -> Iterator[None]:
    """Turn what the library raises into one message that says what to do."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(_words(source, error)) from error


def _words(source: HubSource, error: Exception) -> str:
    status, answer = _status(error)
    code = answer.headers.get("X-Error-Code", "") if answer is not None else ""
    if _chain(error, "OfflineModeIsEnabled"):
        return (
            f"{address(source)}: HF_HUB_OFFLINE was set when this process began, which forbids to "
            "ask a hub; unset it"
        )
    if status in (401, 403):
        return forbidden(source, status)
    if status == 404 and code == "RevisionNotFound":
        return (
            f"{source.repo}: found no revision {source.revision!r} at {page(source)}; the nearest "
            f"branches and tags are {_revisions(source)}"
        )
    if status == 404 and code in ("RepoNotFound", ""):
        other = "dataset" if source.type == "model" else "model"
        advice = (
            f"there is a {other} of that name: correct `type`"
            if _exists(source, other)
            else "correct `repo`, or set HF_TOKEN where it is private"
        )
        return (
            f"{page(source)} answers 404: {endpoint()} has no {source.type} {source.repo}; {advice}"
        )
    if status == 429:
        return (
            f"{endpoint()} answers 429 (too many requests) after several pauses; run again later, "
            "or set HF_TOKEN, which allows more"
        )
    if status:
        return f"{address(source)}: {endpoint()} answers {status} {code}".rstrip()
    return (
        f"{address(source)} could not be fetched from {endpoint()} ({_root(error)}); check the "
        "network and run again (complete files are kept), or put the files at "
        f"{cache.mirror_place(source.repo)}/"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ or at.__context__


def _chain(error: BaseException, name: str) -> bool:
    return any(type(cause).__name__ == name for cause in _causes(error))


def _status(error: BaseException) -> tuple[int, Any]:
    """The HTTP status behind an error and its response; (0, None) where there was no answer."""
    for cause in _causes(error):
        answer = getattr(cause, "response", None)
        if answer is not None:
            return int(answer.status_code), answer
    return 0, None


def _network(error: BaseException) -> bool:
    """Whether no answer came: an OSError, or an error of the library's HTTP client."""
    if _chain(error, "OfflineModeIsEnabled"):
        return False
    return isinstance(error, OSError) or type(error).__module__.startswith("httpx")


def _root(error: BaseException) -> str:
    last = list(_causes(error))[-1]
    return str(last).strip().splitlines()[0] if str(last).strip() else type(last).__name__


def _revisions(source: HubSource) -> list[str]:
    try:
        refs = _api().list_repo_refs(source.repo, repo_type=source.type)
        return nearest(source.revision, [r.name for r in [*refs.branches, *refs.tags]])
    except Exception:
        # The message is about the revision; names to choose from are an extra.
        return []


def _exists(source: HubSource, kind: str) -> bool:
    try:
        return bool(_api().repo_info(source.repo, repo_type=kind, timeout=GLANCE_SECONDS))
    except Exception:
        return False
