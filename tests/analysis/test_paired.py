"""McNemar and signs beside the binomial, crossed components beside explicit sums and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lora_ledger.analysis.paired import components, crossed, linearised, mcnemar, sign_test

RNG = np.random.default_rng(10)


def outcomes(both: int, lost: int, gained: int, neither: int) -> tuple[list[int], list[int]]:
    first = [1] * both + [1] * lost + [0] * gained + [0] * neither
    second = [1] * both + [0] * lost + [1] * gained + [0] * neither
    return first, second


def test_mcnemar_of_a_published_table() -> None:
    """Bentur et al. (2009), as in Fagerland et al. (2013): 1, 1, 7 and 12 of 21 children.

    They give the exact p as .0703 and the mid-p as .0391.
    """
    found = mcnemar(*outcomes(1, 1, 7, 12))
    assert (found.gained, found.lost, found.items) == (7, 1, 21)
    assert found.p == pytest.approx(0.0703, abs=5e-5)
    assert found.mid_p == pytest.approx(0.0391, abs=5e-5)
    assert found.difference == pytest.approx(6 / 21)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (3, 3), (9, 2), (2, 9), (700, 610)])
def test_mcnemar_is_the_exact_binomial(gained: int, lost: int) -> None:
    found = mcnemar(*outcomes(5, lost, gained, 5))
    expected = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert found.p == pytest.approx(expected)
    here = stats.binom.pmf(min(gained, lost), gained + lost, 0.5)
    least = stats.binom.cdf(min(gained, lost), gained + lost, 0.5)
    assert found.mid_p == pytest.approx(min(1.0, 2 * least - here))


def test_mcnemar_refuses_what_it_cannot_count() -> None:
    with pytest.raises(ValueError, match="found 2 and 3 items"):
        mcnemar([0, 1], [1, 0, 1])
    with pytest.raises(ValueError, match="other than 0 and 1"):
        mcnemar([0, 0.5], [1, 1])


def test_signs() -> None:
    found = sign_test([1, 2, 0.5, 3, 1, -1, 0, math.nan])
    assert (found.above, found.below) == (5, 1)
    assert found.p == pytest.approx(2 * 7 / 64)
    assert sign_test([1] * 5).p == 0.0625
    assert sign_test([-1] * 6).p == 0.03125
    assert sign_test([0, 0]).p == 1.0


def test_components_by_sums_over_all_cells() -> None:
    values = RNG.normal(size=(3, 7))
    found = components(values)
    mean = values.mean()
    between = sum(7 * (values[s].mean() - mean) ** 2 for s in range(3)) / 2
    among = sum(3 * (values[:, i].mean() - mean) ** 2 for i in range(7)) / 6
    total = ((values - mean) ** 2).sum()
    assert found.of_seeds == pytest.approx(between)
    assert found.of_items == pytest.approx(among)
    assert found.rest == pytest.approx((total - 2 * between - 6 * among) / 12)


def test_components_find_what_was_put_in() -> None:
    """σ² of .09, .25 and 1, over 300 tables of 6 seeds and 100 items."""
    found = []
    for _ in range(300):
        rest = RNG.normal(0, 1, (6, 100))
        found.append(
            components(RNG.normal(0, 0.3, (6, 1)) + RNG.normal(0, 0.5, 100) + rest).variances()
        )
    assert np.mean(found, axis=0) == pytest.approx([0.09, 0.25, 1.0], rel=0.12)


def test_crossed_between_its_two_limits() -> None:
    """Seeds alone vary: the t over seeds' means. Items alone: nearly the t over items."""
    by_seed = np.repeat(RNG.normal(1, 1, (4, 1)), 30, axis=1)
    found = crossed(by_seed)
    reference = stats.ttest_1samp(by_seed[:, 0], 0)
    assert (found.p, found.df) == pytest.approx((reference.pvalue, 3))
    by_item = np.repeat(RNG.normal(0.5, 1, (1, 30)), 4, axis=0) + RNG.normal(0, 1e-6, (4, 30))
    found = crossed(by_item)
    reference = stats.ttest_1samp(by_item[0], 0)
    assert found.se == pytest.approx(by_item[0].std(ddof=1) / math.sqrt(30), rel=1e-4)
    assert (found.p, found.df) == pytest.approx((reference.pvalue, 29), rel=1e-3)


@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_crossed_by_its_formula(confidence: float) -> None:
    """Bounds from the two scipy quantiles, weighted; p is the level where a bound is at zero."""
    values = RNG.normal(size=(3, 12)) + RNG.normal(size=12)
    parts = components(values)
    beyond = max(parts.of_items - parts.rest, 0)
    assert beyond > 0
    total, tail = parts.of_seeds + beyond, (1 + confidence) / 2
    few, many = stats.t.ppf(tail, 2), stats.t.ppf(tail, 11)
    critical = (parts.of_seeds * few + beyond * many) / total
    half = critical * math.sqrt(total / 36)
    found = crossed(values, confidence)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))
    assert 2 < found.df < 11
    at_zero = crossed(values - found.low, confidence)
    assert at_zero.p == pytest.approx(1 - confidence)
    assert (found.unit, found.n) == ("seeds x items", 3)


def test_one_seed_is_the_evaluations_sampling_error() -> None:
    values = RNG.normal(size=(1, 40))
    found = crossed(values)
    reference = stats.ttest_1samp(values[0], 0)
    assert (found.p, found.unit, found.n) == (pytest.approx(reference.pvalue), "items", 40)
    assert crossed(values.T).unit == "seeds"
    with pytest.raises(ValueError, match="expected finite differences"):
        crossed([[1.0, math.nan]])


def test_no_spread_is_no_test() -> None:
    assert math.isnan(crossed(np.full((3, 9), 0.1)).p)


def test_a_ratio_to_first_order() -> None:
    """Bits per byte of documents: the interval has the width of scipy's bootstrap of the ratio."""
    size = RNG.integers(100, 2000, 300).astype(float)
    bits = size * RNG.normal(0.8, 0.2, 300)
    values = linearised(bits, size)
    assert values.mean() == pytest.approx(bits.sum() / size.sum())
    reference = stats.bootstrap(
        (bits, size),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        n_resamples=4000,
        rng=np.random.default_rng(1),
    ).standard_error
    assert values.std(ddof=1) / math.sqrt(300) == pytest.approx(reference, rel=0.05)
    both = linearised(np.stack([bits, 2 * bits]), size)
    assert both.mean(axis=1) == pytest.approx(values.mean() * np.array([1, 2]))
