"""A file at a web address, pinned by its hash.

In: a `UrlSource`. Out: the verified file in the cache. What has arrived of a long download lies
under the cache's `partial/` and is gone on with by the next call, in this process or another.
Nothing is unpacked, and an address that wants a login is refused.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit

from lora_ledger.catalogue import UrlSource

from . import cache, web
from .cache import SourceError


def obtain(source: UrlSource) -> Path:
    """The file in the cache, from the mirror or the address if need be. Raises SourceError."""
    found = cache.lookup(source.sha256, source.file)
    if found:
        return found
    with cache.locked(source.sha256):
        # Another process may have finished while this one waited.
        return cache.lookup(source.sha256, source.file) or _fetch(source)


def missing(source: UrlSource) -> str:
    """What has to be fetched, or "" when a file of that name is cached or mirrored."""
    if cache.cached_path(source.sha256, source.file).is_file() or cache.mirrored_path(source.file):
        return ""
    return f"{source.file} has to be fetched ({source.url})"


def probe(source: UrlSource) -> str:
    """Why the address does not give the file now, or "". Raises web.Late for no answer in time."""
    try:
        status, _ = web.ask(source.url)
        if status in (403, 405, 501):
            # Some servers know no HEAD.
            first = {"Range": "bytes=0-0"}
            status, _ = web.ask(source.url, "GET", first)
    except web.Late:
        raise
    except web.NoAnswer as error:
        return f"{urlsplit(source.url).netloc} was not reached ({error})"
    if status < 400 or status in web.AGAIN:
        return ""
    return web.refusal(source.url, status, web.REASONS.get(status, ""))


def remedy(source: UrlSource) -> str:
    """How a person brings the file to a machine without a network."""
    place = cache.mirror_place(source.file)
    return (
        f"fetch it where there is a network, put it as {source.file} into a folder and set "
        f"LEDGER_MIRROR to that folder: expected at {place}"
    )


def _fetch(source: UrlSource) -> Path:
    partial = cache.partial_path(source.sha256, source.file)
    cache.made(partial.parent)
    try:
        resumed = web.download(source.url, partial, source.file)
        if resumed and cache.sha256_of(partial) != source.sha256:
            # What an earlier process left may be the fault: once more, from the first byte.
            partial.unlink()
            web.download(source.url, partial, source.file)
    except SourceError as error:
        raise SourceError(f"{error}; or {remedy(source)}") from error
    try:
        cache.require(
            partial,
            source.sha256,
            origin=f"{source.file}, as {source.url} gives it,",
            remedy="nothing was kept; the address serves other bytes than the catalogue pins: use "
            f"one with a commit in it, or put a good copy at {cache.mirror_place(source.file)}",
        )
    except SourceError:
        partial.unlink()
        raise
    path = cache.store(partial, source.sha256)
    shutil.rmtree(partial.parent, ignore_errors=True)
    return path
