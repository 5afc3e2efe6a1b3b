"""Runs generated programs against their tests, each in a confined process of its own.

In: program and tests as text. Out: a verdict: passed, wrong, exception, timeout, memory, refused.
The process gets a new session, an almost empty environment, an empty folder, no input, limits on
memory, processor time, files and processes, an audit hook against writing, network and processes,
and a network namespace where the system grants one. It passes only by handing back a random token
that it is sent once the program has been loaded, so neither exit code nor printed text passes.
Limits: program and tests share one interpreter. Code written to cheat can read the token from the
frames or the pipe, return objects that equal everything, or undo the hook from native code. This
keeps accidents in; it is no wall against an adversary.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Reason = Literal["passed", "wrong", "exception", "timeout", "memory", "refused"]
REASONS: tuple[Reason, ...] = ("passed", "wrong", "exception", "timeout", "memory", "refused")
CHILD = Path(__file__).with_name("child.py")


@dataclass(frozen=True)
class Limits:
    """Bounds of one process. Processor time decides; the wall clock is the backstop of a loaded
    machine. 3 s are the limit of the published HumanEval runner."""

    memory_bytes: int = 2**30
    cpu_seconds: int = 3
    wall_seconds: float = 15.0
    open_files: int = 32

    def rlimits(self) -> dict[str, int]:
        return {
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_CPU": self.cpu_seconds,
            "RLIMIT_FSIZE": 0,
            "RLIMIT_CORE": 0,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_NPROC": 64,
        }


@dataclass(frozen=True)
class Program:
    """A prompt with its completion, and the tests that decide on it."""

    source: str
    tests: str


@dataclass(frozen=True)
class Verdict:
    """`separate_network`: whether the process had a network namespace of its own."""

    reason: Reason
    separate_network: bool = False
    seconds: float = field(default=0.0, compare=False)


def run_all(
    programs: Sequence[Program], jobs: int = 1, limits: Limits | None = None
) -> list[Verdict]:
    """The verdict of each program, in order; equal programs run once."""
    distinct = list(dict.fromkeys(programs))
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        verdicts = pool.map(lambda program: run(program, limits), distinct)
        found = dict(zip(distinct, verdicts, strict=True))
    return [found[program] for program in programs]


def run(program: Program, limits: Limits | None = None) -> Verdict:
    """The verdict of one program."""
    limits = limits or Limits()
    token = secrets.token_hex(16)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ledger-"))
        to_child, from_parent = os.pipe()
        to_parent, from_child = os.pipe()
        out = stack.enter_context(os.fdopen(from_parent, "wb", buffering=0))
        stack.callback(os.close, to_parent)
        try:
            process = subprocess.Popen(
                # Not -I, which would ignore the fixed hash seed; the environment is empty anyway.
                [sys.executable, "-s", "-S", "-P", "-B", CHILD, str(to_child), str(from_child)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env={"PYTHONHASHSEED": "0"},
                pass_fds=(to_child, from_child),
                start_new_session=True,
            )
        finally:
            os.close(to_child)
            os.close(from_child)
        try:
            answer = _converse(out, to_parent, program, token, limits, started)
            if answer is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.1, limits.wall_seconds - (time.monotonic() - started)))
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    seconds = time.monotonic() - started
    if answer is None:
        return Verdict("timeout", seconds=seconds)
    separate, text = answer[:1] == "n", answer[1:].removeprefix("l")
    return Verdict(_reason(text, token, process.returncode), separate, seconds)


def _converse(
    out: object, source: int, program: Program, token: str, limits: Limits, started: float
) -> str | None:
    """Send the program, then the tests once it is loaded; what came back, or None on time-out."""
    _send(out, {"program": program.source, "limits": limits.rlimits()})
    answer = b""
    sent = False
    while len(answer) < 4096:
        left = limits.wall_seconds - (time.monotonic() - started)
        ready, _, _ = select.select([source], [], [], max(0.0, left))
        if not ready:
            return None
        more = os.read(source, 4096)
        if not more:
            break
        answer += more
        if not sent and answer[1:2] == b"l":
            _send(out, {"tests": program.tests, "token": token})
            sent = True
    return answer.decode("ascii", "replace")


def _send(out: object, message: dict[str, object]) -> None:
    data = memoryview(json.dumps(message).encode() + b"\n")
    # A process that has ended already says why on the other pipe.
    with contextlib.suppress(BrokenPipeError):
        while data:
            data = data[out.write(data) :]  # type: ignore[attr-defined]


def _reason(text: str, token: str, code: int) -> Reason:
    if text == token:
        return "passed"
    for reason in REASONS[1:]:
        if text == reason:
            return reason
    # SIGXCPU at the soft limit of processor time, SIGKILL at the hard one.
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return "timeout"
    return "exception"
