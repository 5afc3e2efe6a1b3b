"""Intervals beside closed forms and scipy; counts beside brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from lora_ledger.analysis.statistics import (
    Resampling,
    bootstrap_mean,
    bootstrap_ratio,
    expected_distinct,
    paired_mean,
    paired_ratio,
    paired_stratified_ratio,
    pass_at_k,
    stratified_ratio,
    wilson,
)

HOW = Resampling("items", resamples=20000, confidence=0.95)
RNG = np.random.default_rng(3)


def test_mean_is_near_the_normal_interval() -> None:
    values = RNG.normal(5, 2, 400)
    found = bootstrap_mean(values, HOW)
    half = 1.959964 * values.std() / math.sqrt(400)
    assert found.estimate == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert (found.n, found.resampled, found.confidence) == (400, "items", 0.95)


def test_ratio_equals_scipys_percentile_bootstrap() -> None:
    size = RNG.integers(100, 2000, 60).astype(float)
    nats = size * RNG.normal(0.8, 0.1, 60)
    reference = stats.bootstrap(
        (nats, size),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=20000,
        method="percentile",
        rng=np.random.default_rng(11),
    ).confidence_interval
    found = bootstrap_ratio(nats, size, HOW)
    width = reference.high - reference.low
    assert found.estimate == pytest.approx(nats.sum() / size.sum())
    assert found.low == pytest.approx(reference.low, abs=0.04 * width)
    assert found.high == pytest.approx(reference.high, abs=0.04 * width)


def test_two_units_have_a_known_distribution() -> None:
    """Means of two draws from {0, 1}: 0, 1/2, 1 with chances 1/4, 1/2, 1/4."""
    wide = bootstrap_mean([0.0, 1.0], Resampling("items", 4000, 0.6))
    narrow = bootstrap_mean([0.0, 1.0], Resampling("items", 4000, 0.4))
    assert (wide.low, wide.high) == (0.0, 1.0)
    assert (narrow.low, narrow.high) == (0.5, 0.5)


def test_pairing_removes_what_units_share() -> None:
    before = RNG.normal(0, 10, 50)
    found = paired_mean(before + 0.5, before, HOW)
    assert (found.low, found.estimate, found.high) == pytest.approx((0.5, 0.5, 0.5))
    apart = bootstrap_mean(before, HOW)
    assert apart.high - apart.low > 3


def test_paired_ratio_equals_scipy() -> None:
    size = RNG.integers(100, 2000, 40).astype(float)
    before, after = (size * RNG.normal(level, 0.1, 40) for level in (0.8, 0.7))
    reference = stats.bootstrap(
        (after, before, size),
        lambda a, b, c, axis: (a.sum(axis) - b.sum(axis)) / c.sum(axis),
        paired=True,
        n_resamples=20000,
        method="percentile",
        rng=np.random.default_rng(12),
    ).confidence_interval
    found = paired_ratio((after, size), (before, size), HOW)
    width = reference.high - reference.low
    assert found.low == pytest.approx(reference.low, abs=0.04 * width)
    assert found.high == pytest.approx(reference.high, abs=0.04 * width)


def test_groups_are_drawn_whole() -> None:
    """Ten copies of each of 30 values hold no more than the 30 values do."""
    values = RNG.normal(0, 1, 30)
    copies, groups = np.repeat(values, 10), [str(i) for i in np.repeat(np.arange(30), 10)]
    once = bootstrap_mean(values, HOW)
    clustered = bootstrap_mean(copies, HOW, groups)
    naive = bootstrap_mean(copies, HOW)
    assert clustered.estimate == pytest.approx(once.estimate)
    assert clustered.high - clustered.low == pytest.approx(once.high - once.low, rel=0.05)
    assert naive.high - naive.low == pytest.approx((once.high - once.low) / math.sqrt(10), rel=0.05)
    assert clustered.n == 30


def test_seeds_are_crossed_with_units() -> None:
    """With no spread over units, two seeds at 0 and 1 give 0, 1/2 or 1."""
    values = np.stack([np.zeros(20), np.ones(20)])
    found = bootstrap_mean(values, Resampling("items", 4000, 0.6))
    assert (found.low, found.estimate, found.high) == (0.0, 0.5, 1.0)
    assert found.resampled == "items x seeds"
    assert found.n == 20


def test_seeds_against_one_base() -> None:
    values = np.stack([np.full(8, 3.0), np.full(8, 5.0)])
    base = np.arange(8.0)
    found = paired_ratio((values, np.ones((2, 8))), (base, np.ones(8)), HOW)
    assert found.estimate == pytest.approx(4.0 - 3.5)


def test_no_units_and_unequal_units() -> None:
    empty = bootstrap_mean([], HOW)
    assert math.isnan(empty.estimate)
    assert empty.n == 0
    with pytest.raises(ValueError, match="found 2 and 3 units"):
        paired_mean([1.0, 2.0], [1.0, 2.0, 3.0], HOW)


def test_same_seed_same_interval() -> None:
    values = RNG.normal(0, 1, 30)
    assert bootstrap_mean(values, HOW) == bootstrap_mean(values, HOW)
    other = Resampling("items", 20000, 0.95, seed=1)
    assert bootstrap_mean(values, HOW).low != bootstrap_mean(values, other).low


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (1, 50), (17, 40), (20, 20)])
def test_wilson_equals_scipy(hits: int, n: int) -> None:
    reference = stats.binomtest(hits, n).proportion_ci(0.9, method="wilson")
    found = wilson(hits, n, 0.9)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 2), (6, 0, 3), (6, 6, 1), (7, 3, 5), (8, 1, 8)])
def test_pass_at_k_by_enumeration(n: int, c: int, k: int) -> None:
    draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_keeps_small_values() -> None:
    """One of 10^6 samples passes: pass@1 is 1e-6 to the last digit, not what 1 - (1 - x) leaves."""
    assert pass_at_k(10**6, 1, 1) == 1e-6
    with pytest.raises(ValueError, match="k=9"):
        pass_at_k(8, 1, 9)


@pytest.mark.parametrize("kinds", [[3, 2, 1], [4], [1, 1, 1, 1], [5, 1]])
def test_rarefaction_by_enumeration(kinds: list[int]) -> None:
    bag = [kind for kind, times in enumerate(kinds) for _ in range(times)]
    for m in range(len(bag) + 1):
        draws = [len(set(draw)) for draw in itertools.combinations(bag, m)]
        assert expected_distinct(kinds, m) == pytest.approx(sum(draws) / len(draws))
    with pytest.raises(ValueError, match="expected 0 to"):
        expected_distinct(kinds, len(bag) + 1)


def test_stratified_mean_has_the_variance_of_a_mean_of_means() -> None:
    """Half the interval is 1.96 sqrt(sum of s_h^2 / n_h) / H for H independent means."""
    parts = [RNG.normal(5, 2, 300), RNG.normal(1, 1, 60), RNG.normal(0, 3, 150)]
    strata = [name for name, part in zip("abc", parts, strict=True) for _ in part]
    found = stratified_ratio(np.concatenate(parts), np.ones(510), strata, HOW)
    half = 1.959964 * math.sqrt(sum(part.var() / len(part) for part in parts)) / 3
    middle = sum(part.mean() for part in parts) / 3
    assert found.estimate == pytest.approx(middle)
    assert found.low == pytest.approx(middle - half, abs=0.05 * half)
    assert found.high == pytest.approx(middle + half, abs=0.05 * half)
    assert (found.n, found.resampled) == (510, "items")


@pytest.mark.parametrize(("confidence", "low", "high"), [(0.6, 2.5, 3.0), (0.4, 2.75, 2.75)])
def test_strata_weigh_the_same_and_are_drawn_apart(
    confidence: float, low: float, high: float
) -> None:
    """{0, 1} and {5}: half of 0, 1/2 or 1 (chances 1/4, 1/2, 1/4), and half of 5, always."""
    how = Resampling("items", 4000, confidence)
    found = stratified_ratio([0.0, 1.0, 5.0], [1.0, 1.0, 1.0], ["a", "a", "b"], how)
    assert (found.low, found.estimate, found.high) == (low, 2.75, high)


def test_one_stratum_is_a_plain_bootstrap() -> None:
    values, size = RNG.normal(0, 1, 40), RNG.integers(1, 9, 40)
    groups = [str(i // 3) for i in range(40)]
    plain = bootstrap_ratio(values, size, HOW, groups)
    assert stratified_ratio(values, size, ["a"] * 40, HOW, groups) == plain
    pair = paired_ratio((values, size), (values**2, size), HOW)
    assert paired_stratified_ratio((values, size), (values**2, size), ["a"] * 40, HOW) == pair


def test_paired_strata() -> None:
    """+1 on each of three units and 0 on one: half of 1, whatever is drawn."""
    before = np.array([3.0, 7.0, 1.0, 4.0])
    after, one = before + np.array([1, 1, 1, 0]), np.ones(4)
    found = paired_stratified_ratio((after, one), (before, one), list("aaab"), HOW)
    assert (found.low, found.estimate, found.high) == pytest.approx((0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="found 3 and 4 units"):
        paired_stratified_ratio((after[:3], one[:3]), (before, one), list("aaab"), HOW)
    with pytest.raises(ValueError, match="found 2 names, expected one for each of 4"):
        stratified_ratio(before, one, ["a", "b"], HOW)


def test_seeds_are_drawn_once_for_all_strata() -> None:
    """Seeds at 0 and 1 in both strata: 0, 1/2 or 1; were they drawn apart, 1/4 would come too."""
    values = np.stack([np.zeros(6), np.ones(6)])
    how = Resampling("items", 4000, 0.6)
    found = stratified_ratio(values, np.ones((2, 6)), list("aaabbb"), how)
    assert (found.low, found.estimate, found.high) == (0.0, 0.5, 1.0)
    assert found.resampled == "items x seeds"


def test_a_group_counts_once_in_each_stratum() -> None:
    found = stratified_ratio([1.0] * 4, [1.0] * 4, list("aabb"), HOW, list("xxxy"))
    assert found.n == 3


def test_seeds_of_one_block_are_drawn_together() -> None:
    """One unit and blocks of 0.2 and 0.4, and of 0.9: means of 0.3 and 0.9, each drawn twice in a
    quarter of the resamples, so that the bounds are these means."""
    values = np.array([[0.2], [0.4], [0.9]])
    how = Resampling("items", resamples=4000, blocks=("a", "a", "b"))
    found = bootstrap_mean(values, how)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.6, 0.3, 0.9))
    assert found.resampled == "items x bases"
    base = np.array([[0.1], [0.1], [0.5]])
    pair = paired_mean(values, base, how)
    assert (pair.estimate, pair.low, pair.high) == pytest.approx((0.3, 0.2, 0.4))


def test_blocks_of_one_seed_each_are_its_seeds() -> None:
    values = RNG.normal(0, 1, (3, 40))
    alone, named = (
        bootstrap_mean(values, Resampling("items", 500, blocks=blocks))
        for blocks in ((), ("b", "c", "a"))
    )
    assert (alone.low, alone.high) == (named.low, named.high)


def test_blocks_name_every_seed() -> None:
    with pytest.raises(ValueError, match="found 1 names, expected one for each of 2"):
        bootstrap_mean(np.ones((2, 3)), Resampling("items", 10, blocks=("a",)))
