"""A home that cannot be written: on a node without one, in a container, of another user.

In: an environment. Out: where libraries and this project keep files is a folder that can be
written, named in the environment; what the user's own cache holds is still found; a user without
a name has one. It changes nothing where the cache can be written, and never HOME, below which a
study's own files may lie.
"""

from __future__ import annotations

import atexit
import getpass
import os
import shutil
import tempfile
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

INSTEAD = Path("work/.cache")
HELD = ("sha256", "hub/views", "hub/resolved")
"""Folders of this project's cache whose entries are whole and found by their name."""


def writable(environ: MutableMapping[str, str]) -> Path | None:
    """See to folders that can be written; returns the one taken in place of the user's, if any.

    `work/.cache` below the working directory or, where that cannot be written either, a temporary
    folder that goes with this process. To be called before the libraries that read the variables
    are imported.
    """
    _named(environ)
    try:
        known: Path | None = Path.home()
    except RuntimeError:
        known = None
    chosen = environ.get("XDG_CACHE_HOME")
    cache = Path(chosen) if chosen else known and known / ".cache"
    fits = takes_files(cache)
    if fits and takes_files(known):
        return None
    place = cache if fits and cache else _instead()
    environ["XDG_CACHE_HOME"] = str(place)
    # These two keep files in the home itself.
    environ.setdefault("MPLCONFIGDIR", str(place / "matplotlib"))
    environ.setdefault("TRITON_HOME", str(place))
    if known is None:
        for name in ("config", "data", "state"):
            environ.setdefault(f"XDG_{name.upper()}_HOME", str(place / name))
    if fits:
        return None
    if cache and not environ.get("LEDGER_CACHE"):
        _borrow(cache / "lora-ledger", place / "lora-ledger")
    return place


def _named(environ: MutableMapping[str, str]) -> None:
    """A name for a user whom the machine does not know, as in a container: libraries ask."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        environ["LOGNAME"] = f"uid-{os.getuid()}"


def takes_files(folder: Path | None) -> bool:
    """Whether a byte can be written there. It is tried: root may do what modes forbid, a full or
    read-only file system refuses what modes allow."""
    if folder is None:
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except OSError:
        return False
    return True


def _instead() -> Path:
    place = INSTEAD.absolute()
    if takes_files(place):
        return place
    made = tempfile.mkdtemp(prefix="ledger-cache-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def _borrow(held: Path, cache: Path) -> None:
    """Links in `cache` to what the cache `held`, which can only be read, has."""
    for name in HELD:
        with suppress(OSError):
            entries = list((held / name).iterdir())
            (cache / name).mkdir(parents=True, exist_ok=True)
            for entry in entries:
                with suppress(FileExistsError):
                    (cache / name / entry.name).symlink_to(entry.absolute())
