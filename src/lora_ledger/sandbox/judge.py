"""The judge: runs a problem's own tests with the generated functions behind proxies.

In: on standard input a line of settings, then a line for each problem. Out: on standard output one
line for each: the verdict. The tests are the benchmark's and trusted; values come from the worker
as plain data only, so no comparison runs generated code. It decides and never runs a completion.
It is a process of its own, so tests that do not end hold up nobody but it. Standard library only.
"""

from __future__ import annotations

import builtins
import json
import os
import random
import resource
import secrets
import signal
import sys
import time
from contextlib import suppress
from functools import lru_cache
from types import CodeType
from typing import Any

from . import mbpp, wire
from .caps import TOLD, Unsendable
from .confine import Limits
from .flatten import encode
from .forkserver import LOST, ForkServer, Gone, Worker
from .opaque import NotPlain
from .patience import Short

TESTS_BYTES = 2**29


class Stop(BaseException):
    """The verdict is settled; no `except Exception` in tests may go on."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class Session:
    """One problem while it is judged: its worker, and what has become of it."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.calls = 0
        self.stopped: Stop | None = None
        self.raised: BaseException | None = None
        self.told = ""
        self.short: Short | None = None

    def stop(self, reason: str, detail: str = "") -> Stop:
        self.stopped = self.stopped or Stop(reason, detail)
        return self.stopped

    def ask(self, kind: str, content: object) -> Any:
        """What the worker answers; raises what it raised, or Stop."""
        if self.stopped:
            raise self.stopped
        # Unforeseeable, so an answer that was written before the question does not fit it.
        nonce = secrets.randbits(60)
        try:
            message = wire.frame(kind, nonce, encode(content))
        except Unsendable as error:
            raise self.stop("protocol", f"the tests pass {error}") from None
        try:
            answer, echo, tokens = wire.unframe(self.worker.exchange(message))
            if echo != nonce:
                raise wire.WireError("an answer to no question")
            value = wire.decode(tokens)
        except TimeoutError:
            raise self.stop("timeout", "slept or waited past the limit") from None
        except Gone:
            # Nothing may come between the worker's end and the account of it.
            _timer(0)
            stop = self.stop(*self.worker.cause())
            _timer(self.worker.limits.tests_seconds)
            raise stop from None
        except Short as error:
            # Kept, since `except Exception` in tests could take it for the function's.
            self.short = error
            raise self.stop(LOST) from None
        except wire.WireError as error:
            raise self.stop("protocol", str(error)) from None
        except MemoryError:
            # Settled here, since `except Exception` in tests could take it for the function's.
            raise self.stop("memory", "what came back does not fit the judge") from None
        if answer == "value":
            return value
        if answer == "unsendable" and type(value) is str:
            raise self.stop("non_literal", value)
        if answer == "raised" and type(value) is tuple and len(value) == 4:
            return self._raise(*value)
        raise self.stop("protocol", "an answer of no known kind")

    def _raise(self, name: object, text: object, refused: object, given: object) -> Any:
        if (
            type(name) is not str
            or type(text) is not str
            or type(given) is not tuple
            or not all(type(one) in TOLD for one in given)
        ):
            raise self.stop("protocol", "a malformed exception")
        if refused is True:
            raise self.stop("refused", text)
        if name == "MemoryError":
            raise self.stop("memory", text)
        kind = getattr(builtins, name, None)
        quiet = (StopIteration, StopAsyncIteration)
        if not (isinstance(kind, type) and issubclass(kind, Exception)) or kind in quiet:
            # SystemExit and the like end a program; the quiet two would end `all(map(f, cases))`
            # in the tests, early and well.
            raise self.stop("exception", text)
        self.told = text
        self.raised = Exception(text)
        for base in kind.__mro__:
            # Some want arguments of a kind that did not come: then the next more general one.
            with suppress(Exception):
                self.raised = base(*given)
                break
        raise self.raised

    def call(self, name: str, *positional: Any, **named: Any) -> Any:
        self.calls += 1
        return self.ask("call", (name, positional, named))

    def evaluate(self, source: str) -> Any:
        self.calls += 1
        return self.ask("evaluate", source)


class Proxy:
    """Stands for a generated function: a call goes to the worker and comes back as plain data."""

    def __init__(self, session: Session, name: str) -> None:
        self._session, self.__name__ = session, name

    def __call__(self, *positional: Any, **named: Any) -> Any:
        return self._session.call(self.__name__, *positional, **named)


@lru_cache(maxsize=4096)
def _compiled(source: str, name: str) -> CodeType:
    return compile(source, name, "exec", dont_inherit=True)


def _human_eval(problem: dict[str, Any], session: Session) -> None:
    """The prompt's own helpers come from the prompt as published, whatever the completion did."""
    namespace: dict[str, Any] = {}
    proxy = Proxy(session, problem["entry_point"])
    try:
        exec(_compiled(problem["context"], "<prompt>"), namespace)
        namespace[problem["entry_point"]] = proxy
        exec(_compiled(problem["tests"], "<tests>"), namespace)
        check = namespace["check"]
    except Exception as error:
        raise session.stop("protocol", f"the benchmark's own code: {_text(error)}") from None
    check(proxy)


