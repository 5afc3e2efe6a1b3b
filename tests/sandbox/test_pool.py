"""Judge processes that hang, end unasked, or are sent more than a pipe holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from lora_ledger.sandbox import pool
from lora_ledger.sandbox.client import Problem, Sandbox, Verdict

Run = Callable[..., Verdict]
ADD = "def f(x):\n    return x + 1\n"


def test_a_judge_that_hangs_on_a_value_ends_with_a_verdict_and_the_next_one_is_fine(
    verdict: Run,
) -> None:
    body = "x = candidate()\nwhile x:\n    pass"
    began = time.monotonic()
    assert verdict("def f():\n    return 1\n", body).reason == "timeout"
    assert time.monotonic() - began < 600
    assert verdict(ADD, "assert candidate(1) == 2").reason == "passed"


@pytest.mark.parametrize(("times", "reason"), [(1, "passed"), (2, "protocol")])
def test_a_judge_that_is_killed_says_nothing_of_the_completion(
    times: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a system short of memory: judged once more, and the problem behind it as well."""
    slow = "import time\ndef f(x):\n    time.sleep(1)\n    return x + 1\n"
    tests = "def check(c):\n    assert c(1) == 2\n"
    problems = [Problem("", code, tests, "f", context="") for code in (slow, ADD)]
    killed = []
    receive = pool.JudgeProcess._receive

    def killing(judge: pool.JudgeProcess, deadline: float) -> dict[str, Any] | None:
        if asked.is_set() and judge.process and len(killed) < times:
            killed.append(judge.process.pid)
            judge.process.kill()
        return receive(judge, deadline)

    asked = threading.Event()
    send = pool.JudgeProcess._send

    def sending(judge: pool.JudgeProcess, message: bytes) -> None:
        # Not while a judge starts, which is told its settings first.
        asked.set() if message != judge.settings else asked.clear()
        send(judge, message)

    monkeypatch.setattr(pool.JudgeProcess, "_receive", killing)
    monkeypatch.setattr(pool.JudgeProcess, "_send", sending)
    with Sandbox(1, 0) as one:
        killed.clear()
        found = one.judge_all(problems)
    assert len(set(killed)) == times
    assert [verdict.reason for verdict in found] == [reason, "passed"]


def test_a_long_message_waits_for_a_judge_that_hangs(verdict: Run, sandbox: Sandbox) -> None:
    """Two judges, four problems: behind each that never ends, one that does not fit the pipe."""
    hang = "def check(c):\n    x = c()\n    while x:\n        pass\n"
    fine = f"def check(c):\n    assert c() == 1  # {'x' * 200_000}\n"
    code = "def f():\n    return 1\n"
    problems = [
        Problem("", f"{code}# {i}\n", tests, "f", context="")
        for tests in (hang, fine)
        for i in range(2)
    ]
    found = [one.reason for one in sandbox.judge_all(problems)]
    assert found == ["timeout", "timeout", "passed", "passed"]
