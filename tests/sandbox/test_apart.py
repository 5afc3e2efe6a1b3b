"""What one completion leaves behind, and what the next one of the same judge sees."""

from __future__ import annotations

import pytest

from lora_ledger.sandbox.client import Problem, Sandbox, SandboxError
from lora_ledger.sandbox.confine import Limits

TESTS = "def check(candidate):\n    raise AssertionError(candidate())\n"
# Everything at once that was ever found to last, and threads that still run when it is judged.
LEAVES = """
import fcntl, os, signal, threading, time
def tried(act, *given):
    try:
        return act(*given)
    except (OSError, RuntimeError):
        return None
def f():
    threading.stack_size(2**17)
    for handle in (0, 1, 2):
        tried(os.set_blocking, handle, False)
        tried(fcntl.flock, handle, fcntl.LOCK_EX)
        tried(fcntl.lockf, handle, fcntl.LOCK_EX)
        tried(os.lseek, handle, 5, 0)
    for _ in range(200):
        tried(os.pipe)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    for number in (signal.SIGUSR1, *60 * [signal.SIGRTMIN]):
        tried(signal.raise_signal, number)
    os.umask(0o777)
    for one in ("/proc/self", "/proc/sys/kernel/pid_max", "/sys/kernel/mm", "/sys/class"):
        tried(os.stat, one)
    for _ in range(25):
        tried(threading.Thread(target=time.sleep, args=(9,), daemon=True).start)
    return 0
"""
SEES = """
import ctypes, fcntl, os, signal, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def outcome(act, *given):
    try:
        return act(*given)
    except OSError as error:
        return error.errno
def started(most):
    threading.stack_size(2**17)
    end, made = threading.Event(), []
    try:
        for _ in range(most):
            made.append(threading.Thread(target=end.wait))
            made[-1].start()
    except RuntimeError:
        made.pop()
    end.set()
    return [one.native_id for one in made]
def known(call, *behind):
    return [n for n in range(1, 500) if call(n, *behind) >= 0]
def clock(n):
    return outcome(time.clock_gettime, (~n << 3) | 2)
def queued():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
    try:
        for n in range(50):
            signal.raise_signal(signal.SIGRTMIN)
    except OSError:
        pass
    return n
def f():
    return ({},)
"""
LOOKS = {
    "flags": "[fcntl.fcntl(n, fcntl.F_GETFL) for n in range(5)]",
    "offsets": "[outcome(os.lseek, n, 0, 1) for n in range(3)]",
    "locks": "[outcome(fcntl.flock, n, fcntl.LOCK_EX | fcntl.LOCK_NB) for n in range(3)]",
    "process ids": "os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0)",
    "thread ids": "started(3)",
    "who it is": "os.getuid(), os.getgid(), os.getgroups()",
    "room for threads": "len(started(40))",
    "proc by link": "outcome(os.readlink, '/proc/self'), outcome(os.readlink, '/proc/thread-self')",
    "proc and sys": "[outcome(os.stat, n) for n in ('/proc/1', '/proc/uptime', '/sys/kernel/mm')]",
    "inodes of pipes": "outcome(os.pipe)",
    "sessions of others": "known(libc.getsid)",
    "priorities of others": "[n for n in range(1, 500) if libc.getpriority(0, n) != -1]",
    "schedulers of others": "known(libc.sched_getscheduler)",
    "clocks of others": "[n for n in range(1, 500) if clock(n) != 22]",
    "load and memory": "outcome(os.getloadavg), libc.sysinfo(ctypes.create_string_buffer(512))",
    "free blocks": "outcome(os.statvfs, '/')",
    "waiting signals": "sorted(signal.sigpending()), queued()",
    "mask of files": "os.umask(0)",
    "another's futex": "libc.syscall(202 if ctypes.sizeof(ctypes.c_long) == 8 and "
    "os.uname().machine == 'x86_64' else 98, libc.getpid, 1, 1, None, None, 0)",
}


@pytest.fixture(scope="module")
def one() -> object:
    try:
        with Sandbox(1, 3, Limits(memory_bytes=2**31)) as found:
            if "for each worker: pid user" not in found.confinement.layers["namespaces"]:
                pytest.skip("needs user namespaces")
            yield found
    except SandboxError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("look", LOOKS)
def test_nothing_that_a_completion_does_is_seen_by_the_next(one: Sandbox, look: str) -> None:
    sees = SEES.replace("{}", LOOKS[look])
    codes = [f"{sees}#{look} 0\n"]
    for n in range(1, 5):
        codes += [f"{LEAVES}#{look} {n}\n", f"{sees}#{look} {n}\n"]
    found = one.judge_all([Problem("", code, TESTS, "f", context="") for code in codes])
    details = {verdict.detail for verdict in found[::2]}
    assert len(details) == 1, details
    assert details.pop().startswith("AssertionError: (")
    assert {verdict.detail for verdict in found[1::2]} == {"AssertionError: 0"}
