"""MBPP: asserts run by the judge, calls made by the worker."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lora_ledger.sandbox import mbpp, proof
from lora_ledger.sandbox.client import Problem, Sandbox

NODE = "class Node:\n    def __init__(self, v):\n        self.v, self.left = v, None\n"
DEPTH = NODE + "def depth(n):\n    return 0 if n is None else 1 + depth(n.left)\n"


@pytest.mark.parametrize(
    ("code", "tests", "setup", "reason"),
    [
        ("def f(x):\n    return x + 1\n", "assert f(1) == 2\nassert f(2) == 3", "", "passed"),
        ("def f(x):\n    return x + 1\n", "assert f(1) == 2\nassert f(2) == 4", "", "wrong"),
        ("def sum(a, b):\n    return a * b\n", "assert sum(10, 15) == 150", "", "passed"),
        (
            "def f(x):\n    return x / 3\n",
            "assert math.isclose(f(1), 0.3333, rel_tol=0.001)",
            "",
            "passed",
        ),
        ("def f(x):\n    return 2.9\n", "assert int(f(1)) == 2", "", "passed"),
        ("def f(x):\n    return [2, 1]\n", "assert set(f(1)) == {1, 2}", "", "passed"),
        (
            "def f(x, kind):\n    return [i for i in x if type(i) is kind]\n",
            "assert f([1, 'a'], int) == [1]",
            "",
            "passed",
        ),
        (DEPTH, "assert depth(root) == 2", "root = Node(1)\r\nroot.left = Node(2)", "passed"),
        (DEPTH, "assert depth(root) == 3", "root = Node(1)\r\nroot.left = Node(2)", "wrong"),
        (DEPTH, "assert depth(Node(1)) == 1", "", "passed"),
        ("def depth(n):\n    return 2\n", "assert depth(root) == 2", "root = Node(1)", "exception"),
        (
            "def e(x):\n    return x[::-1]\ndef d(x):\n    return x[::-1]\n",
            "assert d(e('ab')) == 'ab'",
            "",
            "passed",
        ),
        ("", "assert f(1) == 2", "", "exception"),
        (
            "class A:\n    def __eq__(self, o):\n        return True\ndef f(x):\n    return A()\n",
            "assert f(1) == 2",
            "",
            "non_literal",
        ),
    ],
)  # fmt: skip
def test_reasons(sandbox: Sandbox, code: str, tests: str, setup: str, reason: str) -> None:
    found = sandbox.judge_all([Problem("", code, tests, "", "mbpp", setup)])[0]
    assert found.reason == reason, found


def test_the_expected_value_never_reaches_the_worker(sandbox: Sandbox) -> None:
    """Even where a call is made in the worker, what is sent is the call alone.

    The number is long, as addresses and random numbers hold every short one now and then.
    """
    code = NODE + (
        "import sys\ndef depth(n):\n    frame = sys._getframe()\n    seen = []\n"
        "    while frame:\n        seen += [repr(v) for v in list(frame.f_locals.values())]\n"
        "        frame = frame.f_back\n    return any('8306119425738' in s for s in seen)\n"
    )
    tests = "assert depth(root) != 8306119425738 and depth(root) is False"
    assert sandbox.judge_all([Problem("", code, tests, "", "mbpp", "root = Node(1)")])[0].passed


def test_what_a_plan_holds() -> None:
    found = mbpp.plan("assert max_chain([Pair(5, 24)], 1) == 3\nassert int(max_chain([], 0)) == 0")
    assert found.functions == ("max_chain",)
    assert mbpp.plan("assert sum(1, 2) == 3").functions == ("sum",)
    assert mbpp.plan("assert size((1,)) == sys.getsizeof((1,))").functions == ("size",)
    with pytest.raises(ValueError, match="plain asserts"):
        mbpp.plan("import os\nos.remove('x')")
    with pytest.raises(ValueError, match="calls nothing"):
        mbpp.plan("assert 1 == 1")


@pytest.mark.slow
def test_all_published_solutions_pass_and_no_stub_or_cheat_does(sandbox: Sandbox) -> None:
    if not (mirror := os.environ.get("LEDGER_MIRROR")):
        pytest.skip("LEDGER_MIRROR is not set")
    rows = [json.loads(line) for line in (Path(mirror) / "mbpp.jsonl").read_text().splitlines()]
    problems = [
        Problem("", r["code"], "\n".join(r["test_list"]), "", "mbpp", r["test_setup_code"])
        for r in rows
    ]
    found = proof.prove(problems, jobs=2)
    assert (found.solutions.passed, found.solutions.total) == (974, 974), found.solutions.odd
    assert (found.stubs.passed, found.cheats.passed) == (0, 0), (found.stubs.odd, found.cheats.odd)
