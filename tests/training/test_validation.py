"""When the validation is measured, and how it stands in a record."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from lora_ledger.study.schema import Budget
from lora_ledger.training.batching import Example, order_of
from lora_ledger.training.curves import Curves
from lora_ledger.training.regimes.cpt import ContinuedPretraining
from lora_ledger.training.validation import Validation

EXAMPLES = [Example([1, 2, 3], 0, 9), Example([1, 2, 3, 4, 5], 0, 4)]


class Says(ContinuedPretraining):
    """A regime, and a model whose nats are what it is told."""

    def __init__(self, values: list[float]) -> None:
        self.values = values
        self.calls = 0

    def nats(self, model: Any, examples: Any, device: str, precision: str) -> list[float]:
        assert (examples, device, precision) == (EXAMPLES, "cpu", "fp32")
        self.calls += 1
        return self.values


def made(regime: Says, times: int = 1, steps: int = 4, start: Path | None = None) -> Validation:
    order = order_of(EXAMPLES, Budget(steps=steps), 1, 2, 2)
    return Validation(regime, EXAMPLES, order, times, "cpu", "fp32", regime.nats, start)


@pytest.mark.parametrize(
    ("total", "times", "expected"),
    [(9, 2, {3, 6}), (1, 2, set()), (2, 2, {1}), (100, 0, set())],
)
def test_when_it_is_measured(total: int, times: int, expected: set[int]) -> None:
    assert made(Says([]), times, total).steps() == expected


def test_what_a_record_holds() -> None:
    regime, curves = Says([2.0, 4.0]), Curves()
    validation = made(regime)
    validation.measure(None, curves, 0)
    regime.values = [1.0, 2.0]
    validation.measure(None, curves, 2)
    validation.measure(None, curves, 4)
    assert validation.results(curves) == {
        "measure": "cross-entropy",
        "unit": "nats",
        "better": "lower",
        "tokens": [2, 4],
        "bytes": [9, 4],
        "start": [2.0, 4.0],
        "end": [1.0, 2.0],
        # 2 steps of both examples are 12 tokens that bear loss.
        "curve": [(0, 0, 1.0), (2, 12, 0.5), (4, 24, 0.5)],
    }
    assert not curves.diverged


def test_an_end_that_is_no_number_is_a_divergence() -> None:
    for step, lost in ((2, False), (4, True)):
        curves = Curves()
        made(Says([math.nan, 1.0])).measure(None, curves, step)
        assert curves.diverged is lost


def test_a_start_that_another_run_measured_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "starts/x.json"
    regime = Says([2.0, 4.0])
    for text, calls in ((None, 1), ("[2.0, 4.0]", 1), ("[2.0]", 2), ("[2.0,", 3)):
        if text is not None:
            file.write_text(text)
        curves = Curves()
        made(regime, start=file).measure(None, curves, 0)
        assert (curves.start, regime.calls) == ([2.0, 4.0], calls)
    assert json.loads(file.read_text()) == [2.0, 4.0]


def test_curves_come_back_from_a_checkpoint(tmp_path: Path) -> None:
    curves = Curves([(1, 5, 2.5)], [(0, 0, 3.0)], [1.0], [2.0], True)
    curves.save(tmp_path / "curves.json")
    again = Curves()
    again.load(tmp_path / "curves.json")
    assert again == curves
