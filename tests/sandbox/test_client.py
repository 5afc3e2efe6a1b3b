"""Verdicts and their reasons: each a real judge and a real worker."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from lora_ledger.sandbox import pool
from lora_ledger.sandbox.client import Problem, Sandbox, Verdict
from lora_ledger.sandbox.confine import Limits

Run = Callable[..., Verdict]
ADD = "def f(x):\n    return x + 1\n"
IMPORTS = "import collections, decimal, fractions, math\n"


@pytest.mark.parametrize(
    ("code", "body", "reason"),
    [
        (ADD, "assert candidate(1) == 2", "passed"),
        (ADD, "assert candidate(1) == 3", "wrong"),
        (ADD, "assert candidate(x=1) == 2", "passed"),
        (ADD, "assert f(1) == 2 and candidate(1) == 2", "passed"),
        (ADD, "candidate('a')", "exception"),
        (ADD, "pass", "protocol"),
        ("def g(x):\n    return x\n", "candidate(1)", "exception"),
        ("def f(x:\n", "candidate(1)", "exception"),
        ("f = 3", "candidate(1)", "exception"),
        ("assert False", "candidate(1)", "exception"),
        ("def f(x):\n    return None\n", "assert abs(candidate(1) - 1) < 1", "wrong"),
        ("def f(x):\n    return object()\n", "candidate(1)", "non_literal"),
        ("def f(x):\n    return f\n", "candidate(1)", "non_literal"),
        ("import sys\ndef f(x):\n    sys.exit(0)\n", "candidate(1)", "exception"),
        ("import os\ndef f(x):\n    os._exit(0)\n", "candidate(1)", "exception"),
        ("def f(x):\n    raise AssertionError('mine')\n", "candidate(1)", "exception"),
        ("def f(x):\n    return input()\n", "candidate(1)", "exception"),
        ("def f(x):\n    while True:\n        pass\n", "candidate(1)", "timeout"),
        ("while True:\n    pass\n", "candidate(1)", "timeout"),
        ("import time\ndef f(x):\n    time.sleep(60)\n", "candidate(1)", "timeout"),
        ("def f(x):\n    y = [0]\n    while True:\n        y += y\n", "candidate(1)", "memory"),
        ("def f(x):\n    return open('a', 'w')\n", "candidate(1)", "refused"),
        ("def f(x):\n    return open('/etc/passwd').read()\n", "candidate(1)", "refused"),
        ("import socket\ndef f(x):\n    socket.socket()\n", "candidate(1)", "refused"),
        ("import os\ndef f(x):\n    os.fork()\n", "candidate(1)", "refused"),
        ("if __name__ == '__main__':\n    raise ValueError\n" + ADD, "candidate(1)", "passed"),
        ("def check(c):\n    pass\n" + ADD, "assert candidate(1) == 9", "wrong"),
        ("print('x' * 10**6)\n" + ADD, "assert candidate(1) == 2", "passed"),
        (
            ADD,
            "try:\n    candidate('a')\nexcept TypeError:\n    pass\nelse:\n    assert 0",
            "passed",
        ),
        (
            "def f(x):\n    raise StopIteration\n",
            "assert all(map(lambda x: candidate(x) == x, [1, 2]))",
            "exception",
        ),
        ("def f(x):\n    return range(10**12)\n", "assert sum(candidate(1)) == 1", "non_literal"),
        (ADD, "try:\n    candidate('a')\nexcept ValueError:\n    pass", "exception"),
        (
            "class Mine(KeyError):\n    pass\ndef f(x):\n    raise Mine(x)\n",
            "try:\n    candidate('a')\nexcept KeyError:\n    pass",
            "passed",
        ),
        (
            "def f(x):\n    return object()\n",
            "try:\n    candidate('a')\nexcept BaseException:\n    pass",
            "non_literal",
        ),
    ],
)  # fmt: skip
def test_reasons(verdict: Run, code: str, body: str, reason: str) -> None:
    found = verdict(code, body)
    assert found.reason == reason, found


@pytest.mark.parametrize(
    ("value", "condition"),
    [
        ("1", "{} == True and {} == 1.0 and {} is not True"),
        ("True", "{} == 1 and {} is True"),
        ("[1, 2]", "{} != (1, 2) and {} == [1, 2]"),
        ("(1, 2)", "{} != [1, 2] and {} == (1, 2)"),
        ("collections.Counter('aab')", "{} == {{'a': 2, 'b': 1}}"),
        ("collections.namedtuple('P', 'x y')(1, 2)", "{} == (1, 2)"),
        ("collections.defaultdict(int, a=1)", "{} == {{'a': 1}}"),
        ("dict().keys()", "{} == set()"),
        ("-0.0", "math.copysign(1, {}) == -1"),
        ("float('nan')", "{} != {}"),
        ("float('inf')", "{} == math.inf"),
        ("10**9000", "{} == 10**9000"),
        ("'\\ud800\\u2028\\0\"é😀'", "{} == '\\ud800\\u2028\\0\"é😀'"),
        ("range(3)", "{} == range(3) and {} != [0, 1, 2]"),
        ("(i for i in range(3))", "list({}) == [0, 1, 2]"),
        ("(i for i in range(3))", "{} != [0, 1, 2]"),
        ("map(str, [1])", "list({}) == ['1']"),
        ("fractions.Fraction(1, 2)", "{} == 0.5"),
        ("decimal.Decimal('1.50')", "{} == decimal.Decimal('1.5')"),
        ("{1: {(1, 2): {3}}}", "{} == {{1: {{(1, 2): {{3}}}}}}"),
        ("[[[[[[]]]]]]", "{} == [[[[[[]]]]]]"),
        ("None", "{} is None"),
        ("b'\\0\\xff'", "{} == b'\\0\\xff'"),
    ],
)
def test_values_compare_as_python_has_them(verdict: Run, value: str, condition: str) -> None:
    code = f"{IMPORTS}def f(x):\n    return {value}\n"
    asked = condition.replace("{{", "{").replace("}}", "}").replace("{}", "candidate(0)")
    body = f"{IMPORTS}assert {asked}"
    assert verdict(code, body).reason == "passed"


def test_arguments_arrive_as_given_and_changes_to_them_stay_with_the_worker(verdict: Run) -> None:
    code = "def f(x):\n    x.clear()\n    x.append(9)\n    return x\n"
    body = "given = [1, 2]\nassert candidate(given) == [9]\nassert given == [1, 2]"
    assert verdict(code, body).reason == "passed"
    code = "def f(*a, **k):\n    return a, k\n"
    body = "x = (1, [2.5, {'x': {3}}], None)\nassert candidate(*x, y='z') == (x, {'y': 'z'})"
    assert verdict(code, body).reason == "passed"


def test_functions_that_the_tests_compose(verdict: Run) -> None:
    """The prompt's own encoder, whatever the completion made of it."""
    context = "def encode(s):\n    return s[::-1]\ndef f(s):\n    '''decode'''\n"
    code = "def encode(s):\n    return 'broken'\ndef f(s):\n    return s[::-1]\n"
    body = "assert candidate(encode('abc')) == 'abc'\nassert f(f('ab')) == 'ab'"
    assert verdict(code, body, context=context).reason == "passed"


