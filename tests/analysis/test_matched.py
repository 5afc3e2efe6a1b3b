"""Interpolation by hand and by numpy, and when two ways of matching agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lora_ledger.analysis.matched import (
    agreed,
    at_loss,
    common_target,
    difference,
    differences,
    matched,
)
from lora_ledger.analysis.student import Estimate, estimated

TOKENS = ([3.0, 2.5, 2.0, 1.8], [0.0, 0.1, 0.4, 0.9])
"""Losses by tokens, and forgetting."""


def test_between_two_points_by_hand() -> None:
    """2.2 lies three fifths of the way from 2.5 to 2: .1 + .6 x .3."""
    assert at_loss(TOKENS, 2.2) == pytest.approx(0.28)
    assert at_loss(TOKENS, 2.5) == pytest.approx(0.1)
    assert at_loss(TOKENS, 3.0) == 0.0


def test_beside_numpys_interpolation() -> None:
    losses = np.sort(np.random.default_rng(15).uniform(1, 3, 12))[::-1]
    forgetting = np.random.default_rng(16).normal(size=12)
    for target in np.linspace(losses[-1], losses[0], 30):
        expected = np.interp(target, losses[::-1], forgetting[::-1])
        assert at_loss((losses, forgetting), target) == pytest.approx(expected)


def test_nothing_is_extrapolated() -> None:
    assert math.isnan(at_loss(TOKENS, 1.7))
    assert math.isnan(at_loss(TOKENS, 3.1))
    assert math.isnan(at_loss(([], []), 2.0))
    with pytest.raises(ValueError, match="found 2 and 1 values"):
        at_loss(([1, 2], [1]), 1.5)


def test_the_first_time_down_counts() -> None:
    """Along rates the loss rises again; the smaller rate is taken. A lost run is skipped."""
    rates = ([3.0, 2.0, math.inf, 1.5, 2.0, 4.0], [0.0, 0.2, 9.0, 0.3, 1.0, 5.0])
    assert at_loss(rates, 2.0) == pytest.approx(0.2)
    assert at_loss(rates, 1.75) == pytest.approx(0.25)


def test_the_loss_that_both_reach() -> None:
    other = ([2.8, 2.2], [0.0, 0.2])
    assert common_target(TOKENS, other) == 2.2
    assert difference(TOKENS, other) == pytest.approx(0.28 - 0.2)
    assert difference(TOKENS, other, 2.5) == pytest.approx(0.1 - 0.1)
    assert math.isnan(common_target(TOKENS, ([1.5, 1.0], [0, 1])))
    assert math.isnan(difference(TOKENS, ([1.5, 1.0], [0, 1])))
    assert math.isnan(common_target(TOKENS, ([], [])))


def test_over_blocks() -> None:
    first = [([3.0, 2.0], [0.0, 1.0 + b]) for b in (0.0, 0.3, 0.1)]
    second = [([3.0, 1.0], [0.0, 1.0])] * 3
    # At loss 2 the second has forgotten half.
    expected = [0.5, 0.8, 0.6]
    assert differences(first, second) == pytest.approx(expected)
    found = matched([*first, ([1.5, 1.2], [0, 1])], [*second, ([3.0, 2.0], [0, 1])])
    assert found.n == 3
    assert found.p == pytest.approx(stats.ttest_1samp(expected, 0).pvalue)
    given = differences(first, second, [2.5, 2.5, 1.9])
    assert given[:2] == pytest.approx([0.25, 0.4])
    assert math.isnan(given[2])


def made(estimate: float, se: float = 0.1) -> Estimate:
    return estimated(estimate, se, 10, 6, "blocks")


def test_a_word_needs_both_ways() -> None:
    assert agreed(made(1), made(2)).outcome == "higher"
    assert agreed(made(-1), made(-1)).outcome == "lower"
    assert agreed(made(0.01), made(-0.02), margin=0.5).outcome == "equivalent"
    for tokens, rates in ((1, -1), (1, 0.1), (0.1, 1)):
        found = agreed(made(tokens), made(rates))
        assert found.outcome == "undecided"
        assert "along tokens" in found.reason
    assert agreed(made(0.1), made(0.1)).reason == "both are undecided"
    assert agreed(made(1), None).reason == "no block is matched along rates"
    nowhere = estimated(math.nan, math.nan, 0, 0, "blocks")
    assert agreed(nowhere, None).reason == "no block is matched along tokens or rates"
