"""What generated code may use of Python."""

from __future__ import annotations

from collections.abc import Callable

from lora_ledger.sandbox.client import Verdict

Run = Callable[..., Verdict]


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
