"""Optima of parabolas that are known, bounds by the tests that they invert, counts by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from lora_ledger.analysis.rates import (
    Optimum,
    chosen_elsewhere,
    near_best,
    optimum,
    paired_ratio,
    ratio,
    valley,
)
from lora_ledger.analysis.statistics import Resampling

RNG = np.random.default_rng(13)
RATES = 10 ** np.arange(-5, -2 + 0.1, 0.5)
"""Seven rates, half a decade apart."""


def losses(at: float, seeds: int, noise: float = 0.01, moves: float = 0.0) -> np.ndarray:
    """2 + .3·(log10 rate - at)² with noise, and floors of their own for the seeds."""
    floors = at + RNG.normal(0, moves, (seeds, 1)) if moves else at
    curves = 2 + 0.3 * (np.log10(RATES) - floors) ** 2
    return np.asarray(curves + RNG.normal(0, noise, (seeds, len(RATES))))


def test_a_parabola_without_noise() -> None:
    found = optimum(losses(-3.6, 3, noise=0.0) + np.array([[0.0], [1.0], [5.0]]), RATES)
    assert found.rate == pytest.approx(10**-3.6)
    assert (found.low, found.high) == pytest.approx((10**-3.6, 10**-3.6), rel=1e-6)
    assert (found.on_edge, found.points, found.seeds) == (False, 5, 3)


def test_the_floor_is_polyfits() -> None:
    given = losses(-3.4, 4)
    best = int(given.mean(0).argmin())
    near = slice(max(best - 2, 0), best + 3)
    a, b, _ = np.polyfit(np.log10(RATES[near]), given[:, near].mean(0), 2)
    assert optimum(given, RATES).rate == pytest.approx(10 ** (-b / (2 * a)))


def test_bounds_over_seeds_are_where_the_t_test_turns() -> None:
    """At a bound the seeds' slopes, from polyfit, have a p of 5 %."""
    given = losses(-3.4, 4, moves=0.1)
    best = int(given.mean(0).argmin())
    near = slice(max(best - 2, 0), best + 3)
    fits = [np.polyfit(np.log10(RATES[near]), row[near], 2) for row in given]
    found = optimum(given, RATES)
    assert found.low < found.rate < found.high
    for bound in (found.low, found.high):
        slopes = [b + 2 * a * math.log10(bound) for a, b, _ in fits]
        assert stats.ttest_1samp(slopes, 0).pvalue == pytest.approx(0.05)


def test_pooled_bounds_by_regression_written_out() -> None:
    """Seeds' means and a common parabola by lstsq; at a bound the slope is t standard errors."""
    given = losses(-3.4, 3)
    best = int(given.mean(0).argmin())
    x = np.log10(RATES[best - 2 : best + 3])
    points = len(x)
    design = np.hstack(
        [np.tile(np.stack([x**2, x], 1), (3, 1)), np.repeat(np.eye(3), points, axis=0)]
    )
    y = given[:, best - 2 : best + 3].ravel()
    beta, rss, _, _ = np.linalg.lstsq(design, y, rcond=None)
    df = len(y) - 5
    cov = rss[0] / df * np.linalg.inv(design.T @ design)
    found = optimum(given, RATES, "pooled")
    for bound in (found.low, found.high):
        w = np.array([2 * math.log10(bound), 1.0, 0.0, 0.0, 0.0])
        assert abs(w @ beta) / math.sqrt(w @ cov @ w) == pytest.approx(stats.t.ppf(0.975, df))


def test_resampled_bounds_lie_among_all_resamples() -> None:
    """Three seeds have 27 resamples: the quantiles of many draws are quantiles of those."""
    given = losses(-3.4, 3, moves=0.2)
    best = int(given.mean(0).argmin())
    near = slice(max(best - 2, 0), best + 3)
    floors = []
    for pick in itertools.product(range(3), repeat=3):
        a, b, _ = np.polyfit(np.log10(RATES[near]), given[list(pick)][:, near].mean(0), 2)
        floors.append(10 ** (-b / (2 * a)))
    found = optimum(given, RATES, "resampled", Resampling("seeds", 20000, 0.9))
    # A seed alone has 1 of 27 resamples, 3.7 %; 5 % falls on the next one.
    low, high = np.quantile(floors, [0.05, 0.95], method="inverted_cdf")
    assert (found.low, found.high) == pytest.approx((low, high))


def test_the_edge() -> None:
    given = losses(-1.9, 3)
    found = optimum(given, RATES)
    assert found.on_edge
    lost = losses(-3.0, 3)
    lost[:, 5:] = math.inf
    beside = optimum(lost, RATES)
    assert not beside.on_edge
    lost[:, 5:] = math.nan
    assert optimum(lost, RATES).on_edge
    only = optimum([[1.0, 2.0]], RATES[:2])
    assert only.on_edge
    assert math.isnan(only.rate)
    assert (only.low, only.high) == (0.0, math.inf)


