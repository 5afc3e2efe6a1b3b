"""Slopes beside scipy's regression, Page's L beside his table, scipy and all orders written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from lora_ledger.analysis.blocked import contrast, fit
from lora_ledger.analysis.trend import linear_weights, page, slope, slopes

RNG = np.random.default_rng(11)
LEVELS = np.log([1.0, 4.0, 16.0, 64.0])

CRITICAL = {
    # (levels, blocks): L at 5 %, 1 % and .1 %; Page (1963), table 2.
    (3, 3): (41, 42, None),
    (3, 4): (54, 55, 56),
    (3, 5): (66, 68, 70),
    (3, 6): (79, 81, 83),
    (4, 3): (84, 87, 89),
    (4, 4): (111, 114, 117),
    (4, 6): (163, 167, 172),
    (5, 3): (150, 155, 160),
    (5, 4): (197, 204, 210),
    (6, 3): (244, 252, 260),
}


def with_statistic(levels: int, blocks: int, wanted: int) -> np.ndarray:
    """Blocks of ranks whose L is the one wanted: one adjacent swap takes 1 off L."""
    rows = [list(range(1, levels + 1)) for _ in range(blocks)]
    off = blocks * sum(i * i for i in range(1, levels + 1)) - wanted
    orders = {
        sum((i + 1) * (i + 1 - r) for i, r in enumerate(order)): order
        for order in itertools.permutations(range(1, levels + 1))
    }
    for row in range(blocks):
        take = max(lost for lost in orders if lost <= off)
        rows[row], off = list(orders[take]), off - take
    assert off == 0
    return np.array(rows, dtype=float)


@pytest.mark.parametrize(("levels", "blocks"), sorted(CRITICAL))
def test_pages_table(levels: int, blocks: int) -> None:
    """The critical value has at most the level's chance, the one below it more."""
    for value, level in zip(CRITICAL[levels, blocks], (0.05, 0.01, 0.001), strict=True):
        if value is not None:
            found = page(with_statistic(levels, blocks, value))
            assert (found.statistic, found.exact) == (value, True)
            assert found.p <= level
            assert page(with_statistic(levels, blocks, value - 1)).p > level


def test_page_equals_scipy_without_ties() -> None:
    for shape in ((3, 3), (5, 4), (6, 6)):
        values = RNG.normal(size=shape) + 0.3 * np.arange(shape[1])
        reference = stats.page_trend_test(values, method="exact")
        found = page(values)
        assert (found.statistic, found.p) == pytest.approx((reference.statistic, reference.pvalue))
        down = page(-values, increasing=False)
        assert (down.statistic, down.p) == pytest.approx((found.statistic, found.p))
    values = RNG.normal(size=(50, 9)) + 0.02 * np.arange(9)
    reference = stats.page_trend_test(values, method="asymptotic")
    found = page(values)
    assert not found.exact
    assert found.p == pytest.approx(reference.pvalue, rel=1e-6)


def test_ties_by_all_orders() -> None:
    """Three blocks of three levels, two of them with ties: 6³ orders counted."""
    values = np.array([[1.0, 1.0, 2.0], [3.0, 5.0, 5.0], [1.0, 2.0, 3.0]])
    ranks = [stats.rankdata(row) for row in values]
    sums = [
        sum(float(np.dot([1, 2, 3], order)) for order in orders)
        for orders in itertools.product(*(list(itertools.permutations(r)) for r in ranks))
    ]
    found = page(values)
    assert found.statistic == pytest.approx(sum(np.dot([1, 2, 3], r) for r in ranks))
    assert found.p == pytest.approx(np.mean([s >= found.statistic - 1e-9 for s in sums]))


def test_all_equal_is_no_trend() -> None:
    assert page(np.ones((4, 3))).p == 1.0
    assert page(np.ones((50, 3))).p == 0.5
    with pytest.raises(ValueError, match="expected finite values"):
        page([[1.0, math.nan]])


def test_the_exact_and_the_normal_p_agree_for_many_blocks() -> None:
    values = RNG.normal(size=(40, 5)) + 0.1 * np.arange(5)
    exact = page(values)
    reference = stats.page_trend_test(values, method="asymptotic").pvalue
    assert exact.exact
    assert exact.p == pytest.approx(reference, rel=0.1)


def test_slopes_are_scipys_regressions() -> None:
    values = RNG.normal(size=(5, 4)) + LEVELS
    expected = [stats.linregress(LEVELS, row).slope for row in values]
    assert slopes(values, LEVELS) == pytest.approx(expected)
    found = slope(values, LEVELS)
    assert found.p == pytest.approx(stats.ttest_1samp(expected, 0).pvalue)


def test_levels_that_are_not_there() -> None:
    values = np.array([[1.0, math.nan, 5.0], [2.0, math.nan, math.nan], [0.0, 1.0, 2.0]])
    found = slopes(values, [0.0, 1.0, 2.0])
    assert found[[0, 2]] == pytest.approx([2.0, 1.0])
    assert math.isnan(found[1])
    assert slope(values, [0.0, 1.0, 2.0]).n == 2
    assert math.isnan(slopes(np.full((1, 3), math.nan), [0.0, 1.0, 2.0])[0])
    with pytest.raises(ValueError, match=r"expected \[blocks, levels\]"):
        slopes(values, [0.0, 1.0])


def test_a_slope_is_a_contrast_of_the_blocked_model() -> None:
    """Regression of all values on x with a mean for each block, written out with lstsq."""
    values = RNG.normal(size=(3, 4)) + RNG.normal(0, 9, (3, 1)) + 0.5 * LEVELS
    found = contrast(fit(values), linear_weights(LEVELS))
    design = np.hstack([np.tile(LEVELS, 3)[:, None], np.repeat(np.eye(3), 4, axis=0)])
    beta = np.linalg.lstsq(design, values.ravel(), rcond=None)[0]
    assert found.estimate == pytest.approx(beta[0])
    with pytest.raises(ValueError, match="expected two that differ"):
        linear_weights([2.0, 2.0])
