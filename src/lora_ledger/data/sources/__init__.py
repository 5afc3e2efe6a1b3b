"""Sources: from what the catalogue pins to bytes on this disk.

In: a `Source` of the catalogue. Out: a path whose bytes have the pinned hash, and what pins them.
One small module for each kind that lies somewhere: `wheel`, `url`, `hub`, `local`, `trained`.
Generated sources have no file; the module that makes them reads their seed. Nothing here installs,
unpacks or interprets what it fetched.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from lora_ledger.catalogue import (
    GeneratedSource,
    HubSource,
    LocalSource,
    ModelSource,
    TrainedSource,
    UrlSource,
)

from . import hub, local, trained, url, web, wheel
from .cache import SourceError, cache_root
from .wheel import members, read_member

__all__ = [
    "SourceError",
    "cache_root",
    "check_available",
    "members",
    "missing",
    "obtain",
    "provenance",
    "read_member",
]

SAY_SECONDS = 15.0
"""How often a line says what is still waited for."""


def obtain(source: ModelSource) -> Path:
    """The file or folder that a source names, its hash checked on every call.

    A hub source gives a folder: exactly its matching files, or `stream.jsonl`. The folder
    LEDGER_MIRROR comes before the network for every kind; the cache, which holds files by their
    hash, before the mirror, save for hub sources, whose mirror comes first.
    Raises SourceError when the bytes cannot be had or are not the pinned ones.
    """
    match source:
        case GeneratedSource():
            raise SourceError(
                "a generated source has no file: it is made from its seed by the stage that uses "
                f"it (seed {source.seed})"
            )
        case LocalSource():
            return local.obtain(source)
        case UrlSource():
            return url.obtain(source)
        case HubSource():
            return hub.obtain(source)
        case TrainedSource():
            return trained.obtain(source)
    return wheel.obtain(source)


def provenance(source: ModelSource) -> str | dict[str, Any]:
    """What pins a source, without asking a network: its hash, or the seed of what is generated.

    A hub source has a dict instead: repo, type, revision, commit (None where a mirror does not say
    it), resolved (whether the source names the commit itself) and files (name to sha256).
    Raises SourceError for a hub source that was not obtained yet, or a local path that is gone.
    """
    match source:
        case GeneratedSource():
            return f"seed {source.seed}"
        case LocalSource():
            return local.provenance(source)
        case HubSource():
            return hub.provenance(source)
        case TrainedSource():
            return trained.record_of(source).id
    return source.sha256


def missing(source: ModelSource) -> str:
    """One line on what must still be fetched for a source, or "" when its bytes are at hand.

    Looks at names only, computes no hash and asks no network. Raises SourceError when the source
    cannot be had at all: a local path that is not there, a wheel with nothing on this machine to
    fetch it, a mirror that holds another commit.
    """
    match source:
        case GeneratedSource():
            return ""
        case LocalSource():
            local.locate(source)
            return ""
        case UrlSource():
            return url.missing(source)
        case HubSource():
            return hub.missing(source)
        case TrainedSource():
            trained.locate(source)
            return ""
    return wheel.missing(source)


def check_available(sources: Mapping[str, ModelSource]) -> list[str]:
    """Before any compute: a line for each source that has to be fetched, `name: what`.

    Each of them is probed, all at once, without fetching it. Raises one SourceError that lists
    every source that cannot be had, and how to bring it to this machine. One that gives no answer
    in time is none of these: a line on standard error says so, and its job asks again.
    """
    to_fetch, faults = {}, {}
    for name, source in sources.items():
        try:
            line = missing(source)
        except SourceError as error:
            faults[name] = str(error)
            continue
        if line:
            to_fetch[name] = line
    with ThreadPoolExecutor(max_workers=8) as threads:
        asked = {name: threads.submit(_probe, name, sources[name]) for name in to_fetch}
        began = time.monotonic()
        while waiting := wait(asked.values(), timeout=SAY_SECONDS).not_done:
            names = ", ".join(name for name, one in asked.items() if one in waiting)
            print(
                f"asking whether {names} can be had: {time.monotonic() - began:.0f} s",
                file=sys.stderr,
            )
    reasons = {name: one.result() for name, one in asked.items()}
    faults |= {name: f"{to_fetch[name]}\n    {why}" for name, why in reasons.items() if why}
    if faults:
        named = [name for name in sources if name in faults]
        raise SourceError("\n".join(f"{name}: {faults[name]}" for name in named))
    return [f"{name}: {line}" for name, line in to_fetch.items()]


def _probe(name: str, source: ModelSource) -> str:
    """Why a source that has to be fetched cannot be now and what helps, or ""."""
    try:
        match source:
            case UrlSource():
                reason, remedy = url.probe(source), url.remedy(source)
            case HubSource():
                reason, remedy = hub.probe(source), hub.remedy(source)
            case GeneratedSource() | LocalSource() | TrainedSource():
                return ""
            case _:
                reason, remedy = wheel.probe(source), wheel.remedy(source)
    except web.Late as error:
        print(f"{name}: no answer ({error}); the job that fetches it asks again", file=sys.stderr)
        return ""
    return f"{reason}\n    {remedy}" if reason else ""
