"""The confined process: runs one program and its tests. Started by `execute`, never imported.

In: on one pipe a JSON line with the program, and after it has been loaded a second with the tests
and a token. Out: on another pipe one byte when the program is loaded, then the token if every
test passed, or the reason why not. Standard library only. It decides nothing that counts but by
handing back the token.
"""

import errno
import json
import os
import resource
import sys

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
# What the confinement answers with when it refuses something.
REFUSALS = (errno.EPERM, errno.EACCES, errno.EFBIG, errno.EMFILE, errno.ENETUNREACH, errno.EAGAIN)
FORBIDDEN = ("socket.", "subprocess.", "shutil.", "ctypes.", "ftplib.", "http.", "smtplib.")
FORBIDDEN_EVENTS = frozenset(
    {
        "os.exec", "os.fork", "os.forkpty", "os.kill", "os.killpg", "os.posix_spawn", "os.spawn",
        "os.system", "os.putenv", "os.unsetenv", "os.mkdir", "os.rmdir", "os.remove", "os.rename",
        "os.link", "os.symlink", "os.chmod", "os.chown", "os.truncate", "os.utime", "os.chdir",
        "pty.spawn", "signal.pthread_kill", "resource.setrlimit", "resource.prlimit",
    }
)  # fmt: skip


class Refused(PermissionError):
    """The program asked for what it may not have."""


def confine(limits: dict[str, int]) -> bool:
    """Set the limits, leave the network where the system allows it, and audit; True if it did."""
    separate = False
    try:
        if hasattr(os, "unshare"):
            os.unshare(CLONE_NEWUSER | CLONE_NEWNET)
            separate = True
        elif sys.platform == "linux":
            import ctypes

            libc = ctypes.CDLL(None, use_errno=True)
            separate = libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0
    except OSError:
        pass
    for name, value in limits.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        soft_and_hard = (value, value + 1) if name == "RLIMIT_CPU" else (value, value)
        try:
            resource.setrlimit(kind, soft_and_hard)
        except (ValueError, OSError):
            # Some systems refuse a limit on the address space; the other limits hold.
            continue
    return separate


def watch() -> None:
    """Refuse writing, the network and other processes for the rest of this process's life."""

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event == "open":
            mode, flags = args[1], args[2]
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes or (isinstance(mode, str) and set(mode) & set("wax+")):
                raise Refused(errno.EPERM, "may not write")
        elif event in FORBIDDEN_EVENTS or event.startswith(FORBIDDEN):
            raise Refused(errno.EPERM, f"may not use {event}")

    sys.addaudithook(hook)


def reason_of(error: BaseException, tests: bool) -> str:
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, AssertionError) and tests:
        return "wrong"
    if isinstance(error, OSError) and error.errno in REFUSALS:
        return "refused"
    return "exception"


def main() -> None:
    source, sink = int(sys.argv[1]), int(sys.argv[2])
    lines = os.fdopen(source, "rb", buffering=0)
    first = json.loads(lines.readline())
    separate = confine(first["limits"])
    os.write(sink, b"n" if separate else b"-")
    watch()
    # As the published HumanEval runner has it: a block under `__name__ == "__main__"` does not run.
    namespace: dict[str, object] = {}
    tests = False
    try:
        exec(compile(first["program"], "<completion>", "exec"), namespace)
        os.write(sink, b"l")
        second = json.loads(lines.readline())
        tests = True
        exec(compile(second["tests"], "<tests>", "exec"), namespace)
        report = second["token"]
    except BaseException as error:
        report = reason_of(error, tests)
    os.write(sink, report.encode())
    # What the program left to run at exit has no say any more.
    os._exit(0)


if __name__ == "__main__":
    main()
