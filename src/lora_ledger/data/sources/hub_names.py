"""What a hub source is called, and which of a repository's files it means.

In: a `HubSource`, names of files, the environment. Out: the endpoint, the token, the files in
order, and the sentences that several modules say about them. The token comes from HF_TOKEN alone,
goes into a request's header and nowhere else. Nothing here asks a network.
"""

from __future__ import annotations

import difflib
import fnmatch
import os
from collections.abc import Iterable

from lora_ledger.catalogue import HubSource

from .cache import SourceError

STREAM = "stream.jsonl"
"""The one file of a source that reads rows up to a budget."""


def endpoint() -> str:
    """HF_ENDPOINT as it is now, else the public hub."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def token() -> str | None:
    """HF_TOKEN as it is now; no file is read."""
    return (os.environ.get("HF_TOKEN") or "").strip() or None


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask a hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def address(source: HubSource) -> str:
    """`owner/name at revision`, for people."""
    return f"{source.type} {source.repo} at {source.revision}"


def page(source: HubSource) -> str:
    """The web page of the repository, where terms are accepted."""
    return f"{endpoint()}/{'datasets/' if source.type == 'dataset' else ''}{source.repo}"


def forbidden(source: HubSource, status: int) -> str:
    """What 401 and 403 mean, with and without a token."""
    if token() is None:
        return (
            f"{page(source)}: the repository is gated, private or not there (status {status}); "
            "accept its terms on that page, and set HF_TOKEN to a token that may read it"
        )
    return (
        f"{page(source)} answers {status} to the token in HF_TOKEN: accept the terms on that page "
        "with the token's account, or set HF_TOKEN to a token that may read it"
    )


def matching(source: HubSource, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names that the patterns match, pattern by pattern and then by name, each once; and the
    patterns that match none. `*` also matches `/`, as in `fnmatch`."""
    names = sorted(names)
    chosen: dict[str, None] = {}
    unmatched = []
    for pattern in source.files:
        found = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        chosen |= dict.fromkeys(found)
        if not found:
            unmatched.append(pattern)
    return list(chosen), unmatched


def chosen(source: HubSource, names: Iterable[str], where: str) -> list[str]:
    """`matching`, where every pattern and every key of `sha256` has to name a file."""
    names = list(names)
    found, unmatched = matching(source, names)
    if unmatched:
        near = {n: None for p in unmatched for n in nearest(p, names)}
        raise SourceError(
            f"{address(source)}: `files` {unmatched} match nothing in {where}, expected a path or "
            f"pattern of one of its {len(names)} files; the nearest are {list(near)}"
        )
    known = {*found, STREAM} if source.stream else {*found}
    if unknown := sorted(set(source.sha256) - known):
        raise SourceError(
            f"{address(source)}: `sha256` names {unknown}, expected files that `files` matches "
            f"(the nearest are {nearest(unknown[0], found)}); correct the entry"
        )
    return found


def nearest(wanted: str, names: Iterable[str]) -> list[str]:
    """Up to three names that look like the wanted one; the first three where none does."""
    names = sorted(names)
    return difflib.get_close_matches(wanted, names, n=3, cutoff=0.4) or names[:3]