def _mbpp(problem: dict[str, Any], session: Session) -> None:
    plan = mbpp.plan(problem["tests"], problem["entry_point"])
    if problem["context"]:
        # Setup builds arguments, from classes of the completion perhaps: it belongs to the worker.
        session.ask("load", problem["context"])
    namespace: dict[str, Any] = dict(plan.modules)
    for name in plan.functions:
        namespace[name] = Proxy(session, name)
    namespace[mbpp.REMOTE] = session.evaluate
    for code in plan.asserts:
        exec(code, namespace)


STYLES = {"humaneval": _human_eval, "mbpp": _mbpp}


def judge(problem: dict[str, Any], forkserver: ForkServer) -> dict[str, Any]:
    """The verdict on one problem: reason, detail, and what the worker used."""
    # Only this package's own probe asks for all of it.
    width = None if problem["whole"] else 200
    for last in (False, True):
        session = Session(forkserver.spawn(problem["cpu_seconds"]))
        try:
            settled = _settle(problem, session)
            if settled.reason == "passed" and (used := session.worker.overspent()):
                settled = Stop("timeout", used)
            if settled.reason == "passed" and session.worker.lost:
                settled = Stop(LOST, "the fork server ended")
        finally:
            _timer(0)
            usage = session.worker.close(wait=problem["measure"])
        if session.short:
            raise session.short
        if settled.reason != LOST:
            break
        if last:
            settled = Stop("protocol", f"{settled.detail} twice")
    return {
        "reason": settled.reason,
        "detail": "".join(c if c.isprintable() else "?" for c in settled.detail)[:width],
        "seconds": round(session.worker.waited, 6),
        "cpu": round(usage.cpu, 6),
    }


def _settle(problem: dict[str, Any], session: Session) -> Stop:
    # Not the workers' seed, and none that a program can name: it would foretell the tests' inputs.
    told = "\0".join(problem[key] for key in ("tests", "prompt", "completion"))
    random.seed(told.encode("utf-8", "surrogatepass"))
    loaded, asked = False, NotPlain.count
    try:
        _timer(session.worker.limits.tests_seconds)
        try:
            session.ask("load", problem["prompt"] + problem["completion"])
            loaded = True
            STYLES[problem["style"]](problem, session)
        finally:
            _timer(0)
    except Stop as stop:
        return session.stopped or stop
    except _Overtime:
        return session.stopped or Stop("timeout", "the tests did not end on the returned values")
    except NotPlain as error:
        return session.stopped or Stop("non_literal", str(error))
    except MemoryError:
        return session.stopped or Stop("memory", "the tests ran out of memory on returned values")
    except BaseException as error:
        if session.stopped:
            return session.stopped
        if not loaded or error is session.raised:
            return Stop("exception", session.told or _text(error))
        if NotPlain.count > asked:
            return Stop("non_literal", "an object, of which the tests ask more than came")
        # The functions returned; the tests did not accept, or could not use, what they returned.
        return Stop("wrong", _text(error))
    if session.stopped:
        return session.stopped
    if NotPlain.count > asked:
        return Stop("non_literal", "an object, of which the tests ask more than came")
    if not session.calls:
        return Stop("protocol", "the tests called no generated function")
    return Stop("passed")


def _text(error: BaseException) -> str:
    """What an exception says; it may hold a returned value that cannot be written down."""
    try:
        return f"{type(error).__name__}: {error}"
    except (Exception, NotPlain):
        return type(error).__name__


class _Overtime(BaseException):
    pass


def _overtime(number: int, stack: object) -> None:
    raise _Overtime


def _timer(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 1.0 if seconds else 0.0)


def main() -> None:
    """Serve the process that started this one until it closes the pipe."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    # Tests may print; what they print is not a verdict.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGVTALRM, _overtime)
    settings = json.loads(sys.stdin.buffer.readline())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        forkserver = ForkServer(settings, Limits(**settings["limits"]))
    except Short as error:
        _answer(answers, {"short": error.what})
        return
    if sys.platform != "darwin":
        # The hard limit stays: the fork server has one of its own.
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (TESTS_BYTES, hard))
    _answer(answers, {"layers": forkserver.layers})
    os.dup2(1, 2)
    for line in sys.stdin.buffer:
        problem = json.loads(line)
        began = time.monotonic()
        try:
            verdict = judge(problem, forkserver)
        except Short as error:
            _answer(answers, {"short": error.what})
            return
        except Exception as error:
            # Whatever a worker sent, the next problem finds a judge.
            forkserver.start()
            verdict = {"reason": "protocol", "detail": f"{type(error).__name__}: {error}"[:200]}
        _answer(answers, verdict | {"wall": round(time.monotonic() - began, 6)})


def _answer(answers: Any, content: dict[str, Any]) -> None:
    data = memoryview(json.dumps(content).encode() + b"\n")
    while data:
        data = data[answers.write(data) :]
