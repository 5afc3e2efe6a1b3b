"""TOST beside scipy's t tests, Fieller beside its definition, and the four words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lora_ledger.analysis import blocked
from lora_ledger.analysis.equivalence import (
    beyond,
    fieller,
    outcome,
    tost,
    tost_ratio,
)
from lora_ledger.analysis.student import estimated, over_blocks

RNG = np.random.default_rng(8)
VALUES = RNG.normal(0.1, 0.5, 9)


def test_tost_is_two_t_tests() -> None:
    found = tost(over_blocks(VALUES), 0.6)
    above = stats.ttest_1samp(VALUES, -0.6, alternative="greater").pvalue
    below = stats.ttest_1samp(VALUES, 0.6, alternative="less").pvalue
    assert (found.p_above, found.p_below) == pytest.approx((above, below))
    assert found.p == pytest.approx(max(above, below))
    low, high = stats.ttest_1samp(VALUES, 0).confidence_interval(0.90)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_the_interval_and_the_tests_say_the_same() -> None:
    for centre in np.linspace(-1, 1, 41):
        found = tost(estimated(centre, 0.2, 8, 5, "blocks"), 0.5, level=0.025)
        assert found.equivalent == (found.low >= -0.5 and found.high <= 0.5)


def test_uneven_margins() -> None:
    found = tost(over_blocks(VALUES), 0.6, lower=-0.2)
    assert found.p_above == pytest.approx(
        stats.ttest_1samp(VALUES, -0.2, alternative="greater").pvalue
    )
    with pytest.raises(ValueError, match=r"found -0\.2 and -0\.3"):
        tost(over_blocks(VALUES), -0.3, lower=-0.2)


def test_within_the_blocked_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pooled residual of six arms: 4 x 5 = 20 degrees of freedom, not 4."""
    monkeypatch.setattr(blocked, "ALIKE", 0.0)
    values = RNG.normal(0, 0.1, (5, 6)) + RNG.normal(0, 5, (5, 1))
    fitted = blocked.fit(values)
    found = tost(blocked.contrast(fitted, [1, -1, 0, 0, 0, 0]), 0.2)
    left = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    se = math.sqrt((left**2).sum() / 20 * 2 / 5)
    difference = values[:, 0].mean() - values[:, 1].mean()
    assert found.p_above == pytest.approx(stats.t.sf((difference + 0.2) / se, 20))
    assert found.p_below == pytest.approx(stats.t.cdf((difference - 0.2) / se, 20))


def test_ratio_of_two_means() -> None:
    before = RNG.normal(2, 0.2, 7)
    after = before * 0.98 + RNG.normal(0, 0.05, 7)
    found = tost_ratio(after, before, 0.05)
    assert found.p_above == pytest.approx(
        stats.ttest_1samp(after - 0.95 * before, 0, alternative="greater").pvalue
    )
    assert found.p_below == pytest.approx(
        stats.ttest_1samp(after - 1.05 * before, 0, alternative="less").pvalue
    )
    assert found.equivalent == (found.low >= 0.95 and found.high <= 1.05)
    with pytest.raises(ValueError, match="expected a positive one"):
        tost_ratio(after, -before, 0.05)
    with pytest.raises(ValueError, match="found 7 and 6"):
        tost_ratio(after, before[:6], 0.05)


def test_fiellers_bounds_are_where_the_t_test_turns() -> None:
    bottom = RNG.normal(3, 0.5, 6)
    top = 0.5 * bottom + RNG.normal(0, 0.3, 6)
    low, high = fieller(top, bottom, 0.05)
    for bound in (low, high):
        assert stats.ttest_1samp(top - bound * bottom, 0).pvalue == pytest.approx(0.05)
    assert low < top.mean() / bottom.mean() < high
    assert fieller(top, bottom - bottom.mean(), 0.05) == (-math.inf, math.inf)
    assert fieller([1.0], [2.0], 0.05) == (-math.inf, math.inf)


def test_beyond_a_margin() -> None:
    found = over_blocks(VALUES + 1)
    assert beyond(found, 0.5) == pytest.approx(
        stats.ttest_1samp(VALUES + 1, 0.5, alternative="greater").pvalue
    )
    assert beyond(found, -0.5) == pytest.approx(
        stats.ttest_1samp(VALUES + 1, -0.5, alternative="less").pvalue
    )


@pytest.mark.parametrize(
    ("estimate", "se", "margin", "expected"),
    [
        (1.0, 0.1, 0.5, "higher"),
        (-1.0, 0.1, 0.5, "lower"),
        (0.02, 0.1, 0.5, "equivalent"),
        (0.3, 0.4, 0.5, "undecided"),
        (0.2, 0.02, 0.5, "equivalent"),
        (0.2, 0.02, None, "higher"),
        (1.0, 0.0, 0.5, "undecided"),
    ],
)
def test_one_word(estimate: float, se: float, margin: float | None, expected: str) -> None:
    assert outcome(estimated(estimate, se, 10, 5, "blocks"), margin) == expected
