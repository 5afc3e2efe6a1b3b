"""Fork servers that are short of processors or threads, or lost."""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import replace

import psutil
import pytest

from lora_ledger.sandbox.client import Problem, Sandbox
from lora_ledger.sandbox.confine import Limits

ADD = "def f(x):\n    return x + 1\n"


def burn(seconds: float) -> None:
    # As every worker does: Linux shares out processors among sessions before processes.
    os.setsid()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.parametrize(("seconds", "limit"), [(0.5, 0), (1.2, 2)])
def test_a_loaded_machine_gives_the_same_verdict(
    sandbox: Sandbox, seconds: float, limit: int
) -> None:
    """Processor time below the limit, the usual one or its own, with four times as many others as
    processors: by the wall clock that takes longer than any limit here."""
    code = (
        f"import time\ndef f():\n    end = time.process_time() + {seconds}\n"
        "    while time.process_time() < end:\n        pass\n    return 1\n"
    )
    tests = "def check(candidate):\n    assert candidate() == 1\n"
    # So that spare workers stand by, which are not the one that is short of a processor.
    short = [Problem("", f"def f():\n    return {n}\n", tests, "f", context="") for n in range(9)]
    sandbox.judge_all(short)
    others = [
        multiprocessing.get_context("spawn").Process(target=burn, args=(12.0,))
        for _ in range(4 * (os.cpu_count() or 1))
    ]
    for one in others:
        one.start()
    time.sleep(1)
    try:
        problem = Problem("", code, tests, "f", context="", cpu_seconds=limit)
        found = sandbox.judge_all([problem])[0]
    finally:
        for one in others:
            one.kill()
            one.join()
    assert found.reason == "passed", found


def test_a_program_full_of_threads_costs_the_next_one_nothing() -> None:
    """They leave no room for another process until it has ended, which this one does not do."""
    threads = (
        "import threading, time\n"
        "try:\n"
        "    while True:\n"
        "        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\n"
        "except RuntimeError:\n"
        "    pass\n"
        "def f(x):\n    time.sleep(30)\n"
    )
    tests = "def check(candidate):\n    assert candidate(1) == 2\n"
    codes = [ADD, threads, *(f"{ADD}#{n}\n" for n in range(4))]
    with Sandbox(1, 0, Limits(memory_bytes=2**35, own_seconds=0.5)) as one:
        judge = one._judges[0].process
        assert judge
        before = [process.pid for process in psutil.Process(judge.pid).children()]
        found = one.judge_all([Problem("", code, tests, "f", context="") for code in codes])
        after = [process.pid for process in psutil.Process(judge.pid).children()]
    assert [verdict.reason for verdict in found] == ["passed", "timeout", *4 * ["passed"]]
    # The fork server is the one that it was.
    assert after == before


def alive(process: psutil.Process) -> bool:
    """A killed process stands in the table until its parent, here a judge, asks after it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_fork_server_that_is_lost_says_nothing_of_a_completion() -> None:
    """As when the system is short of memory and chooses it."""
    tests = "def check(candidate):\n    assert candidate(1) == 2\n"
    problems = [Problem("", f"{ADD}#{n}\n", tests, "f", context="") for n in range(6)]
    with Sandbox(1, 0) as one:
        assert all(verdict.passed for verdict in one.judge_all(problems))
        judge = one._judges[0].process
        assert judge
        servers = psutil.Process(judge.pid).children()
        for process in servers:
            process.kill()
        while any(map(alive, servers)):
            time.sleep(0.01)
        again = one.judge_all([replace(p, completion=p.completion + "#\n") for p in problems])
    assert [(verdict.reason, verdict.detail) for verdict in again] == [("passed", "")] * 6
