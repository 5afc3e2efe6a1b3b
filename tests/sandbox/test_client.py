"""Problems that are equal or slow, and what a sandbox leaves behind: nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lora_ledger.sandbox.client import Problem, Sandbox

ADD = "def f(x):\n    return x + 1\n"


def test_equal_problems_are_judged_once(sandbox: Sandbox) -> None:
    """The wall clock's time of the verdict is the same object's, so equal only if judged once."""
    tests = "def check(candidate):\n    assert candidate(1) == 2\n"
    good = Problem("", ADD, tests, "f", context="")
    bad = Problem("", ADD.replace("+ 1", "+ 2"), tests, "f", context="")
    found = sandbox.judge_all([good, bad, good, good])
    assert [v.passed for v in found] == [True, False, True, True]
    assert found[0] is found[2] is found[3]


def test_a_slow_solution_may_have_a_limit_of_its_own(sandbox: Sandbox) -> None:
    code = (
        "import time\ndef f():\n    end = time.process_time() + 1.5\n"
        "    while time.process_time() < end:\n        pass\n    return 1\n"
    )
    tests = "def check(candidate):\n    assert candidate() == 1\n"
    usual, patient = (Problem("", code, tests, "f", context="", cpu_seconds=s) for s in (0, 4))
    assert [v.reason for v in sandbox.judge_all([usual, patient])] == ["timeout", "passed"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_program_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path, jobs: int) -> None:
    """SIGTERM, as a scheduler sends it, while every judge has a slow problem."""
    body = "    import time\n    while time.process_time() < 2.5: pass\n    return x\n"
    rows = [
        {
            "prompt": f"def f(x):\n    '{i}'\n",
            "canonical_solution": body,
            "test": "def check(c):\n    assert c(1) == 1\n",
            "entry_point": "f",
        }
        for i in range(8)
    ]
    problems = tmp_path / "problems.jsonl"
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    command = [sys.executable, "-m", "lora_ledger.cli.sandbox", "selftest", "--level", "0"]
    command += ["--jobs", str(jobs), "--problems", str(problems)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 600
        while not list(tmp_path.glob("ledger-*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert list(tmp_path.glob("ledger-*"))
        time.sleep(3)
        others = psutil.Process(process.pid).children(recursive=True)
        assert len(others) >= jobs
        process.terminate()
        assert process.wait(timeout=600) == 143
    assert not list(tmp_path.glob("ledger-*"))
    _, alive = psutil.wait_procs(others, timeout=600)
    assert not alive


def test_nothing_is_left_behind() -> None:
    """No process and no folder once the block ends, and none while it lasts but its own."""
    before = set(Path("/tmp").glob("ledger-*"))
    with Sandbox(1, 0) as one:
        process = one._judges[0].process
        assert process
        forks = "import os\ndef f():\n    os.fork()\n"
        one.judge_all([Problem("", forks, "def check(c):\n    c()\n", "f", context="")])
        assert set(Path("/tmp").glob("ledger-*")) - before
        pid = process.pid
    assert set(Path("/tmp").glob("ledger-*")) == before
    with pytest.raises(ProcessLookupError):
        os.killpg(pid, 0)
