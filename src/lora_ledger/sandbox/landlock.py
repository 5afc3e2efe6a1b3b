"""Landlock: which files a process may read, and nothing else of the file system, for good.

In: files and folders that stay readable, folders that may be listed. Out: the calling thread, and
all it will start, confined. Writing, creating, deleting, executing and truncating are allowed
nowhere; where the kernel knows how (ABI 4 and 6), TCP and signals to processes outside are denied
too. It does not hide that a path exists: `stat` is not Landlock's. Three system calls, no library.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable
from functools import cache

# The three numbers are the same on every architecture.
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
# Rights by the ABI that brought them: 13 at first, then REFER, TRUNCATE, IOCTL_DEV.
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP, _SCOPES = 0b11, 0b11


@cache
def abi() -> int:
    """The kernel's Landlock ABI; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, _call(_CREATE, None, 0, _VERSION))


def restrict(readable: Iterable[str], listed: Iterable[str]) -> None:
    """Confine the calling thread to reading; a path that is not there is passed over.

    Needs no-new-privileges. Raises OSError where the kernel refuses.
    """
    version = abi()
    rights = _RIGHTS[min(version, max(_RIGHTS))] if version else 0
    attributes = [rights, _TCP, _SCOPES][: 1 + (version >= 4) + (version >= 6)]
    ruleset = _ruleset(attributes)
    try:
        for path in listed:
            _allow(ruleset, path, READ_DIR)
        for path in readable:
            _allow(ruleset, path, READ_FILE | READ_DIR)
        _checked(_call(_RESTRICT, ruleset, 0))
    finally:
        os.close(ruleset)


def isolate() -> bool:
    """A further domain around the calling thread alone, so that it can signal or trace no process
    outside; False where the kernel's ABI is below 6."""
    if abi() < 6:
        return False
    ruleset = _ruleset([0, 0, _SCOPES])
    try:
        _checked(_call(_RESTRICT, ruleset, 0))
    finally:
        os.close(ruleset)
    return True


def _ruleset(attributes: list[int]) -> int:
    packed = struct.pack(f"={len(attributes)}Q", *attributes)
    return _checked(_call(_CREATE, packed, len(packed), 0))


def _allow(ruleset: int, path: str, rights: int) -> None:
    with contextlib.suppress(FileNotFoundError, PermissionError):
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(handle).st_mode):
                rights &= READ_FILE
            rule = struct.pack("=Qi", rights, handle)
            _checked(_call(_ADD, ruleset, _PATH_BENEATH, rule, 0))
        finally:
            os.close(handle)


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _call(number: int, *arguments: int | bytes | None) -> int:
    # Without a type of their own, ints would be passed as 32 bits.
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return int(_libc.syscall(ctypes.c_long(number), *given)) if _libc else -1


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"landlock: {os.strerror(number)}")
    return result
