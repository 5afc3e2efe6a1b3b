"""Rank correlations beside scipy and its permutation test, units counted, a paradox planted."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from lora_ledger.analysis.association import across, by_run, reverses, spearman, within

RNG = np.random.default_rng(17)


def test_rho_is_scipys_with_ties() -> None:
    x, y = RNG.integers(0, 6, (2, 40)).astype(float)
    y += x
    found = spearman(x, y)
    assert found.rho == pytest.approx(stats.spearmanr(x, y).statistic)
    assert (found.n, found.groups) == (40, 1)


def test_interval_of_bonett_and_wright() -> None:
    """n = 20: tanh(z ± 1.96·√((1 + ρ²/2) / 17))."""
    x = RNG.normal(size=20)
    y = x + RNG.normal(size=20)
    rho = stats.spearmanr(x, y).statistic
    half = 1.959964 * math.sqrt((1 + rho**2 / 2) / 17)
    found = spearman(x, y)
    assert found.low == pytest.approx(math.tanh(math.atanh(rho) - half))
    assert found.high == pytest.approx(math.tanh(math.atanh(rho) + half))


def test_p_is_near_that_of_all_orders() -> None:
    """Seven runs have 5,040 orders."""
    x = RNG.normal(size=7)
    y = 0.8 * x + RNG.normal(size=7)
    ranks = stats.rankdata(x)
    orders = np.array(list(itertools.permutations(stats.rankdata(y))))
    products = (orders - 4) @ (ranks - 4)
    exact = np.mean(np.abs(products) >= abs(products[0]) - 1e-9)
    assert products[0] / 28 == pytest.approx(spearman(x, y).rho)
    assert spearman(x, y).p == pytest.approx(exact, abs=0.02)


def test_many_readings_of_a_run_are_one_unit() -> None:
    """Ten readings of each of six runs: what the six means give, whose n is 6."""
    x, y = RNG.normal(size=(2, 6))
    runs = [f"r{i}" for i in range(6) for _ in range(10)]
    spread = np.tile(np.linspace(-0.1, 0.1, 10), 6)
    found = spearman(np.repeat(x, 10) + spread, np.repeat(y, 10) - spread, runs)
    once = spearman(x, y)
    assert (found.rho, found.n) == (pytest.approx(once.rho), 6)
    assert found.low == pytest.approx(once.low)
    names, means = by_run([1.0, 2.0, 6.0], ["b", "a", "b"])
    assert names == ["b", "a"]
    assert means.tolist() == [3.5, 2.0]


def test_a_perfect_order_has_an_interval() -> None:
    found = spearman(np.arange(6), np.arange(6))
    assert (found.rho, found.high) == (pytest.approx(1.0), 1.0)
    half = 1.959964 * math.sqrt(1.5 / 3)
    assert found.low == pytest.approx(math.tanh(math.atanh(1 - 12 / 210) - half))
    down = spearman(np.arange(6), -np.arange(6))
    assert (down.low, down.high) == (-1.0, pytest.approx(-found.low))


def test_too_few_runs_and_no_variation() -> None:
    assert math.isnan(spearman([1, 2, 3, 4], [1, 2, 3, 4]).rho)
    assert math.isnan(spearman(np.ones(9), np.arange(9)).p)
    with pytest.raises(ValueError, match="not finite"):
        spearman([1, math.nan], [1, 2])
    with pytest.raises(ValueError, match="expected equal"):
        spearman([1, 2, 3], [1, 2])


def test_within_groups_by_hand() -> None:
    """Fisher's z of 8 and 12 runs weighted 5 to 9."""
    x, y = RNG.normal(size=(2, 20))
    y += x
    groups = ["a"] * 8 + ["b"] * 12
    parts = [stats.spearmanr(x[s], y[s]).statistic for s in (slice(0, 8), slice(8, 20))]
    centre = (5 * math.atanh(parts[0]) + 9 * math.atanh(parts[1])) / 14
    found = within(x, y, groups)
    assert found.rho == pytest.approx(math.tanh(centre))
    assert found.low == pytest.approx(
        math.tanh(centre - 1.959964 * math.sqrt((1 + found.rho**2 / 2) / 14))
    )
    assert (found.n, found.groups) == (20, 2)


def test_simpsons_paradox() -> None:
    """Within each rank more x goes with less y; ranks with more x have more y."""
    ranks = np.repeat(np.arange(5.0), 8)
    inner = np.tile(np.linspace(-0.4, 0.4, 8), 5)
    x, y = ranks + inner + RNG.normal(0, 0.02, 40), ranks - inner + RNG.normal(0, 0.02, 40)
    groups = ranks.tolist()
    overall, inside, between = spearman(x, y), within(x, y, groups), across(x, y, groups)
    assert overall.rho > 0.8
    assert inside.rho < -0.9
    assert between.rho == pytest.approx(1.0)
    assert between.n == 5
    assert reverses(overall, inside)
    assert not reverses(overall, between)


def test_a_run_is_in_one_group() -> None:
    with pytest.raises(ValueError, match="found run r in a and b"):
        within([1, 2], [1, 2], ["a", "b"], ["r", "r"])
    with pytest.raises(ValueError, match="expected equal numbers"):
        within([1, 2], [1, 2], ["a"])
    with pytest.raises(ValueError, match="expected one for each of 2"):
        by_run([1, 2], ["a"])


def test_p_within_groups_ignores_what_groups_differ_by() -> None:
    """No association inside, a strong one across: p is uniform inside, small overall."""
    ps = []
    for seed in range(60):
        draws = np.random.default_rng(seed)
        level = np.repeat([0.0, 10.0, 20.0], 8)
        x, y = level + draws.normal(size=24), level + draws.normal(size=24)
        ps.append(within(x, y, level.tolist()).p)
        assert spearman(x, y).p < 0.01
    assert 0.3 < np.mean(ps) < 0.7
    assert np.mean(np.array(ps) < 0.05) < 0.15
