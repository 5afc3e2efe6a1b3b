"""Files of a repository on a Hugging Face hub, at one commit.

In: a `HubSource`. Out: a folder that holds exactly the matching files at their repository paths, or
`stream.jsonl` where the source reads rows up to a budget; and what pins it (`provenance`).
The mirror is looked into first (`LEDGER_MIRROR/<owner>/<name>/`, as `hf download --local-dir`
writes it), then the cache, then the hub. The first fetch of a branch or tag writes its commit down
below the cache, and later runs keep to it. Nothing here loads a model, and no row is interpreted.

    <cache>/hub/resolved/<type>--<owner>--<name>--<revision>.json    the commit
    <cache>/hub/partial/<key>/          a download that is not complete
    <cache>/hub/views/<key>/            manifest.json (hashes), files/ (what `obtain` returns)
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lora_ledger.catalogue import HubSource
from lora_ledger.records.atomic import new_folder, write_text_atomic
from lora_ledger.records.record import digest_json

from . import cache, hub_mirror, web
from .cache import SourceError
from .hub_names import STREAM, address, endpoint, forbidden, offline, token


def obtain(source: HubSource) -> Path:
    """The folder of the source's files, every hash checked. Raises SourceError."""
    mirrored = hub_mirror.find(source)
    if mirrored:
        return _from_mirror(source, mirrored)
    commit = source.revision if source.resolved else _recorded(source)
    if commit and not source.resolved:
        _say_if_moved(source, commit)
    view = _view(source, commit) if commit else None
    if view and view.is_dir():
        return _verified(source, view)
    if offline():
        raise SourceError(
            f"{source.repo} is not cached, and HF_HUB_OFFLINE is set; unset it, or {remedy(source)}"
        )
    from . import hub_remote

    if commit is None:
        with cache.locked(f"hub-{_slug(source)}"):
            commit = _recorded(source) or _record(source, hub_remote.resolve(source))
    view = _view(source, commit)
    with cache.locked(f"hub-{view.name}"):
        # Another process may have finished while this one waited.
        if view.is_dir():
            return _verified(source, view)
        partial = cache.made(cache.cache_root() / "hub" / "partial" / view.name)
        fill = hub_remote.stream if source.stream else hub_remote.download
        hashes = fill(source, commit, partial)
        return _finish(source, view, partial, commit, hashes)


def missing(source: HubSource) -> str:
    """What has to be fetched, or "" when the files are mirrored or cached; names only."""
    if hub_mirror.find(source):
        return ""
    commit = source.revision if source.resolved else _recorded(source)
    if commit and _view(source, commit).is_dir():
        return ""
    lacking = hub_mirror.lacking(source)
    place = f" ({cache.mirror_place(source.repo)} lacks {lacking})" if lacking else ""
    return f"{', '.join(source.files)} of {address(source)} has to be fetched{place}"


def probe(source: HubSource) -> str:
    """Why the hub does not give the repository now, or "". One short request, with the token.

    Raises web.Late for no answer in time.
    """
    if offline():
        return "HF_HUB_OFFLINE is set, which forbids to ask; unset it"
    commit = source.revision if source.resolved else _recorded(source)
    url = (
        f"{endpoint()}/api/{source.type}s/{source.repo}/revision/"
        f"{quote(commit or source.revision, safe='')}"
    )
    headers = {"Authorization": f"Bearer {token()}"} if token() else {}
    try:
        status, body = web.ask(url, "GET", headers, follow=False, limit=1 << 24)
    except web.Late:
        raise
    except web.NoAnswer as error:
        return f"{endpoint()} was not reached ({error})"
    if status in (401, 403):
        return forbidden(source, status)
    if status == 404:
        return f"{address(source)}: {endpoint()} has no such repository or revision"
    if status == 200:
        try:
            gated = bool(json.loads(body).get("gated"))
        except (ValueError, AttributeError):
            return f"{endpoint()} does not answer as a hub does; see what HF_ENDPOINT names"
        return _gate(source, headers) if gated else ""
    return "" if status < 400 or status in web.AGAIN else f"{url} answers {status}"


def _gate(source: HubSource, headers: Mapping[str, str]) -> str:
    """Why a gated repository does not give its files, or "": its page answers anyone."""
    if not token():
        return forbidden(source, 401)
    url = f"{endpoint()}/api/{source.type}s/{source.repo}/auth-check"
    try:
        status, _ = web.ask(url, "GET", headers, follow=False)
    except web.Late:
        raise
    except web.NoAnswer as error:
        return f"{endpoint()} was not reached ({error})"
    return forbidden(source, status) if status in (401, 403) else ""


def remedy(source: HubSource) -> str:
    """How a person brings the files to a machine without a network."""
    wanted = " ".join(f"--include '{pattern}'" for pattern in source.files)
    kind = "" if source.type == "model" else f" --repo-type {source.type}"
    return (
        f"fetch them where there is a network (hf download {source.repo}{kind} --revision "
        f"{source.revision} {wanted} --local-dir FOLDER/{source.repo}) and set LEDGER_MIRROR to "
        f"FOLDER: expected at {cache.mirror_place(source.repo)}/"
    )


