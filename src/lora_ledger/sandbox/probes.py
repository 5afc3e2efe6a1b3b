"""Tries each layer from inside: run as if it were generated code, by the judge, at every start.

In: the path of a file that anyone may read, outside of what a worker may. Out: for each attempt,
named by the layer that has to stop it, "refused" or what happened instead. It is never imported by
the package, and it changes nothing even where every attempt succeeds.
"""

import ctypes
import errno
import os
import platform
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path

# bpf, io_uring_setup, keyctl, mount, ptrace, unshare, memfd_create, process_vm_readv,
# perf_event_open, userfaultfd, pidfd_open, socket, execve, kill


def _table(text: str) -> dict[str, int]:
    return {name: int(number) for name, number in (item.split("=") for item in text.split())}


NUMBERS = {
    "x86_64": _table(
        "bpf=321 io_uring_setup=425 keyctl=250 mount=165 ptrace=101 unshare=272 "
        "memfd_create=319 process_vm_readv=310 perf_event_open=298 userfaultfd=323 "
        "pidfd_open=434 socket=41 execve=59 kill=62 setns=308 shmget=29"
    ),
    "aarch64": _table(
        "bpf=280 io_uring_setup=425 keyctl=219 mount=40 ptrace=117 unshare=97 "
        "memfd_create=279 process_vm_readv=270 perf_event_open=241 userfaultfd=282 "
        "pidfd_open=434 socket=198 execve=221 kill=129 setns=268 shmget=194"
    ),
}


def outcome(attempt: Callable[[], object]) -> str:
    try:
        return f"allowed: {attempt()!r}"[:60]
    except (PermissionError, MemoryError):
        return "refused"
    except OSError as error:
        if error.errno in (errno.EFBIG, errno.EAGAIN, errno.EMFILE):
            return "refused"
        return f"{type(error).__name__} {error.errno}"
    except Exception as error:
        return type(error).__name__


def call(number: int) -> Callable[[], int]:
    def attempt() -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        # Arguments that are refused or harmless: a null pointer, no flags, this process.
        result: int = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(0)] * 5)
        if result < 0:
            raise OSError(ctypes.get_errno(), "")
        return result

    return attempt


def fork() -> int:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def handles() -> list[int]:
    found = []
    for handle in range(256):
        try:
            os.fstat(handle)
        except OSError:
            continue
        found.append(handle)
    return found


def held(truth: bool) -> str:
    return "refused" if truth else "not so"


def probe(planted: str) -> dict[str, str]:
    found = {
        "Landlock: read a file": outcome(lambda: Path(planted).read_bytes()),
        "Landlock: list a folder": outcome(lambda: list(Path(planted).parent.iterdir())),
        "Landlock: list the root": outcome(lambda: list(Path("/").iterdir())),
        "limits: write a file": outcome(lambda: Path("here").write_text("x")),
        "limits: processor time": held(0 < resource.getrlimit(resource.RLIMIT_CPU)[1] < 10**6),
        "limits: core dumps": held(resource.getrlimit(resource.RLIMIT_CORE)[1] == 0),
        "environment: variables": held(not os.environ),
        "environment: descriptors": held(handles() == list(range(7))),
        "environment: input": held(os.read(0, 1) == b""),
        "process: session of its own": held(os.getsid(0) == os.getpid()),
        "process: empty folder": held(len(outcome(lambda: list(Path().iterdir()))) < 12),
        "process: no tests in memory": held("lora_ledger.sandbox.judge" not in sys.modules),
        "seccomp: fork": outcome(fork),
        "seccomp: socket": outcome(socket.socket),
        "seccomp: signal": outcome(lambda: os.kill(os.getpid(), 0)),
    }
    memory = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 < memory < 2**50:
        # macOS keeps no such limit, and `confine` says so.
        found["limits: allocate twice the memory"] = outcome(lambda: bytearray(2 * memory)[:0])
    for name, number in NUMBERS.get(platform.machine(), {}).items():
        found[f"seccomp: {name}"] = outcome(call(number))
    return found
