"""What a program finds in place of parts of Python that the confinement takes away.

In: a pipe that the worker has already. Out: `open` for the null device, which is the one that the
worker has already too, locks of `multiprocessing` that hold between threads, since there are no
other processes, and that pipe, which its `ThreadPool` needs. Programs gain nothing that they could
not do without. Standard library only.
"""

from __future__ import annotations

import builtins
import io
import os
import sys
import threading
from types import ModuleType
from typing import Any


class SemLock:
    """`_multiprocessing.SemLock` between threads; its own asks for a file in shared memory."""

    SEM_VALUE_MAX = 2**31 - 1

    def __init__(self, kind: int, value: int, maxvalue: int, name: str, unlink: bool) -> None:
        self.kind, self.maxvalue, self.name, self.handle = kind, maxvalue, None, id(self)
        self._value, self._owner, self._held = value, 0, 0
        self._changed = threading.Condition(threading.Lock())

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take it; kind 0 (recursive) may be taken again by the thread that has it."""
        with self._changed:
            if self.kind == 0 and self._is_mine():
                self._held += 1
                return True
            wait = (0.0 if timeout is None else max(0.0, timeout)) if not block else timeout
            if not self._changed.wait_for(lambda: self._value > 0, 0.0 if not block else wait):
                return False
            self._value -= 1
            self._owner, self._held = threading.get_ident(), self._held + 1
            return True

    __enter__ = acquire

    def release(self) -> None:
        """Give it back. Raises AssertionError or ValueError as the original does."""
        with self._changed:
            if self.kind == 0:
                if not self._is_mine():
                    raise AssertionError("attempt to release recursive lock not owned by thread")
                if self._held > 1:
                    self._held -= 1
                    return
            elif self._value >= self.maxvalue:
                raise ValueError("semaphore or lock released too many times")
            self._value, self._held = self._value + 1, self._held - 1
            self._changed.notify()

    def __exit__(self, *raised: object) -> None:
        self.release()

    def _count(self) -> int:
        return self._held

    def _is_mine(self) -> bool:
        return self._held > 0 and self._owner == threading.get_ident()

    def _get_value(self) -> int:
        return self._value

    def _is_zero(self) -> bool:
        return self._value == 0

    def _after_fork(self) -> None:
        self._held = 0


def locks() -> None:
    """Have `multiprocessing` find those of this file, if a program imports it."""
    module = ModuleType("_multiprocessing")
    vars(module).update(SemLock=SemLock, sem_unlink=lambda name: None, flags={})
    sys.modules["_multiprocessing"] = module


def pipe(ends: tuple[int, int]) -> None:
    """Have every `ThreadPool` take this pipe for the one that wakes it up, as which it tells no
    more than that something happened.

    The filter lets nobody make one: the kernel numbers them in a row, for all to see.
    """
    plain = os.pipe

    def made() -> tuple[int, int]:
        frame: Any = sys._getframe()
        for _ in range(6):
            if not (frame := frame.f_back):
                break
            if frame.f_globals.get("__name__") == "multiprocessing.pool":
                return os.dup(ends[0]), os.dup(ends[1])
        return plain()

    made.__doc__, made.__module__ = plain.__doc__, plain.__module__
    made.__name__ = made.__qualname__ = "pipe"
    os.pipe = made


def _is_null(path: Any) -> bool:
    return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path) == os.devnull


def null_device() -> None:
    """Have `open` give the null device: the one that input comes from and output goes to already.

    The filter lets nothing be opened for writing, and cannot read what a name says.
    """
    plain, plain_os = io.open, os.open

    def open(file: Any, mode: Any = "r", *arguments: Any, **named: Any) -> Any:
        # `opener` is the sixth of the others.
        if len(arguments) < 6 and named.get("opener") is None and _is_null(file):
            named["opener"] = os_open
        return plain(file, mode, *arguments, **named)

    def os_open(path: Any, flags: Any, *arguments: Any, **named: Any) -> int:
        if _is_null(path) and isinstance(flags, int):
            return os.dup(1 if flags & os.O_ACCMODE else 0)
        return plain_os(path, flags, *arguments, **named)

    for function, original in ((open, plain), (os_open, plain_os)):
        function.__doc__ = original.__doc__
        function.__name__ = function.__qualname__ = "open"
        function.__module__ = original.__module__
    builtins.open = io.open = open
    os.open = os_open
