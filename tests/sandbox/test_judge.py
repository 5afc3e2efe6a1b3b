"""Verdicts and their reasons: each a real judge and a real worker."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lora_ledger.sandbox.client import Problem, Sandbox, Verdict

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
        ("def f(x):\n    return object()\n", "assert candidate(1)", "passed"),
        ("def f(x):\n    return object()\n", "assert candidate(1) == 1", "wrong"),
        ("def f(x):\n    return f\n", "candidate(1)(1)", "non_literal"),
        ("import re\ndef f(x):\n    return re.match('a', x)\n", "assert candidate('ab')", "passed"),
        ("import re\ndef f(x):\n    return re.match('a', x)\n", "assert candidate('b')", "wrong"),
        (
            "class A:\n    def __iter__(self):\n        yield from (1, 2)\n"
            "def f(x):\n    return A()\n",
            "assert tuple(candidate(1)) == (1, 2)",
            "passed",
        ),
        (
            "class A:\n    def __bool__(self):\n        return False\ndef f(x):\n    return A()\n",
            "assert candidate(1)",
            "wrong",
        ),
        (
            "class A:\n    def __eq__(self, other):\n        return True\n"
            "def f(x):\n    return A()\n",
            "try:\n    assert candidate(1) == 2\nexcept Exception:\n    pass",
            "non_literal",
        ),
        (
            "import os\ndef f(x):\n    with open(os.devnull, 'w') as out:\n"
            "        print(x, file=out)\n    os.close(os.open(os.devnull, os.O_WRONLY))\n"
            "    import pathlib\n    pathlib.Path(os.devnull).write_text('a')\n"
            "    return open(os.devnull).read()\n",
            "assert candidate(1) == ''",
            "passed",
        ),
        (
            "from multiprocessing.pool import ThreadPool\ndef f(x):\n"
            "    with ThreadPool(2) as pool:\n        return pool.map(abs, x)\n",
            "assert candidate([-1, 2]) == [1, 2]",
            "passed",
        ),
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
            "def f(x):\n    return iter(int, 1)\n",
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
    body = f"assert candidate() == {expected!r}"
    code = "import random\ndef f():\n    return random.random()\n"
    assert [verdict(code, body).reason for _ in range(2)] == ["passed"] * 2
    # The judge has one number for one program and its tests, and each time the same.
    code = "def f():\n    return 1\n"
    body = "import random\nassert 0, (random.random(), candidate())"
    found = [verdict(code + "#" * n, body).detail for n in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    code = "def f():\n    return list({'a', 'b', 'c', 'd', 'e'})\n"
    # The judge, too, has the fixed seed, so a set of strings has one order everywhere.
    body = "assert candidate() == list({'a', 'b', 'c', 'd', 'e'})"
    assert verdict(code, body).reason == "passed"


@pytest.mark.parametrize("seed", ["None", "0", "random.seed(0)", "random.seed('')"])
def test_the_random_inputs_of_tests_cannot_be_foretold(verdict: Run, seed: str) -> None:
    code = f"import random\ndef f(seen):\n    {seed}\n    return random.random() == seen\n"
    body = "import random\nassert candidate(random.random())"
    assert verdict(code, body).reason == "wrong"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def f(x: List[int]) -> Nope:\n    return 1\n", "exception"),
        ("def f(x):\n    def g(y: Nope): pass\n    return 1\n", "exception"),
        ("class A:\n    x: Nope = 1\ndef f(x):\n    return 1\n", "exception"),
        ("y: Nope = 1\ndef f(x):\n    return 1\n", "exception"),
        ("def f(x: int):\n    return f.__annotations__['x'] is int\n", "passed"),
        (
            "from __future__ import annotations\ndef f(x: Nope):\n"
            "    return f.__annotations__ == {'x': 'Nope'}\n",
            "passed",
        ),
        ("def f(x):\n    return eval('lambda y: 1')(x) == 1\n", "passed"),
        ("def f(x):\n    help, copyright, credits, license, quit\n    return 1\n", "passed"),
        ("def f(x):\n    try:\n        exit(3)\n    except SystemExit:\n        return 1\n",
         "passed"),
        ("if 0:\n    exit()\ndef f(x):\n    return callable(exit)\n", "passed"),
        ("def f(x):\n    exit()\n", "exception"),
        ("import urllib\ndef f(x):\n    return bool(urllib.parse.quote('a'))\n", "exception"),
        ("import importlib\ndef f(x):\n    return importlib.machinery\n", "exception"),
        ("import importlib, inspect\ndef f(x):\n    return bool(importlib.machinery)\n", "passed"),
        ("from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 1\n"
         "def f(x):\n    return A() == A(1)\n", "passed"),
        ("import urllib.parse\ndef f(x):\n    return urllib.parse.quote(' ') == '%20'\n",
         "passed"),
        ("import pathlib\ndef f(x):\n    return pathlib.Path('a/b').name == 'b'\n", "passed"),
        ("import __main__\ndef f(x):\n    return not hasattr(__main__, 'm')\n", "passed"),
        ("def f(x):\n    return wire\n", "exception"),
        ("def f(x):\n    return sys.argv\n", "exception"),
    ],
)  # fmt: skip
def test_a_program_finds_what_a_fresh_interpreter_has(verdict: Run, code: str, reason: str) -> None:
    assert verdict(code, "assert candidate(1)").reason == reason


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ("10**12", "'a' * candidate()"),
        ("[range(2**1000, 2**1000 + 399_990)] * 2000", "[tuple(one) for one in candidate()]"),
        ("'%999999999d'", "candidate() % 1"),
        # Where the value itself finds no room, whatever the tests do with errors.
        (
            "[set() for _ in range(190_000)]",
            "held = bytearray(2**29 - 60 * 2**20)\n"
            "try:\n    candidate()\nexcept Exception:\n    pass",
        ),
    ],
)
def test_a_judge_that_runs_out_of_memory_says_so_and_goes_on(
    verdict: Run, value: str, body: str
) -> None:
    assert verdict(f"def f():\n    return {value}\n", body).reason == "memory"
    assert verdict(ADD, "assert candidate(1) == 2").reason == "passed"


def test_the_judge_holds_little_of_what_comes_back() -> None:
    """By its own peak, in a judge of its own; without a value that is 20 MiB."""
    values = {
        "range(0, 30_000 << 2**18, 1 << 2**18)": "non_literal",
        "range(0, 6_000 << 2**20 - 20, 1 << 2**20 - 20)": "non_literal",
        "[10**80_000] * 40": "non_literal",
        "__import__('decimal').Decimal('0.' + '3' * 3_900_000)": "non_literal",
        "[set() for _ in range(190_000)]": "passed",
        "range(2**900, 2**900 + 390_000)": "passed",
    }
    # Not ru_maxrss, in which Linux counts the process that started the judge.
    tests = (
        "def check(candidate):\n    held = tuple(candidate())\n"
        "    peak = open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]\n"
        "    assert int(peak) < 2**18\n"
    )
    with Sandbox(1, 0) as one:
        found = one.judge_all(
            [Problem("", f"def f():\n    return {v}\n", tests, "f", context="") for v in values]
        )
    assert [v.reason for v in found] == list(values.values()), found


@pytest.mark.parametrize(
    "body",
    [
        "assert callable(candidate())",
        "from collections.abc import Iterator\nassert isinstance(candidate(), Iterator)",
        "from collections.abc import Iterable\nassert isinstance(candidate(), Iterable)",
        "from collections.abc import Sized\nassert isinstance(candidate(), Sized)",
    ],
)
def test_an_object_has_no_method_that_its_class_lacks(verdict: Run, body: str) -> None:
    assert verdict("class A:\n    pass\ndef f():\n    return A()\n", body).reason == "wrong"


def test_half_a_pair_of_surrogates_is_the_programs_own_error(verdict: Run) -> None:
    found = verdict("def f():\n    return '\ud800'\n", "assert candidate()")
    assert found.reason == "exception"
    assert "surrogates not allowed" in found.detail


def test_an_error_message_that_cannot_be_written_is_no_crash(verdict: Run) -> None:
    body = "{}[candidate()]"
    assert verdict("def f():\n    return 10**100000\n", body).reason == "wrong"
