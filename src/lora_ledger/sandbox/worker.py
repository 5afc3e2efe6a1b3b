"""Generated code's side of the wire: a fork server, and the workers that it forks.

In: on a socket, orders of the judge; on a pipe of its own for each worker, the program, then calls
with their arguments. Out: on a second pipe, returned values or the name of what was raised. Neither
process ever holds tests, expected values or verdicts, so nothing here needs to be trusted: a worker
that rewrites this module from within can only lie about what its own functions return.
Started with a bare interpreter, standard library only.

An order is the number of a worker to fork, which comes with the three descriptors it is to have,
its limit in seconds, and the number of one to end: the answer is its wait status, processor seconds
and peak memory. Number 0 is none. Seconds without a worker to fork ask of the other one whether
there is one yet: the answer is the seconds since it could begin, or -1. A fork that the machine has
no room for is tried again between orders.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import gc
import importlib
import json
import mmap
import os
import posix
import random
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from types import CodeType, ModuleType
from typing import Any

from . import confine, stand_ins, wire
from .caps import MRO, TOLD, Unsendable
from .confine import CONTROL
from .flatten import encode
from .patience import is_short

# What generated functions import most: loaded once, before the fork.
USUAL = (
    "abc", "bisect", "collections.abc", "copy", "datetime", "enum", "functools", "heapq",
    "itertools", "math", "operator", "re", "string", "time", "typing",
)  # fmt: skip
# By identity: a class of the program may say that it equals one, and that it is of `builtins`.
BUILT_IN = {id(t): t.__name__ for t in vars(builtins).values() if isinstance(t, type)}
REFUSALS = frozenset({errno.EPERM, errno.EACCES, errno.EFBIG, errno.EMFILE, errno.ENETUNREACH})
ORDER = struct.Struct("!QIQ")
USAGE = struct.Struct("!iddq")
TIME = struct.Struct("d")
# Seconds until a fork is tried again.
AGAIN = 0.02
# Characters of what an exception says.
MOST_TOLD = 10_000
ARGUMENTS: Any = vars(BaseException)["args"]
# Of a name, so that classes are found by it; not `__main__`, as in the published HumanEval runner.
PROGRAM = ModuleType("completion")
CLOSED_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def fork_server() -> None:
    """Confine this process, then fork workers by order until the judge is gone."""
    control = socket.socket(fileno=int(sys.argv[1]))
    with control.makefile("rb") as lines:
        order = json.loads(lines.readline())
    limits = confine.Limits(**order["limits"])
    for name in USUAL:
        importlib.import_module(name)
    _as_fresh()
    stand_ins.locks()
    os.chdir(order["folder"])
    # Out of the way: the descriptors of an order come as the lowest free numbers, a worker's own.
    if (held := control.detach()) != CONTROL:
        os.dup2(held, CONTROL, inheritable=False)
        os.close(held)
    os.closerange(confine.CHANNEL[0], CONTROL)
    enclosure = confine.enclose(
        limits, order["readable"], order["listed"], frozenset(order["without"])
    )
    os.dup2(1, 2)
    control = socket.socket(fileno=CONTROL)
    # What workers inherit, and would else each copy a page for.
    sys.argv[:] = [""]
    stand_ins.null_device()
    stand_ins.pipe(confine.WAKING)
    # What fork would have to copy as soon as the collector touches it.
    gc.collect()
    gc.freeze()
    told = {"layers": enclosure.layers, "counted": "user" not in enclosure.own}
    control.sendall(json.dumps(told).encode() + b"\n")
    forks = enclosure.layers["seccomp"] != "on"
    children: dict[int, int] = {}
    waiting: deque[tuple[int, int, list[int]]] = deque()
    # When each began, written by the worker itself, which has it no more as it runs a program.
    began = mmap.mmap(-1, mmap.PAGESIZE)
    while True:
        if waiting and not select.select([control], [], [], AGAIN)[0]:
            _fork_all(waiting, children, began, enclosure)
            continue
        data, handles, _, _ = socket.recv_fds(control, ORDER.size, 3, CLOSED_ON_EXEC)
        if not data:
            break
        while len(data) < ORDER.size:
            data += control.recv(ORDER.size - len(data))
        forked, seconds, other = ORDER.unpack(data)
        # First, since its threads may leave no room for another process.
        if other and (forked or not seconds):
            control.sendall(_end(other, waiting, children, forks))
        elif other:
            (since,) = TIME.unpack_from(began, _place(other)) if other in children else (0.0,)
            control.sendall(USAGE.pack(0, time.monotonic() - since if since else -1.0, 0.0, 0))
        if forked:
            waiting.append((forked, seconds, handles))
        _fork_all(waiting, children, began, enclosure)
    for number in list(children):
        _end(number, waiting, children, forks)


def _as_fresh() -> None:
    """Leave what a program finds as an interpreter has it that was started for the program alone.

    -S keeps `exit` and its kin out; submodules that are loaded for this package's own use would be
    attributes of packages that the program did not import them from; `__main__` is the program.
    """
    _sitebuiltins: Any = importlib.import_module("_sitebuiltins")
    folder = os.__file__.rpartition(os.sep)[0]
    for name, value in {
        "quit": _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)"),
        "exit": _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)"),
        "copyright": _sitebuiltins._Printer("copyright", sys.copyright),
        "credits": _sitebuiltins._Printer("credits", "See www.python.org for more information."),
        "license": _sitebuiltins._Printer(
            "license", "See https://www.python.org/psf/license/", ["LICENSE.txt"], [folder]
        ),
        "help": _sitebuiltins._Helper(),
    }.items():
        setattr(builtins, name, value)
    # `dataclasses` loads `inspect`, which makes `machinery` an attribute of importlib.
    vars(importlib).pop("machinery", None)
    for name in (
        "dataclasses", "importlib.machinery", "inspect", "pathlib", "urllib.parse", "urllib"
    ):  # fmt: skip
        sys.modules.pop(name, None)
    sys.modules["__main__"] = sys.modules[PROGRAM.__name__] = PROGRAM


def _compiled(source: str, mode: str) -> CodeType:
    # Else this module's own `from __future__` would be the program's.
    return compile(source, "<completion>", mode, dont_inherit=True)


def _fork_all(
    waiting: deque[tuple[int, int, list[int]]],
    children: dict[int, int],
    began: mmap.mmap,
    enclosure: confine.Enclosure,
) -> None:
    """Fork the workers that were asked for, in order, until the machine has no room for one."""
    while waiting:
        number, seconds, handles = waiting[0]
        TIME.pack_into(began, _place(number), 0.0)
        try:
            children[number] = _fork(number, seconds, handles, began, enclosure)
        except OSError as error:
            if is_short(error):
                return
            raise
        waiting.popleft()
        for handle in handles:
            os.close(handle)


def _place(number: int) -> int:
    return number % (mmap.PAGESIZE // TIME.size) * TIME.size


def _fork(
    number: int,
    cpu_seconds: int,
    handles: list[int],
    began: mmap.mmap,
    enclosure: confine.Enclosure,
) -> int:
    child = confine.fork("pid" in enclosure.own)
    if child:
        return child
    # Every page that is written from here on is copied, so little is done.
    try:
        # Its own /dev/null too: flags and locks of an open file are seen by all who share it.
        for handle, place in zip(handles, (*confine.CHANNEL, 0), strict=True):
            if handle != place:
                os.dup2(handle, place)
        os.dup2(0, 1)
        os.dup2(0, 2)
        os.closerange(confine.WAKING[0], confine.MOST_HANDLES)
        # The lowest free numbers again. Opened by its C name, since `os` has the stand-in by now.
        posix.pipe()
        confine.seal(cpu_seconds, enclosure)
        TIME.pack_into(began, _place(number), time.monotonic())
        began.close()
        random.seed(0)
        serve(*confine.CHANNEL)
    except BaseException:
        pass
    os._exit(1)


def _end(
    number: int,
    waiting: deque[tuple[int, int, list[int]]],
    children: dict[int, int],
    forks: bool,
) -> bytes:
    """Kill a worker with all it started, and say how it ended."""
    for place, (asked, _, handles) in enumerate(waiting):
        if asked == number:
            del waiting[place]
            for handle in handles:
                os.close(handle)
            return USAGE.pack(0, 0.0, 0.0, 0)
    child = children.pop(number)
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    user, system = usage.ru_utime, usage.ru_stime
    # Where a worker can fork, what it did not wait for itself comes to this process.
    with contextlib.suppress(ChildProcessError):
        while forks and (found := os.wait4(-child, 0))[0]:
            user, system = user + found[2].ru_utime, system + found[2].ru_stime
    return USAGE.pack(status, user, system, usage.ru_maxrss)


def serve(source: int, sink: int) -> None:
    """Load the program, then answer calls until the judge has no more."""
    namespace = vars(PROGRAM)
    while True:
        kind, nonce, tokens = wire.unframe_trusted(_take(source))
        given = wire.decode(tokens)
        try:
            if kind == "load":
                exec(_compiled(given, "exec"), namespace)
                value = None
            elif kind == "evaluate":
                value = eval(_compiled(given, "eval"), namespace)
            else:
                name, positional, named = given
                if name not in namespace:
                    raise NameError(f"name {name!r} is not defined")
                value = namespace[name](*positional, **named)
            answer = wire.frame("value", nonce, encode(value))
        except Unsendable as error:
            answer = wire.frame("unsendable", nonce, ["s", str(error)[:200]])
        except BaseException as error:
            answer = wire.frame("raised", nonce, encode(_described(error)))
            error.__traceback__ = None
            del error
        _give(sink, answer)


def _described(error: BaseException) -> tuple[str, str, bool, tuple[Any, ...]]:
    """Nearest built-in type, a short text, whether the confinement is what refused, and what that
    type is to be given to say the same."""
    names = [BUILT_IN[id(t)] for t in MRO(type(error)) if id(t) in BUILT_IN]
    try:
        text = f"{type(error).__name__}: {error}"[:200]
    except BaseException:
        text = type(error).__name__
    given = _given(error, vars(builtins)[names[0]])
    seen: Any = error
    for _ in range(4):
        if isinstance(seen, OSError) and seen.errno in REFUSALS:
            return names[0], text, True, ()
        if isinstance(seen, OSError) and seen.errno == errno.ENOMEM:
            return "MemoryError", text, False, ()
        # urllib wraps the refusal as `reason`; others chain it.
        seen = getattr(seen, "reason", None) or getattr(seen, "__context__", None)
    return names[0], text, False, given


def _given(error: Any, nearest: Any) -> tuple[Any, ...]:
    try:
        if type(error).__str__ is nearest.__str__:
            given: tuple[Any, ...] = ARGUMENTS.__get__(error)
            if isinstance(error, OSError) and len(given) == 2 and type(error.filename) is str:
                given += (error.filename,)
            if all(type(one) in TOLD for one in given) and len(repr(given)) < MOST_TOLD:
                return given
        return (str.__str__(str(error))[:MOST_TOLD],)
    except BaseException:
        return ()


def _take(source: int) -> bytes:
    # The judge asks one thing at a time, so a frame ends what can be read.
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
        part = os.read(source, 2**16)
        if not part:
            os._exit(0)
        data += part
    return data[4:]


def _give(sink: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sink, view) :]


def libraries() -> None:
    """Print what the extension modules map, for `confine.readable`."""
    # A library that cannot be loaded must not take memory or time without bound.
    resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
    print(json.dumps(confine.shared_libraries()))
