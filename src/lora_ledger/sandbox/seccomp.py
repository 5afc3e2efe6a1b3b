"""The system calls that a worker may make: a BPF program, assembled here, for x86-64 and aarch64.

In: nothing but the machine's architecture and the worker's process id. Out: the program, and its
installation in the calling thread, for good. It is a list of what is allowed: any other call fails
with EPERM, a call of another architecture kills the process. Left out are therefore sockets, exec,
fork, signals to others, ptrace, mounts, namespaces, keyrings, io_uring, bpf, perf, memfd, System V
IPC, and whatever changes a file, an owner or a limit; also what another completion could be seen
by: locks, pipes (whose inodes the kernel numbers in a row), the load and free memory of the
machine, other processes' ids and clocks, futexes shared with them. It says nothing about which
files may be read: that is Landlock's.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from functools import cache


def _table(text: str) -> dict[str, int]:
    return {name: int(number) for name, number in (item.split("=") for item in text.split())}


# From the kernel's tables asm/unistd_64.h and asm-generic/unistd.h.
PLAIN = {
    "x86_64": _table(
        "read=0 write=1 readv=19 writev=20 pread64=17 pwrite64=18 preadv=295 pwritev=296 "
        "lseek=8 close=3 close_range=436 dup=32 dup2=33 dup3=292 poll=7 "
        "ppoll=271 select=23 pselect6=270 epoll_create=213 epoll_create1=291 epoll_ctl=233 "
        "epoll_wait=232 epoll_pwait=281 eventfd2=290 stat=4 lstat=6 fstat=5 newfstatat=262 "
        "statx=332 access=21 faccessat=269 faccessat2=439 readlink=89 "
        "readlinkat=267 getdents=78 getdents64=217 getcwd=79 mmap=9 munmap=11 mremap=25 "
        "mprotect=10 madvise=28 brk=12 msync=26 rt_sigaction=13 rt_sigprocmask=14 "
        "rt_sigreturn=15 rt_sigpending=127 rt_sigsuspend=130 rt_sigtimedwait=128 "
        "sigaltstack=131 restart_syscall=219 pause=34 alarm=37 getitimer=36 setitimer=38 "
        "nanosleep=35 gettimeofday=96 "
        "time=201 times=100 getpid=39 gettid=186 getppid=110 getpgrp=111 "
        "getuid=102 geteuid=107 getgid=104 getegid=108 getresuid=118 getresgid=120 "
        "getgroups=115 getrlimit=97 getrusage=98 uname=63 "
        "getrandom=318 getcpu=309 sched_yield=24 "
        "sched_get_priority_max=146 sched_get_priority_min=147 "
        "set_robust_list=273 set_tid_address=218 rseq=334 "
        "membarrier=324 exit=60 exit_group=231 wait4=61 waitid=247 umask=95"
    ),
    "aarch64": _table(
        "read=63 write=64 readv=65 writev=66 pread64=67 pwrite64=68 preadv=69 pwritev=70 "
        "lseek=62 close=57 close_range=436 dup=23 dup3=24 ppoll=73 pselect6=72 "
        "epoll_create1=20 epoll_ctl=21 epoll_pwait=22 eventfd2=19 fstat=80 newfstatat=79 "
        "statx=291 faccessat=48 faccessat2=439 readlinkat=78 "
        "getdents64=61 getcwd=17 mmap=222 munmap=215 mremap=216 mprotect=226 madvise=233 "
        "brk=214 msync=227 rt_sigaction=134 rt_sigprocmask=135 rt_sigreturn=139 "
        "rt_sigpending=136 rt_sigsuspend=133 rt_sigtimedwait=137 sigaltstack=132 "
        "restart_syscall=128 getitimer=102 setitimer=103 nanosleep=101 "
        "gettimeofday=169 times=153 getpid=172 gettid=178 "
        "getppid=173 getuid=174 geteuid=175 getgid=176 getegid=177 "
        "getresuid=148 getresgid=150 getgroups=158 getrlimit=163 "
        "getrusage=165 uname=160 getrandom=278 getcpu=168 sched_yield=124 "
        "sched_get_priority_max=125 sched_get_priority_min=126 "
        "set_robust_list=99 set_tid_address=96 rseq=293 membarrier=283 "
        "exit=93 exit_group=94 wait4=260 waitid=95 umask=166"
    ),
}
# Calls that are allowed with some arguments only. `open` exists on x86-64 alone.
CHECKED = {
    "x86_64": _table(
        "open=2 openat=257 clone=56 ioctl=16 fcntl=72 prlimit64=302 tgkill=234 prctl=157 futex=202 "
        "getpgid=121 getsid=124 getpriority=140 get_robust_list=274 sched_getaffinity=204 "
        "sched_getscheduler=145 sched_getparam=143 clock_gettime=228 clock_getres=229 "
        "clock_nanosleep=230"
    ),
    "aarch64": _table(
        "openat=56 clone=220 ioctl=29 fcntl=25 prlimit64=261 tgkill=131 prctl=167 futex=98 "
        "getpgid=155 getsid=156 getpriority=141 get_robust_list=100 sched_getaffinity=123 "
        "sched_getscheduler=120 sched_getparam=121 clock_gettime=113 clock_getres=114 "
        "clock_nanosleep=115"
    ),
}
# Where the argument stands that names a process: its own, or 0 for the caller.
ASKING = {"getpgid": 0, "getsid": 0, "getpriority": 1, "get_robust_list": 0,
          "sched_getaffinity": 0, "sched_getscheduler": 0, "sched_getparam": 0}  # fmt: skip
CLONE3, OPENAT2 = 435, 437
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE_THREAD = 0x10000
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# FIONREAD, FIONBIO, FIONCLEX, FIOCLEX and TCGETS, which isatty() asks.
IOCTLS = (0x541B, 0x5421, 0x5450, 0x5451, 0x5401)
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC, F_GETPIPE_SZ. Not F_SETFL, whose O_ASYNC
# with F_SETOWN sends signals to others; subprocess and asyncio, which want it, are out anyway.
FCNTLS = (0, 1, 2, 3, 1030, 1032)
PRCTLS = (15, 16)  # the thread's name
# FUTEX_WAIT and FUTEX_WAIT_BITSET, by the wall clock too, which pthread_join asks on a futex that
# is not private; on one that is, anything goes. Processes share the others in a library's pages.
PRIVATE_FUTEX, WAITS = 128, (0, 9, 256, 265)
# The system's clocks. Above stand the clocks of processes, others' too, and of devices.
LAST_CLOCK = 15
_OWN = 0x7FFFFFF1

_LOAD, _JUMP, _JEQ, _JGT, _JGE, _JSET, _RET = 0x20, 0x05, 0x15, 0x25, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_Code = list[bytes]


class _Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


_libc = ctypes.CDLL(None, use_errno=True)


def supported() -> bool:
    return os.name == "posix" and platform.system() == "Linux" and platform.machine() in PLAIN


def assemble(pid: int, machine: str | None = None) -> bytes:
    """The filter for a worker whose process id, as it sees it, is `pid`.

    A binary tree over ranges of numbers: the kernel runs a new filter once for each call it knows,
    and translates it for every worker, so it is kept short.
    """
    machine = machine or platform.machine()
    rules = {
        "open": _unless(1, WRITING),
        "openat": _unless(2, WRITING),
        "clone": _if_set(0, CLONE_THREAD),
        "ioctl": _one_of(1, IOCTLS),
        "fcntl": _one_of(1, FCNTLS),
        "prlimit64": _one_of(0, (0,)),
        "tgkill": _one_of(0, (pid,)),
        "prctl": _one_of(0, PRCTLS),
        "futex": [*_if_clear(1, PRIVATE_FUTEX), *_one_of(1, WAITS)],
    }
    # As where there is no such process, and no such clock.
    rules |= {n: _one_of(place, (0, pid), errno.ESRCH) for n, place in ASKING.items()}
    clock = [_argument(0), _op(_JGT, LAST_CLOCK, 1, 0), _op(_RET, _ALLOW)]
    for name in ("clock_gettime", "clock_getres", "clock_nanosleep"):
        rules[name] = [*clock, _op(_RET, _ERRNO | errno.EINVAL)]
    leaves: list[tuple[int, int, _Code]] = []
    allow, unknown = [_op(_RET, _ALLOW)], [_op(_RET, _ERRNO | errno.ENOSYS)]
    bodies = dict.fromkeys(PLAIN[machine].values(), allow)
    bodies |= {number: rules[name] for name, number in CHECKED[machine].items()}
    # As on an older kernel: the C library then goes back to the call whose arguments can be seen.
    bodies |= {CLONE3: unknown, OPENAT2: unknown}
    for number, body in sorted(bodies.items()):
        if leaves and leaves[-1][1:] == (number - 1, body):
            leaves[-1] = (leaves[-1][0], number, body)
        else:
            leaves.append((number, number, body))
    head = [
        _op(_LOAD, 4),
        _op(_JEQ, AUDIT_ARCH[machine], 1, 0),
        _op(_RET, _KILL),
        _op(_LOAD, 0),
    ]
    return b"".join(head + _tree(leaves, 0))


@cache
def prepare() -> tuple[list[memoryview], int, _Program]:
    """Assemble once, in the process that forks the workers: what a worker touches, it copies.

    The places of the process id, the address of the kernel's argument, and what that points to.
    """
    _libc.prctl.argtypes = [ctypes.c_int, *(4 * [ctypes.c_ulong])]
    program = assemble(_OWN)
    held = ctypes.create_string_buffer(program, len(program))
    argument = _Program(len(program) // 8, ctypes.addressof(held))
    view = memoryview(held).cast("B")
    wanted = struct.pack("=I", _OWN)
    places = [at for at in range(4, len(program), 8) if program[at : at + 4] == wanted]
    return [view[at : at + 4] for at in places], ctypes.addressof(argument), argument


def install(pid: int) -> None:
    """Bind the calling thread, and all it will start, to the filter. Raises OSError.

    Needs no-new-privileges.
    """
    places, argument, _ = prepare()
    for place in places:
        place[:] = pid.to_bytes(4, sys.byteorder)
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, argument, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")


def _op(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, k)


def _tree(leaves: list[tuple[int, int, _Code]], floor: int) -> _Code:
    """For numbers that are known to be `floor` or more."""
    if len(leaves) == 1:
        low, high, body = leaves[0]
        # The accumulator is the number still; `body` may load something else, and always returns.
        deny = _op(_RET, _ERRNO | errno.EPERM)
        if low <= floor:
            return [_op(_JGT, high, 0, 1), deny, *body]
        return [_op(_JGE, low, 0, 1), _op(_JGT, high, 0, 1), deny, *body]
    middle = len(leaves) // 2
    start = leaves[middle][0]
    left, right = _tree(leaves[:middle], floor), _tree(leaves[middle:], start)
    # A long jump over the left half, where a conditional one, of 255 instructions, falls short.
    if len(left) < 256:
        return [_op(_JGE, start, len(left), 0), *left, *right]
    return [_op(_JGE, start, 0, 1), _op(_JUMP, len(left)), *left, *right]


def _argument(place: int) -> bytes:
    # The low half: the kernel looks at 32 bits of all the arguments that are tested here.
    return _op(_LOAD, 16 + 8 * place)


def _unless(place: int, bits: int) -> _Code:
    deny = _op(_RET, _ERRNO | errno.EPERM)
    return [_argument(place), _op(_JSET, bits, 0, 1), deny, _op(_RET, _ALLOW)]


def _if_set(place: int, bits: int) -> _Code:
    deny = _op(_RET, _ERRNO | errno.EPERM)
    return [_argument(place), _op(_JSET, bits, 0, 1), _op(_RET, _ALLOW), deny]


def _if_clear(place: int, bits: int) -> _Code:
    """Allow with one of the bits; without, what follows decides."""
    return [_argument(place), _op(_JSET, bits, 0, 1), _op(_RET, _ALLOW)]


def _one_of(place: int, values: tuple[int, ...], otherwise: int = errno.EPERM) -> _Code:
    last = len(values)
    tests = [_op(_JEQ, value, last - at, 0) for at, value in enumerate(values)]
    return [_argument(place), *tests, _op(_RET, _ERRNO | otherwise), _op(_RET, _ALLOW)]
