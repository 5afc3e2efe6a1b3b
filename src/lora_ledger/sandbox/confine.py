"""The layers around generated code, laid one by one, and the level that they add up to.

In: limits, and what may be read. Out: the calling process confined, and for every layer the word
"on" or why not. `enclose` lays what all workers of a judge share, once, in the process that forks
them; `seal` lays the rest in each worker just before the code: what one worker does to its process
ids, its count of threads or its descriptors, no other can see. Levels: 3 Landlock and seccomp,
2 seccomp, 1 limits and a process apart, 0 none. It trusts no layer on its word: `probes` tries
them. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import landlock, mounts, seccomp
from .patience import SHORTAGES, patiently

NOBODY = 65534
# One for each judge, plus its fork server's process id: Linux counts a user's tasks by uid.
OWN_UIDS = 0x70000000
# A worker's descriptors: the two to the judge, and a pipe of its own to wake threads with.
CHANNEL, WAKING = (3, 4), (5, 6)
# The fork server's own: the judge's socket, and the process namespace to come back to.
CONTROL, HOME = 9, 10
MOST_HANDLES = 64
MOST_TASKS = 8192
# Of an own uid's tasks: the fork server, spares, and what waits for them.
OTHERS = 8
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
        "uts": 0x04000000, "mount": 0x20000}  # fmt: skip
_PDEATHSIG, _DUMPABLE, _KEEPCAPS, _NO_NEW_PRIVS, _CAPBSET_DROP = 1, 4, 8, 38, 24
_SUBREAPER = 36
_SYS_ADMIN = 1 << 21
_CAPSET = ctypes.c_long({"x86_64": 126, "aarch64": 91}.get(platform.machine(), -1))
_CAPABILITIES = struct.pack("=Ii", 0x20080522, 0)

_libc = ctypes.CDLL(None, use_errno=True)
_NEW_PID, _NEW_USER = _NEW["pid"], _NEW["user"]
if sys.platform == "linux":
    _libc.prctl.argtypes = [ctypes.c_int, *(4 * [ctypes.c_ulong])]
    _unshare_alone, _setns = _libc.unshare, _libc.setns


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


@dataclass(frozen=True)
class Enclosure:
    """What was laid, which namespaces each worker gets for itself, and how many tasks of its user
    there may be for it to start one more."""

    layers: dict[str, str]
    own: tuple[str, ...]
    tasks: int


def enclose(
    limits: Limits, files: Iterable[str], listed: Iterable[str], without: frozenset[str]
) -> Enclosure:
    """Lay the layers that workers inherit: in `layers`, one by one, "on" or what failed.

    With a process namespace the caller goes on as its first process: the process that was called
    stays outside and only waits. `without` leaves layers out, for tests of what then happens.
    """
    found = dict.fromkeys(LAYERS, "off")
    os.environ.clear()
    os.umask(0o077)
    found["environment"] = "on"
    # Before any new process namespace, which the first child would become the head of.
    files = list(files)
    uid = _stranger(files) if os.geteuid() == 0 else 0
    if os.geteuid() == 0 and not uid and "namespaces" not in without:
        library = Path(os.__file__).resolve().parent
        uid = _stranger(files) if mounts.uncover(library, files) else 0
    parts = _namespaces(found, uid, without)
    own: tuple[str, ...] = ()
    if "pid" in parts:
        _become_first()
        if not _unshare(_NEW["mount"]) and mounts.cover():
            parts.append("mount")
    found["limits"] = _limits(limits)
    if sys.platform == "linux":
        found["capabilities"] = _drop_capabilities(_SYS_ADMIN if "pid" in parts else 0)
        found["no new privileges"] = _attempt(_prctl, _NO_NEW_PRIVS, 1)
        _prctl(_DUMPABLE, 0)
        if "Landlock" not in without:
            found["Landlock"] = _landlock(files, listed)
        if "seccomp" not in without and seccomp.supported():
            seccomp.prepare()
            found["seccomp"] = "on"
        if "pid" in parts:
            own = _each_worker()
        # Children that a worker leaves behind are counted with it.
        _prctl(_SUBREAPER, 1)
    if parts:
        found["namespaces"] = f"on: {' '.join(parts)}; for each worker: {' '.join(own) or 'none'}"
    found["process"] = "on"
    return Enclosure(found, own, _tasks(limits, own, uid))


def seal(cpu_seconds: int, enclosure: Enclosure) -> None:
    """Lay the last layers in a worker. Raises OSError rather than go on with less than was laid."""
    os.setsid()
    if sys.platform == "linux":
        while "user" in enclosure.own and _unshare_alone(_NEW_USER):
            # The user's, or the machine's, are counted; who waits too long is ended from outside.
            if ctypes.get_errno() not in SHORTAGES:
                raise OSError(ctypes.get_errno(), "a user namespace")
            time.sleep(0.02)
        if enclosure.own and _libc.syscall(_CAPSET, _CAPABILITIES, bytes(24)):
            raise OSError(ctypes.get_errno(), "capabilities")
        # Other credentials undo both.
        _prctl(_DUMPABLE, 0)
        _prctl(_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_NPROC, (enclosure.tasks, enclosure.tasks))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    if enclosure.layers["seccomp"] == "on":
        seccomp.install(os.getpid())
    elif enclosure.layers["Landlock"].startswith("on"):
        # The filter forbids all signals; without it this keeps those to the fork server in.
        landlock.isolate()


def fork(own_processes: bool) -> int:
    """As `os.fork`; the child heads a process namespace of its own if it is to, so that its process
    and thread ids begin with 1. Raises OSError where the kernel gives neither just now."""
    if not own_processes:
        return os.fork()
    if _unshare_alone(_NEW_PID):
        raise OSError(ctypes.get_errno(), "a process namespace for a worker")
    try:
        child = os.fork()
    except OSError:
        _setns(HOME, _NEW_PID)
        raise
    # Without the way back no further one would be forked apart from this one.
    if child and _setns(HOME, _NEW_PID):
        raise ChildProcessError(ctypes.get_errno(), "the way back to the process namespace")
    return child


def level_of(layers: dict[str, str], failed: Iterable[str] = ()) -> int:
    """The highest level whose layers are all on; a layer that a probe got past counts as off."""
    lost = set(failed)
    for level in (3, 2, 1):
        if all(layers[n].startswith("on") and n not in lost for n in NEEDED[level]):
            return level
    return 0


def _namespaces(found: dict[str, str], uid: int, without: frozenset[str]) -> list[str]:
    """New namespaces, as many as the host grants, once the identity has changed.

    Best below a user namespace of their own, else by the capability that root has kept.
    """
    found["identity"] = _identity(uid)
    if sys.platform != "linux" or "namespaces" in without:
        found["namespaces"] = f"off: {sys.platform} has none" if sys.platform != "linux" else "off"
        return []
    names = ["pid", "net", "ipc", "uts"]
    inner = sum(_NEW[name] for name in names)
    user, group = os.geteuid(), os.getegid()
    granted: list[str] = []
    why = "left out" if "user" in without else _unshare(_NEW["user"] | inner)
    if why and not _unshare(inner):
        granted = names
    elif not why:
        granted = ["user", *names]
        # The same number inside whoever runs it, and whichever judge.
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{NOBODY} {user} 1"),
            ("gid_map", f"{NOBODY} {group} 1"),
        ):
            with contextlib.suppress(OSError):
                Path(f"/proc/self/{name}").write_text(text)
    found["namespaces"] = f"off: {why}"
    return granted


def _each_worker() -> tuple[str, ...]:
    """Which namespaces a child can be given for itself, found by giving them to one."""
    for own in (("pid", "user"), ("pid",)):
        with contextlib.suppress(OSError):
            child = patiently(lambda: fork(True), 1.0)
            if child == 0:
                os._exit(1 if "user" in own and _unshare(_NEW["user"]) else 0)
            if os.waitpid(child, 0)[1] == 0:
                return own
    return ()


def _unshare(flags: int) -> str:
    return "" if _libc.unshare(flags) == 0 else os.strerror(ctypes.get_errno())


def _stranger(files: Iterable[str]) -> int:
    """A uid other than root's that can run this Python, best one that nothing else has; else 0.

    None can below a closed home folder, and a user namespace may have few.
    """
    for uid in (OWN_UIDS + os.getpid(), NOBODY):
        child = patiently(os.fork)
        if child == 0:
            try:
                _become(uid)
                needed = [path for path in files if Path(path).name in ("os.py", "lib-dynload")]
                os._exit(0 if all(os.access(path, os.R_OK) for path in needed) and needed else 1)
            except BaseException:
                os._exit(1)
        if os.waitpid(child, 0)[1] == 0:
            return uid
    return 0


def _identity(uid: int) -> str:
    """Become the one that was found to work. Returns who the caller now is."""
    if uid and os.geteuid() == 0:
        _become(uid)
    if os.geteuid() == 0:
        return "off: still uid 0, since another user could not read this Python"
    # Not which one: equal confinements are told by equal words.
    own = os.geteuid() >= OWN_UIDS and uid
    return "on: a uid of its own" if own else f"on: uid {os.geteuid()}"


def _become(uid: int) -> None:
    if sys.platform == "linux":
        _prctl(_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(uid, uid, uid)
    if sys.platform == "linux":
        # What namespaces for workers take where there are none for users; root may lack it.
        _capabilities(_SYS_ADMIN)
        # Else /proc/self belongs to root, and the maps of a user namespace could not be written.
        _prctl(_DUMPABLE, 1)


def _become_first() -> None:
    """Go on as process 1 of the new namespace; the one outside ends when that one does."""
    child = patiently(os.fork)
    if child:
        for handle in range(3, MOST_HANDLES):
            with contextlib.suppress(OSError):
                os.close(handle)
        os.waitpid(child, 0)
        os._exit(0)
    _prctl(_PDEATHSIG, signal.SIGKILL)
    # Kept open, since /proc goes out of sight.
    held = os.open("/proc/self/ns/pid", os.O_RDONLY)
    os.dup2(held, HOME, inheritable=False)
    os.close(held)


def _tasks(limits: Limits, own: Iterable[str], uid: int) -> int:
    """The bound on a worker's threads. They are counted by user, and afresh in a user namespace.

    Where the user's own work counts too it is one that this does not come near, and that leaves
    room for the processes that judge. macOS does not count threads.
    """
    if sys.platform == "darwin":
        return 0
    if "user" in own:
        return limits.threads
    most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    bound = limits.threads + OTHERS if uid >= OWN_UIDS else MOST_TASKS
    return bound if most < 0 else min(bound, most * 3 // 4)


def _limits(limits: Limits) -> str:
    values = {
        "RLIMIT_AS": limits.memory_bytes,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": limits.open_files,
    }
    if sys.platform == "linux":
        # Signals that wait in a queue are counted by user, so another could see how many there are.
        values["RLIMIT_SIGPENDING"] = 0
    refused = []
    for name, value in values.items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (OSError, ValueError, AttributeError):
            refused.append(name)
    if refused == ["RLIMIT_AS"] and sys.platform == "darwin":
        return "on: without RLIMIT_AS, which this system does not keep"
    return f"off: refused {', '.join(refused)}" if refused else "on"


def _drop_capabilities(kept: int) -> str:
    """All but those that the fork server needs to put workers apart; `seal` drops these too."""
    for number in range(64):
        if _prctl(_CAPBSET_DROP, number):
            break
    # Where namespaces came without a user namespace, root may have lacked what would be kept.
    why = _capabilities(kept)
    if why and kept:
        why = _capabilities(0)
    return f"off: {why}" if why else "on"


def _capabilities(mask: int) -> str:
    """Have those of the lower 32 alone. Returns why not."""
    data = struct.pack("=6I", mask, mask, 0, 0, 0, 0)
    if _libc.syscall(_CAPSET, _CAPABILITIES, data):
        return os.strerror(ctypes.get_errno())
    return ""


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
