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
    found = processor_seconds("a", 4, 1000, gflops, (SLOW, FAST))
    assert found == pytest.approx((seconds, seconds))


@pytest.mark.parametrize("asked", [("b", 4, 1000), ("a", 5, 1000), ("a", 4, 999)])
def test_another_study_was_not_measured(asked: tuple[str, int, int]) -> None:
    assert processor_seconds(*asked, 100, (SLOW, FAST)) is None


@pytest.mark.parametrize(
    ("gflops", "bounds"), [(50, (1800, 1800)), (100, (900, 1800)), (25, (1800, 3600))]
)
def test_one_run_gives_bounds(gflops: float, bounds: tuple[float, float]) -> None:
    """What is no product stays at most, and shrinks with it at least."""
    assert processor_seconds("a", 4, 1000, gflops, (SLOW,)) == pytest.approx(bounds)
    assert processor_seconds("a", 4, 1000, gflops, (SLOW, SLOW)) == pytest.approx(bounds)


@pytest.mark.parametrize("name", sorted({run.study for run in RUNS}))
def test_what_was_measured_is_the_study_as_it_is(name: str, tmp_path: Path) -> None:
    found = plan(load(name), tmp_path)
    assert processor_seconds(name, found.cells, found.tokens, 100.0) is not None
