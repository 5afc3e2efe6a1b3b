"""Times between two measured runs, against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_ledger.scheduling.costs import RUNS, Measured, processor_seconds
from lora_ledger.scheduling.planning import plan
from lora_ledger.study.file import load

# 200 s of starts, and 80,000 GFLOP of products.
SLOW = Measured("a", 4, 1000, "fp32", gflops=50, seconds=1800)
FAST = Measured("a", 4, 1000, "bf16", gflops=200, seconds=600)


@pytest.mark.parametrize(("gflops", "seconds"), [(50, 1800), (200, 600), (100, 1000), (25, 3400)])
def test_what_is_no_product_stays(gflops: float, seconds: float) -> None:
    assert processor_seconds("a", 4, 1000, gflops, (SLOW, FAST)) == pytest.approx(seconds)


@pytest.mark.parametrize("asked", [("b", 4, 1000), ("a", 5, 1000), ("a", 4, 999)])
def test_another_study_was_not_measured(asked: tuple[str, int, int]) -> None:
    assert processor_seconds(*asked, 100, (SLOW, FAST)) is None


def test_one_run_says_nothing_of_another_speed() -> None:
    assert processor_seconds("a", 4, 1000, 100, (SLOW,)) is None
    assert processor_seconds("a", 4, 1000, 100, (SLOW, SLOW)) is None


@pytest.mark.parametrize("name", sorted({run.study for run in RUNS}))
def test_what_was_measured_is_the_study_as_it_is(name: str, tmp_path: Path) -> None:
    found = plan(load(name), tmp_path)
    assert processor_seconds(name, found.cells, found.tokens, 100.0) is not None
