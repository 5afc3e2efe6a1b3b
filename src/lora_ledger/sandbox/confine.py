"""The layers around generated code, laid one by one, and the level that they add up to.

In: limits, and what may be read. Out: the calling process confined, and for every layer the word
"on" or why not. `enclose` lays what all workers of a pool share, once, in the process that forks
them; `seal` lays the rest in each worker just before the code. Levels: 3 Landlock and seccomp,
2 seccomp, 1 limits and a process apart, 0 none. It trusts no layer on its word: `probes` tries
them. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import landlock, mounts, seccomp

NOBODY = 65534
CHANNEL = (3, 4)
MOST_TASKS = 8192
LAYERS = (
    "process", "limits", "environment", "identity", "capabilities", "no new privileges",
    "namespaces", "Landlock", "seccomp",
)  # fmt: skip
# What a worker may never have, by the level that counts on it.
NEEDED = {3: ("Landlock", "seccomp", "limits"), 2: ("seccomp", "limits"), 1: ("limits",), 0: ()}
ADVICE = {
    "Landlock": "Linux 5.13 or later with `landlock` among the security modules (boot option "
    "lsm=), and a container that lets the landlock_* system calls through",
    "seccomp": "Linux on x86-64 or aarch64 with CONFIG_SECCOMP_FILTER, and ctypes in this Python",
    "limits": "a POSIX system with setrlimit",
}
_NEW = {"user": 0x10000000, "pid": 0x20000000, "net": 0x40000000, "ipc": 0x08000000,
        "uts": 0x04000000}  # fmt: skip
_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVS, _CAPBSET_DROP = 1, 4, 38, 24
_CAPSET = {"x86_64": 126, "aarch64": 91}

_libc = ctypes.CDLL(None, use_errno=True)
if sys.platform == "linux":
    _libc.prctl.argtypes = [ctypes.c_int, *(4 * [ctypes.c_ulong])]


@dataclass(frozen=True)
class Limits:
    """Bounds of one worker. Processor time decides; `own_seconds` bounds the time that it neither
    computes nor waits for a processor, `wall_seconds` is the backstop of a machine in trouble, and
    `tests_seconds` is processor time that the tests themselves may take over returned values."""

    memory_bytes: int = 2**30
    cpu_seconds: int = 3
    own_seconds: float = 4.0
    wall_seconds: float = 60.0
    open_files: int = 32
    threads: int = 32
    tests_seconds: float = 10.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def readable() -> tuple[list[str], list[str]]:
    """Files and folders that the interpreter and its standard library need, and what is listed.

    Call it before any confinement; `shared_libraries` adds what the extension modules load.
    """
    library = Path(os.__file__).resolve().parent
    left_out = {"site-packages", "dist-packages", "test", "idlelib", "ensurepip", "turtledemo"}
    found = [
        str(path)
        for path in sorted(library.iterdir())
        if path.name not in left_out and not path.name.startswith("config-")
    ]
    archive = library.with_name(f"python{sys.version_info[0]}{sys.version_info[1]}.zip")
    found += [str(archive)] if archive.is_file() else []
    found += ["/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo"]
    return found, [str(library)]


def shared_libraries() -> list[str]:
    """The libraries mapped into this process once every extension module has been loaded."""
    import importlib

    folder = Path(os.__file__).resolve().parent / "lib-dynload"
    for name in sorted(path.name for path in folder.glob("*")):
        if not name.startswith(("_test", "_xx", "xx", "_tkinter", "_ctypes_test")):
            with contextlib.suppress(ImportError):
                importlib.import_module(name.partition(".")[0])
    found = set()
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/maps").read_text("utf-8").splitlines():
            path = line.partition("/")[2].strip()
            if ".so" in path:
                found.add("/" + path)
    return sorted(found)


def enclose(
    limits: Limits, files: Iterable[str], listed: Iterable[str], without: frozenset[str]
) -> dict[str, str]:
    """Lay the layers that workers inherit. Returns, layer by layer, "on" or what failed.

    With a process namespace the caller goes on as its first process: the process that was called
    stays outside and only waits. `without` leaves layers out, for tests of what then happens.
    """
    found = dict.fromkeys(LAYERS, "off")
    os.environ.clear()
    os.umask(0o077)
    found["environment"] = "on"
    # Before any new process namespace, which the first child would become the head of.
    files = list(files)
    nobody = os.geteuid() == 0 and _nobody_can_read(files)
    if os.geteuid() == 0 and not nobody and "namespaces" not in without:
        library = Path(os.__file__).resolve().parent
        nobody = mounts.uncover(library, files) and _nobody_can_read(files)
    parts = [] if "namespaces" in without else _namespaces(found, nobody)
    found["identity"] = _identity(nobody)
    if "pid" in parts:
        _become_first()
    found["limits"] = _limits(limits, "user" in parts)
    if sys.platform == "linux":
        found["capabilities"] = _drop_capabilities()
        found["no new privileges"] = _attempt(_prctl, _NO_NEW_PRIVS, 1)
        _prctl(_DUMPABLE, 0)
        if "Landlock" not in without:
            found["Landlock"] = _landlock(files, listed)
        if "seccomp" not in without and seccomp.supported():
            seccomp.prepare()
            found["seccomp"] = "on"
    found["process"] = "on"
    return found


def seal(cpu_seconds: int, layers: Mapping[str, str]) -> None:
    """Lay the last layers in a worker. Raises OSError rather than go on with less than `layers`."""
    os.setsid()
    if sys.platform == "linux":
        _prctl(_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    if layers["seccomp"] == "on":
        seccomp.install(os.getpid())
    elif layers["Landlock"].startswith("on"):
        # The filter forbids all signals; without it this keeps those to the fork server in.
        landlock.isolate()


def level_of(layers: Mapping[str, str], failed: Iterable[str] = ()) -> int:
    """The highest level whose layers are all on; a layer that a probe got past counts as off."""
    lost = set(failed)
    for level in (3, 2, 1):
        if all(layers[n].startswith("on") and n not in lost for n in NEEDED[level]):
            return level
    return 0


def _namespaces(found: dict[str, str], nobody: bool) -> list[str]:
    """New namespaces, as many as the host grants; as root, the identity changes in between."""
    if sys.platform != "linux":
        found["namespaces"] = f"off: {sys.platform} has none"
        return []
    inner = _NEW["pid"] | _NEW["net"] | _NEW["ipc"] | _NEW["uts"]
    granted: list[str] = []
    if os.geteuid() == 0 and not _unshare(inner):
        granted = ["pid", "net", "ipc", "uts"]
    _identity(nobody)
    user, group = os.geteuid(), os.getegid()
    if not (why := _unshare(_NEW["user"] | (0 if granted else inner))):
        granted = ["user", "pid", "net", "ipc", "uts"]
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with contextlib.suppress(OSError):
                Path(f"/proc/self/{name}").write_text(text)
    found["namespaces"] = f"on: {' '.join(granted)}" if granted else f"off: {why}"
    return granted


def _unshare(flags: int) -> str:
    return "" if _libc.unshare(flags) == 0 else os.strerror(ctypes.get_errno())


def _nobody_can_read(files: Iterable[str]) -> bool:
    """Whether another user could run this Python; it cannot below a closed home folder."""
    child = os.fork()
    if child == 0:
        try:
            _become_nobody()
            needed = [path for path in files if Path(path).name in ("os.py", "lib-dynload")]
            os._exit(0 if all(os.access(path, os.R_OK) for path in needed) and needed else 1)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _identity(nobody: bool) -> str:
    """Become nobody if that was found to work. Returns who the caller now is."""
    if nobody and os.geteuid() == 0:
        _become_nobody()
    if os.geteuid() == 0:
        return "off: still uid 0, since another user could not read this Python"
    return f"on: uid {os.geteuid()}"


def _become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    # Else /proc/self belongs to root, and the maps of a user namespace could not be written.
    if sys.platform == "linux":
        _prctl(_DUMPABLE, 1)


def _become_first() -> None:
    """Go on as process 1 of the new namespace; the one outside ends when that one does."""
    child = os.fork()
    if child:
        for handle in range(3, 64):
            with contextlib.suppress(OSError):
                os.close(handle)
        os.waitpid(child, 0)
        os._exit(0)
    _prctl(_PDEATHSIG, signal.SIGKILL)


def _limits(limits: Limits, own_count: bool) -> str:
    values = {
        "RLIMIT_AS": limits.memory_bytes,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": limits.open_files,
    }
    # Processes and threads are counted by user, so a tight bound makes sense in a user namespace
    # only, which counts afresh; elsewhere one that the user's own work does not come near still
    # keeps a worker from taking all process ids. macOS does not count threads.
    if own_count:
        values["RLIMIT_NPROC"] = limits.threads
    elif sys.platform == "darwin":
        values["RLIMIT_NPROC"] = 0
    else:
        most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        values["RLIMIT_NPROC"] = MOST_TASKS if most < 0 else min(most, MOST_TASKS)
    refused = []
    for name, value in values.items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (OSError, ValueError, AttributeError):
            refused.append(name)
    if refused == ["RLIMIT_AS"] and sys.platform == "darwin":
        return "on: without RLIMIT_AS, which this system does not keep"
    return f"off: refused {', '.join(refused)}" if refused else "on"


def _drop_capabilities() -> str:
    for number in range(64):
        if _prctl(_CAPBSET_DROP, number):
            break
    machine = os.uname().machine
    header = struct.pack("=Ii", 0x20080522, 0)
    if machine not in _CAPSET:
        return f"off: unknown machine {machine}"
    if _libc.syscall(ctypes.c_long(_CAPSET[machine]), header, bytes(24)):
        return f"off: {os.strerror(ctypes.get_errno())}"
    return "on"


def _landlock(files: Iterable[str], listed: Iterable[str]) -> str:
    version = landlock.abi()
    if not version:
        return "off: this kernel has none, or has it turned off"
    try:
        landlock.restrict(files, listed)
    except OSError as error:
        return f"off: {error}"
    return f"on: ABI {version}"


def _attempt(function: Any, *arguments: Any) -> str:
    number = function(*arguments)
    return "on" if not number else f"off: {os.strerror(number)}"


def _prctl(option: int, value: int) -> int:
    """0, or the errno."""
    return ctypes.get_errno() if _libc.prctl(option, value, 0, 0, 0) else 0
