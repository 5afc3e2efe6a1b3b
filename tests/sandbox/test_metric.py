"""The sandbox behind a metric of `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import evaluate
import pytest

from lora_ledger import metrics
from lora_ledger.sandbox.client import Sandbox

REFERENCE = {
    "prompt": "def twice(x):\n    '''2 x'''\n",
    "tests": "def check(candidate):\n    assert candidate(2) == 4 and candidate(3) == 6\n",
    "entry_point": "twice",
    "style": "humaneval",
    "context": "def twice(x):\n    '''2 x'''\n",
}
LYING = "    return type('A', (), {'__eq__': lambda a, b: True})()\n"


@pytest.fixture(scope="module")
def metric() -> Any:
    found = evaluate.load(str(Path(metrics.__file__).with_name("judged_code.py")))
    found.keep_in_memory = True
    return found


def test_pass_at_k_and_reasons(metric: Any, sandbox: Sandbox) -> None:
    made = ["    return 2 * x\n", "    return 4\n", LYING, "    return 2 * x\n"]
    found = metric.compute(
        predictions=[made, ["    pass\n"] * 4],
        references=[REFERENCE, REFERENCE],
        k=[1, 2],
        allow_code_execution=True,
    )
    assert found["reasons"] == [["passed", "wrong", "non_literal", "passed"], ["wrong"] * 4]
    # Two of four pass: 2/4, and 1 - (2 choose 2)/(4 choose 2) = 5/6.
    assert found["pass@1"] == [0.5, 0.0]
    assert found["pass@2"] == pytest.approx([5 / 6, 0.0])


def test_it_needs_consent(metric: Any) -> None:
    with pytest.raises(ValueError, match="allow_code_execution: found False"):
        metric.compute(predictions=[["    pass\n"]], references=[REFERENCE])
