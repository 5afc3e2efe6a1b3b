"""A view of the file system in which another user than root can read this Python.

In: a library below a folder that is closed to others, as with a Python under /root. Out: the
calling process in a mount namespace of its own, where an empty read-only folder stands in the place
of the closed one, and in it only the installation that holds the library. Root alone can ask for
that, and may be refused; then all is as before. It changes nothing outside of the namespace and
decides nothing on who the process becomes. `cover` puts the file systems out of sight that the
kernel makes up. Linux only, standard library only.

The kernel exempts uid 0 from the limit on processes, whatever its capabilities, so that a worker
that stayed root could start threads until the machine has no process ids left.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

_NEW_MOUNTS = 0x20000
# What the kernel makes up as it is asked: even `stat` tells who runs, and what was looked at.
MADE_UP = frozenset({
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts",
    "efivarfs", "fusectl", "mqueue", "nfsd", "proc", "pstore", "rpc_pipefs", "securityfs",
    "selinuxfs", "sysfs", "tracefs",
})  # fmt: skip
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXEC, _REMOUNT = 1, 2, 4, 8, 32
_RECURSIVE, _PRIVATE, _DETACH = 0x4000, 1 << 18, 2
# The same numbers on every architecture; Linux 5.2 or later.
_OPEN_TREE, _MOVE_MOUNT = 428, 429
_HERE, _CLONE, _WHOLE, _CLOEXEC, _BY_HANDLE = -100, 1, 0x8000, os.O_CLOEXEC, 4

_libc = ctypes.CDLL(None, use_errno=True)


def closed_above(path: Path) -> Path | None:
    """The uppermost folder above `path` that others may not pass through."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def uncover(library: Path, needed: Iterable[str]) -> bool:
    """Whether the library, and all of `needed`, now lies in folders that others may pass through.

    `library` is the folder of the standard library, two below the installation.
    """
    installation = library.parents[1]
    closed = closed_above(library)
    if closed is None or closed not in installation.parents or closed == Path("/"):
        return False
    inside = [Path(path) for path in needed if closed in Path(path).parents]
    if any(installation not in path.parents for path in inside):
        return False
    try:
        _checked(_libc.unshare(_NEW_MOUNTS))
        # Else what follows would happen outside too.
        _mount(b"none", Path("/"), None, _RECURSIVE | _PRIVATE)
        _replace(closed, installation)
    except OSError:
        return False
    return True


def cover() -> bool:
    """Whether an empty folder now stands in the place of each such file system.

    In a mount namespace of the caller's own, with /proc in sight; afterwards it is not.
    """
    lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    places = {line.split()[4]: line.partition(" - ")[2].split()[0] for line in lines}
    covered: list[Path] = []
    try:
        _mount(b"none", Path("/"), None, _RECURSIVE | _PRIVATE)
        for text in sorted(places):
            # Blanks and the like are written in octal digits.
            place = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text))
            if places[text] in MADE_UP and not any(one in place.parents for one in covered):
                flags = _READ_ONLY | _NO_SUID | _NO_DEVICES | _NO_EXEC
                # Below another mount, or a closed folder, it is out of sight as it is.
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    _mount(b"tmpfs", place, b"tmpfs", flags, b"mode=755,size=4k")
                covered.append(place)
    except OSError:
        return False
    return True


def _replace(closed: Path, installation: Path) -> None:
    arguments = [ctypes.c_long(_HERE), os.fsencode(installation)]
    flags = ctypes.c_long(_CLONE | _CLOEXEC | _WHOLE)
    handle = _checked(_libc.syscall(ctypes.c_long(_OPEN_TREE), *arguments, flags))
    try:
        plain = _NO_SUID | _NO_DEVICES | _NO_EXEC
        _mount(b"tmpfs", closed, b"tmpfs", plain, b"mode=755,size=64k")
        try:
            for folder in [*reversed(installation.parents), installation]:
                if closed in folder.parents:
                    folder.mkdir()
                    folder.chmod(0o755)
            moved = [ctypes.c_long(handle), b"", *arguments, ctypes.c_long(_BY_HANDLE)]
            _checked(_libc.syscall(ctypes.c_long(_MOVE_MOUNT), *moved))
            _mount(b"none", closed, None, _REMOUNT | _READ_ONLY | plain)
        except OSError:
            _libc.umount2(os.fsencode(closed), _DETACH)
            raise
    finally:
        os.close(handle)


def _mount(
    source: bytes, target: Path, kind: bytes | None, flags: int, options: bytes | None = None
) -> None:
    where = os.fsencode(target)
    _checked(_libc.mount(source, where, kind, ctypes.c_ulong(flags), options))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mounts: {os.strerror(number)}")
    return result
