"""Measured coverage beside what theory says it is, and the table in the documents."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lora_ledger.analysis import coverage
from lora_ledger.analysis.coverage import METHODS, Measured, may_decide, measured


def by_shape(method: str, seeds: int, items: int = 100, sets: int = 2000) -> dict[str, Measured]:
    return {one.shape: one for one in measured(method, seeds, items, sets)}


def near(share: float, sets: int = 2000) -> object:
    """Within four standard errors of the simulation."""
    return pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / sets))


@pytest.mark.slow
def test_student_covers_what_it_says() -> None:
    """Of normal data a t interval has 95 % and rejects 5 %, at any number of blocks."""
    for seeds in (3, 6):
        found = by_shape("paired t", seeds)["alike"]
        assert found.coverage == near(0.95)
        assert found.rejected == pytest.approx(1 - found.coverage)


@pytest.mark.slow
def test_the_slope_over_blocks_is_a_t_too() -> None:
    found = by_shape("slope over blocks", 5)
    assert [one.coverage for one in found.values()] == [near(0.95), near(0.95)]


def test_wilson_beside_the_sum_over_all_counts() -> None:
    """Exact coverage: the binomial chances of the counts whose interval holds the truth."""
    from lora_ledger.analysis.statistics import wilson

    for shape, found in by_shape("Wilson", 3, items=50).items():
        truth = float(shape.split()[0])
        held = [wilson(k, 50).low <= truth <= wilson(k, 50).high for k in range(51)]
        expected = float(stats.binom.pmf(np.arange(51), 50, truth) @ held)
        assert found.coverage == near(expected)


def test_mcnemar_is_within_its_level() -> None:
    found = by_shape("McNemar, exact", 1, items=150)["right or wrong"]
    assert math.isnan(found.coverage)
    assert found.rejected < 0.05


def test_a_bootstrap_of_three_blocks_is_too_narrow() -> None:
    """27 resamples: nearly the range of three values, which has the middle in 1 - 2/8 of cases."""
    found = by_shape("area between fronts, bootstrap", 3, sets=500)["plain"]
    assert found.coverage == near(0.75, 500)
    assert not found.holds


@pytest.mark.slow
def test_the_crossed_bootstrap_does_not_decide_at_three_seeds() -> None:
    """Seeds alone vary: near the 75 % of a percentile bootstrap of three, P(|t(2)| < 1.96·√⅔)."""
    rng, draw = np.random.default_rng(19), METHODS["crossed bootstrap"].draw
    covered = [draw(rng, 3, 40, "seeds vary")[0] for _ in range(200)]
    assert np.mean(covered) == pytest.approx(0.80, abs=0.09)
    beside = by_shape("crossed t", 3)
    assert min(one.coverage for one in beside.values()) >= coverage.LEAST_COVERAGE
    assert may_decide("crossed t", 3, 100)


def test_holding() -> None:
    def made(covered: float, rejected: float) -> bool:
        return Measured("m", "s", False, 3, 0, covered, rejected, 2000).holds

    assert made(0.93, 0.0599)
    assert not made(0.929, 0.05)
    assert not made(0.95, 0.06)
    assert made(math.nan, 0.05)
    assert made(0.94, math.nan)


def test_what_breaks_assumptions_is_shown_and_does_not_decide() -> None:
    found = by_shape("optimum, pooled", 3, sets=300)
    assert found["own floors"].broken
    assert not found["own floors"].holds
    assert may_decide("optimum, pooled", 3, 100, 300)


def test_the_same_numbers_give_the_same_figures() -> None:
    first = measured("blocked", 3, 0, 50)
    measured.cache_clear()
    assert measured("blocked", 3, 0, 50) == first
    # Items mean nothing to it.
    assert measured("blocked", 3, 500, 50)[0].items == 0
    with pytest.raises(ValueError, match="found 'blokked', expected one of"):
        measured("blokked", 3, 0)


def test_the_document_has_a_row_for_each() -> None:
    lines = Path("docs/statistics.md").read_text("utf-8").splitlines()
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines if line[:1] == "|"]
    first = [row[0] for row in rows]
    for name, method in METHODS.items():
        assert first.count(name) == 1 + len(method.broken), name


@pytest.mark.slow
def test_two_rows_of_the_document_are_as_measured() -> None:
    """Made anew with the numbers of the table; another processor may round a set or two apart."""
    text = Path("docs/statistics.md").read_text("utf-8")
    for name in ("paired t", "ratio of optima, paired"):
        row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        written = [float(part) for part in row.split("|")[2].split("/")]
        allowed = [one for one in measured(name, 3, 200) if not one.broken]
        worst = min(one.coverage for one in allowed), max(one.rejected for one in allowed)
        assert written == pytest.approx([100 * share for share in worst], abs=0.25)