def test_state_lives_within_a_problem_and_not_beyond(verdict: Run) -> None:
    code = "count = 0\ndef f():\n    global count\n    count += 1\n    return count\n"
    for _ in range(2):
        assert verdict(code, "assert candidate() == 1 and candidate() == 2").reason == "passed"


def test_both_sides_are_seeded_and_hashes_are_fixed(verdict: Run) -> None:
    import random

    expected = random.Random(0).random()
    body = f"import random\nassert random.random() == {expected!r} == candidate()"
    code = "import random\ndef f():\n    return random.random()\n"
    assert [verdict(code, body).reason for _ in range(2)] == ["passed"] * 2
    code = "def f():\n    return list({'a', 'b', 'c', 'd', 'e'})\n"
    # The judge, too, has the fixed seed, so a set of strings has one order everywhere.
    body = "assert candidate() == list({'a', 'b', 'c', 'd', 'e'})"
    assert verdict(code, body).reason == "passed"


def test_threads_work(verdict: Run) -> None:
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def f(n):\n    with ThreadPoolExecutor(4) as pool:\n"
        "        return sum(pool.map(lambda i: i * i, range(n)))\n"
    )
    assert verdict(code, "assert candidate(10) == 285").reason == "passed"


def test_the_whole_standard_library_can_be_imported(verdict: Run) -> None:
    code = (
        "import sys, importlib\ndef f():\n    bad = []\n"
        "    for name in sorted(sys.stdlib_module_names):\n"
        "        if name.startswith(('_', 'idlelib', 'ensurepip', 'turtledemo', 'antigravity',\n"
        "                            'this', 'lib2to3', 'test')):\n"
        "            continue\n"
        "        try:\n            importlib.import_module(name)\n"
        "        except PermissionError as error:\n            bad.append((name, str(error)))\n"
        "        except ImportError:\n            pass\n"
        "    return bad\n"
    )
    found = verdict(code, "bad = candidate()\nassert bad == [], bad")
    assert found.reason == "passed", found


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
    receive = pool.Judge._receive

    def killing(judge: pool.Judge, deadline: float) -> dict[str, Any] | None:
        if asked.is_set() and judge.process and len(killed) < times:
            killed.append(judge.process.pid)
            judge.process.kill()
        return receive(judge, deadline)

    asked = threading.Event()
    send = pool.Judge._send

    def sending(judge: pool.Judge, message: bytes) -> None:
        # Not while a judge starts, which is told its settings first.
        asked.set() if message != judge.settings else asked.clear()
        send(judge, message)

    monkeypatch.setattr(pool.Judge, "_receive", killing)
    monkeypatch.setattr(pool.Judge, "_send", sending)
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


def test_an_error_message_that_cannot_be_written_is_no_crash(verdict: Run) -> None:
    body = "{}[candidate()]"
    assert verdict("def f():\n    return 10**100000\n", body).reason == "wrong"


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
    # The process that forks is the one that it was.
    assert after == before


def test_a_parent_of_workers_that_is_lost_says_nothing_of_a_completion() -> None:
    """As when the system is short of memory and chooses it."""
    tests = "def check(candidate):\n    assert candidate(1) == 2\n"
    problems = [Problem("", f"{ADD}#{n}\n", tests, "f", context="") for n in range(6)]
    with Sandbox(1, 0) as one:
        assert all(verdict.passed for verdict in one.judge_all(problems))
        judge = one._judges[0].process
        assert judge
        parents = psutil.Process(judge.pid).children()
        for process in parents:
            process.kill()
        psutil.wait_procs(parents, timeout=600)
        again = one.judge_all([replace(p, completion=p.completion + "#\n") for p in problems])
    assert [(verdict.reason, verdict.detail) for verdict in again] == [("passed", "")] * 6


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_program_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path, jobs: int) -> None:
    """SIGTERM, as a scheduler sends it, while every judge is at a long trial."""
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