def test_no_floor_and_no_curvature() -> None:
    falling = np.linspace(3, 2, 7)[None, :] + RNG.normal(0, 1e-4, (3, 7))
    found = optimum(falling, RATES)
    assert found.on_edge
    noisy = optimum(losses(-3.5, 3, noise=5.0), RATES)
    assert (noisy.low, noisy.high) == (0.0, math.inf)
    assert valley(np.full((2, 7), math.inf), RATES) is None
    assert not optimum(np.full((2, 7), math.inf), RATES).on_edge
    with pytest.raises(ValueError, match="expected positive and rising"):
        valley(losses(-3.5, 2), RATES[::-1])
    with pytest.raises(ValueError, match=r"expected \[seeds, rates\]"):
        valley(losses(-3.5, 2), RATES[:-1])


def made(rate: float, low: float, high: float) -> Optimum:
    return Optimum(rate, low, high, False, 5, 3, 0.95)


def test_ratio_of_two_optima_by_hand() -> None:
    """Logs 1 ± .3 and 0 with -.4 to +.2: 1 - √(.3² + .2²) to 1 + √(.3² + .4²) = 1.5."""
    found = ratio(made(10, 10**0.7, 10**1.3), made(1, 10**-0.4, 10**0.2))
    assert found.ratio == pytest.approx(10)
    assert found.low == pytest.approx(10 ** (1 - math.sqrt(0.13)))
    assert found.high == pytest.approx(10**1.5)
    open_ended = ratio(made(10, 0.0, math.inf), made(1, 0.5, 2))
    assert (open_ended.low, open_ended.high) == (0.0, math.inf)
    assert math.isnan(ratio(made(math.nan, 0.0, math.inf), made(1, 0.5, 2)).ratio)


def test_paired_ratio() -> None:
    """Seeds that move both floors alike cancel; one arm beside itself has a ratio of 1 exactly."""
    shifts = np.array([[-0.2], [0.0], [0.1], [0.15]])
    x = np.log10(RATES)
    curves = [2 + 0.3 * (x - at - shifts) ** 2 for at in (-3.0, -4.0)]
    found = paired_ratio((curves[0], RATES), (curves[1], RATES))
    assert found.ratio == pytest.approx(10, rel=1e-6)
    assert (found.low, found.high) == pytest.approx((10, 10), rel=1e-6)
    # Exact parabolas of one curvature: a seed's ψ is its own floor, so the t is scipy's.
    other = 2 + 0.3 * (x + 4.0 - np.array([[0.1], [-0.1], [0.05], [0.0]])) ** 2
    found = paired_ratio((curves[0], RATES), (other, RATES))
    gaps = 1.0 + shifts[:, 0] - np.array([0.1, -0.1, 0.05, 0.0])
    low, high = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((10**low, 10**high))
    with pytest.raises(ValueError, match="found 4 and 3 seeds"):
        paired_ratio((curves[0], RATES), (curves[1][:3], RATES))
    assert paired_ratio((curves[0][:1], RATES), (curves[1][:1], RATES)).high == math.inf


def test_rates_near_the_best() -> None:
    """Gains of seed 1 from 3: .5, .95, 1, .91, lost: three within a tenth of 1."""
    found = near_best(
        [[2.5, 2.05, 2.0, 2.09, math.inf], [3.2, 3.1, 3.0, math.nan, 3.5], [2, 2.5, 2.9, 3, 3]],
        [3.0, 3.0, 3.0],
    )
    assert found[[0, 2]] == pytest.approx([3, 1])
    assert math.isnan(found[1])
    assert near_best([[2.0, 2.3]], 3.0, share=0.5)[0] == 2


def test_a_rate_chosen_on_other_seeds() -> None:
    given = [[1.0, 2.0, 0.0], [3.0, 1.0, math.inf], [5.0, 2.5, 0.0]]
    # Seed 0: the others' means are 4 and 1.75, rate 1 → 2; seed 1: 3 and 2.25 → 1; seed 2: 2, 1.5.
    assert chosen_elsewhere(given) == pytest.approx([2.0, 1.0, 2.5])
    noise = RNG.normal(0, 1, (4000, 3, 8))
    assert noise.mean(1).min(1).mean() < -0.7
    assert np.mean([chosen_elsewhere(one).mean() for one in noise]) == pytest.approx(0, abs=0.03)
    with pytest.raises(ValueError, match="two seeds"):
        chosen_elsewhere([[1.0, 2.0]])