def provenance(source: HubSource) -> dict[str, Any]:
    """What pins the files that `obtain` gave: commit and hashes. Asks no network.

    Keys: repo, type, revision, commit (None where a mirror does not say it), resolved (whether the
    source itself names the commit), files (name to sha256, in the order of the patterns).
    """
    mirrored = hub_mirror.find(source)
    commit = source.revision if source.resolved else _recorded(source)
    view = _mirror_view(source, mirrored) if mirrored else _view(source, commit or "")
    if not view.is_dir():
        raise SourceError(
            f"{address(source)} was not obtained yet, so its files have no hashes; fetch it first"
        )
    manifest = _manifest(view)
    return {
        "repo": source.repo,
        "type": source.type,
        "revision": source.revision,
        "commit": manifest["commit"],
        "resolved": source.resolved,
        "files": manifest["files"],
    }


def _from_mirror(source: HubSource, mirrored: hub_mirror.Mirrored) -> Path:
    view = _mirror_view(source, mirrored)
    if source.stream and view.is_dir():
        hub_mirror.check(source, mirrored)
        return _verified(source, view)
    with cache.locked(f"hub-{view.name}"), cache.scratch() as scratch:
        folder = scratch / "mirrored"
        folder.mkdir()
        fill: Callable[[HubSource, hub_mirror.Mirrored, Path], Mapping[str, str]]
        fill = hub_mirror.stream if source.stream else hub_mirror.link
        hashes = fill(source, mirrored, folder)
        if not view.is_dir():
            _finish(source, view, folder, mirrored.commit, hashes)
        elif dict(hashes) != _manifest(view)["files"]:
            raise SourceError(
                f"files of the mirror {mirrored.folder} have other bytes than when they were first "
                f"used, under the same size and date; delete {view} to take the new ones"
            )
        return view / "files"


def _mirror_view(source: HubSource, mirrored: hub_mirror.Mirrored) -> Path:
    """The place of a mirror's files: another one as soon as one of them is replaced."""
    return _view(source, mirrored.commit or "", {"mirror": mirrored.state()})


def _view(source: HubSource, commit: str, more: Mapping[str, Any] | None = None) -> Path:
    stream = source.stream.model_dump() if source.stream else None
    key = [source.type, source.repo, commit, source.files, stream, dict(more or {})]
    return cache.cache_root() / "hub" / "views" / digest_json(key)[:32]


def _finish(
    source: HubSource, view: Path, folder: Path, commit: str | None, hashes: Mapping[str, str]
) -> Path:
    """Move a complete folder to its place, with its manifest, in one rename."""
    if source.stream and source.sha256.get(STREAM, hashes[STREAM]) != hashes[STREAM]:
        raise SourceError(
            f"the rows of {address(source)} have the wrong bytes: expected sha256 "
            f"{source.sha256[STREAM]}, found {hashes[STREAM]}; correct `sha256` or the revision"
        )
    manifest = {"repo": source.repo, "type": source.type, "commit": commit, "files": dict(hashes)}
    with new_folder(view) as whole:
        (whole / "manifest.json").write_text(json.dumps(manifest, indent=1), "utf-8")
        files = whole / "files"
        shutil.move(folder, files)
        shutil.rmtree(files / ".cache", ignore_errors=True)
    return view / "files"


def _manifest(view: Path) -> dict[str, Any]:
    path = view / "manifest.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read ({error}); delete {view}, run again") from error
    return found


def _verified(source: HubSource, view: Path) -> Path:
    """The folder of a view, each file's hash compared with the manifest and with the source."""
    for name, sha256 in _manifest(view)["files"].items():
        path = view / "files" / name
        if not path.is_file():
            raise SourceError(f"the cached file {path} is gone; delete {view} and run again")
        cache.require(
            path,
            sha256,
            origin=f"the cached file {path}",
            remedy=f"delete the folder {view} and run again",
        )
        if source.sha256.get(name, sha256) != sha256:
            raise SourceError(
                f"{name} of {address(source)} has the wrong bytes: expected sha256 "
                f"{source.sha256[name]}, found {sha256}; correct `sha256` or `revision`"
            )
    return view / "files"


def _slug(source: HubSource) -> str:
    parts = [source.type, *source.repo.split("/"), source.revision]
    return "--".join(quote(part, safe="") for part in parts)


def _resolution(source: HubSource) -> Path:
    """The file that holds the commit which the first fetch found behind a branch or tag."""
    return cache.cache_root() / "hub" / "resolved" / f"{_slug(source)}.json"


def _recorded(source: HubSource) -> str | None:
    path = _resolution(source)
    if not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text("utf-8"))["commit"])
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path} cannot be read ({error}); delete it and run again") from error


def _record(source: HubSource, commit: str) -> str:
    if source.resolved:
        return commit
    content = {"repo": source.repo, "type": source.type, "revision": source.revision}
    path = _resolution(source)
    cache.made(path.parent)
    write_text_atomic(path, json.dumps({**content, "commit": commit}, indent=1))
    return commit


def _say_if_moved(source: HubSource, recorded: str) -> None:
    """One line where the branch has moved on; the recorded commit stays in use."""
    if offline():
        return
    from . import hub_remote

    now = hub_remote.current(source)
    if now and now != recorded:
        print(
            f"{source.repo}: {source.revision} has moved from {recorded} to {now}; "
            f"{recorded} is used. Delete {_resolution(source)} to take the new commit.",
            file=sys.stderr,
        )
