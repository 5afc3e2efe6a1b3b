"""Waiting for processes and threads that the machine does not give at the moment.

In: what starts one. Out: what that returned, or `Short`. That a user, a container or the machine is
out of processes says nothing of a completion, so it is waited for and in the end an error of the
run, never a verdict. Standard library only.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
SHORT_SECONDS = 60.0
# Of fork: the limits on tasks, and memory; of unshare: the limits on namespaces.
SHORTAGES = frozenset({errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EUSERS})


class Short(OSError):
    """The machine gave no process for as long as anybody waits."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(
            f"sandbox: {what}; expected room for a few processes within {SHORT_SECONDS:.0f} s: "
            "end what holds them, or raise `ulimit -u` or the container's limit on tasks"
        )


def is_short(error: BaseException) -> bool:
    """Whether an error says that the machine is short of processes, threads or memory."""
    if isinstance(error, OSError):
        return error.errno in SHORTAGES
    return isinstance(error, RuntimeError) and "start new thread" in str(error)


def patiently(start: Callable[[], T], seconds: float = SHORT_SECONDS) -> T:
    """What `start` returns, asked again while the machine is short. Raises Short."""
    end, pause = time.monotonic() + seconds, 0.001
    while True:
        try:
            return start()
        except (OSError, RuntimeError) as error:
            if not is_short(error):
                raise
            if time.monotonic() > end:
                raise Short(f"found no room for a process: {error}") from error
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
