"""Simulated data sets have the truth that they are said to have."""

from __future__ import annotations

import numpy as np
import pytest

from lora_ledger.analysis import simulated as made
from lora_ledger.analysis.paired import components

RNG = np.random.default_rng(18)


@pytest.mark.parametrize(("shape", "share"), made.SEED_SHARES.items())
def test_the_share_of_seeds_in_the_means_variance(shape: str, share: float) -> None:
    """Of 6,000 means: variance 1, and what is the seeds' of it by equating mean squares."""
    sets = np.stack([made.differences(RNG, 3, 20, shape) for _ in range(6000)])
    assert sets.mean() == pytest.approx(0, abs=0.05)
    assert sets.mean((1, 2)).var() == pytest.approx(1.0, rel=0.08)
    parts = [components(one) for one in sets]
    by_seed = np.mean([one.of_seeds - one.rest for one in parts]) / 20
    assert by_seed / 3 == pytest.approx(share, abs=0.05)


def test_right_or_wrong() -> None:
    sets = np.stack([made.differences(RNG, 3, 50, "right or wrong") for _ in range(500)])
    assert set(np.unique(sets)) == {-1.0, 0.0, 1.0}
    assert sets.mean() == pytest.approx(0, abs=0.01)
    first, second = made.items_of_two(RNG, 100_000)
    assert first.mean() == pytest.approx(second.mean(), abs=0.01)
    # Items differ in how hard they are: two runs agree more than chance has it.
    assert (first * second).mean() > first.mean() * second.mean() + 0.05


@pytest.mark.parametrize("shape", ["alike", "heavy tails", "skewed"])
def test_arms_scatter_by_one(shape: str) -> None:
    values = made.blocks(RNG, 40_000, 3, shape)
    noise = values - values.mean(1, keepdims=True)
    assert noise.var(axis=0) == pytest.approx(np.full(3, 2 / 3), rel=0.06)
    assert values.mean() == pytest.approx(0, abs=0.2)


def test_one_arm_scatters_twice() -> None:
    values = made.blocks(RNG, 40_000, 3, "first arm twice")
    assert (values[:, 0] - values[:, 1]).var() == pytest.approx(5, rel=0.05)
    assert (values[:, 1] - values[:, 2]).var() == pytest.approx(2, rel=0.05)


def test_slopes_of_their_own_have_mean_zero() -> None:
    x = np.arange(4.0)
    values = made.trends(RNG, 40_000, x, "own slopes")
    slopes = (values - values.mean(1, keepdims=True)) @ (x - 1.5) / 5
    assert slopes.mean() == pytest.approx(0, abs=0.02)
    # Own slopes of 1 over a standard deviation of x (1.118), and noise of 1 / √5.
    assert slopes.var() == pytest.approx(1 / 1.25 + 1 / 5, rel=0.05)


@pytest.mark.parametrize("shape", ["parabola", "own floors", "steeper above"])
def test_the_mean_loss_is_least_at_the_floor(shape: str) -> None:
    curve = made.valleys(RNG, 50_000, shape, floor=-3.5).mean(0)
    assert made.GRID[curve.argmin()] == pytest.approx(10**-3.5)
    symmetric = curve[2] == pytest.approx(curve[4], abs=3e-3)
    assert symmetric == (shape != "steeper above")


def test_paths_start_together() -> None:
    losses, forgetting = made.paths(RNG, 1, "plain")[0]
    assert (losses[0], forgetting[0]) == (3.0, 0.0)
    assert losses[-1] < 2.7
    assert forgetting[-1] > 0.1


def test_correlation() -> None:
    x, y = made.associated(RNG, 50_000, 0.6)
    assert np.corrcoef(x, y)[0, 1] == pytest.approx(0.6, abs=0.01)


def test_one_run_has_mean_zero() -> None:
    for shape in ("normal", "skewed"):
        assert made.one_run(RNG, 200_000, shape).mean() == pytest.approx(0, abs=0.02)
