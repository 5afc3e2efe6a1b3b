"""Power beside simulation, printed tables and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lora_ledger.analysis.blocked import contrast, fit
from lora_ledger.analysis.paired import components, crossed
from lora_ledger.analysis.power import (
    Layout,
    Wanted,
    blocks_for_equivalence,
    blocks_needed,
    crossed_needed,
    items_for_mcnemar,
    items_needed,
    power_of_t,
    power_of_tost,
)

RNG = np.random.default_rng(12)
SETS = 20_000


def test_items_for_half_a_standard_deviation() -> None:
    """34 pairs for d = .5 at 5 % and 80 %, 199 for d = .2 (as G*Power, from Cohen 1988)."""
    assert items_needed(0.5, 1.0) == 34
    assert items_needed(0.2, 1.0) == 199
    assert items_needed(1e-6, 1.0) is None


def test_power_is_scipys_noncentral_t() -> None:
    for effect, df in ((0.5, 2), (2.0, 8), (4.0, 20), (12.0, 2)):
        bound = stats.t.ppf(0.975, df)
        expected = stats.nct.sf(bound, df, effect) + stats.nct.sf(bound, df, -effect)
        assert power_of_t(-effect, 1.0, df) == pytest.approx(expected, abs=2e-5)
    assert power_of_t(1e5, 1.0, 8) == 1.0
    assert power_of_t(1.0, 1.0, 0) == 0.0
    assert [power_of_t(effect, 0.0, 8) for effect in (0.0, 1.0)] == [0.0, 1.0]


def residuals(blocks: int, arms: int) -> np.ndarray:
    values = RNG.normal(size=(SETS, blocks, arms))
    return np.asarray(values)


def test_blocked_power_by_simulation() -> None:
    """Three blocks, five arms, one arm 2.5 residual standard deviations off; explicit residuals."""
    layout, effect, level = Layout(arms=5), 2.5, 0.05 / 3
    values = residuals(3, 5)
    values[:, :, 0] += effect
    left = values - values.mean(1, keepdims=True) - values.mean(2, keepdims=True)
    left += values.mean((1, 2), keepdims=True)
    se = np.sqrt((left**2).sum((1, 2)) / 8 * 2 / 3)
    t = (values[:, :, 0] - values[:, :, 1]).mean(1) / se
    found = (np.abs(t) > stats.t.ppf(1 - level / 2, 8)).mean()
    predicted = power_of_t(effect, layout.se(1.0, 3), layout.df(3), level)
    assert predicted == pytest.approx(found, abs=0.015)
    assert 0.3 < predicted < 0.9


def test_the_contrast_as_it_is_made_has_the_power_that_is_said() -> None:
    """Five arms, twelve claims: the share that is significant and primary."""
    effect, level = 2.5, 0.05 / 12
    needed = blocks_needed(effect, 1.0, Layout(arms=5), Wanted(level, 0.8))
    assert needed is not None
    found = []
    for _ in range(3000):
        values = RNG.normal(size=(needed, 5))
        values[:, 0] += effect
        one = contrast(fit(values), [1, -1, 0, 0, 0])
        found.append(one.primary and one.p <= level)
    pooled = power_of_t(effect, math.sqrt(2 / needed), (needed - 1) * 4, level)
    assert 0.9 * pooled >= 0.8
    assert np.mean(found) == pytest.approx(0.9 * pooled, abs=0.03)


def test_equivalence_power_by_simulation() -> None:
    """Two arms, nine blocks; the true difference is none, then a third of the margin."""
    differences = RNG.normal(size=(SETS, 9)) * math.sqrt(2)
    layout = Layout()
    se, t = differences.std(1, ddof=1) / 3, stats.t.ppf(0.95, 8)
    for true in (0.0, 0.4):
        centre = differences.mean(1) + true
        found = ((centre - t * se > -1.2) & (centre + t * se < 1.2)).mean()
        predicted = power_of_tost(1.2, layout.se(1.0, 9), layout.df(9), true=true)
        assert predicted == pytest.approx(found, abs=0.015)
    assert power_of_tost(1.2, 1.0, 0) == 0.0
    # At the margin TOST rejects as often as its level says.
    assert power_of_tost(5.0, 0.5, 8, true=5.0) == pytest.approx(0.05, abs=1e-4)


def test_the_least_number_of_blocks_is_the_least() -> None:
    layout, wanted = Layout(arms=6, settings=2, averaged=True), Wanted(0.05 / 12, 0.9)
    found = blocks_needed(0.8, 1.0, layout, wanted)
    assert found is not None

    def at(n: int) -> float:
        se = math.sqrt(2 / (2 * n))
        pooled = power_of_t(0.8, se, (n - 1) * 5 * 2, wanted.level)
        alone = power_of_t(0.8, se, (n - 1) * 2, wanted.level) if n >= 5 else 0.0
        return 0.9 * pooled + 0.1 * alone

    assert at(found) >= 0.9 > at(found - 1)
    # A large effect still needs eight degrees of freedom: two arms have them at nine blocks.
    assert blocks_needed(100.0, 1.0, Layout()) == 9
    assert blocks_needed(0.01, 1.0, Layout()) is None


def test_the_least_number_for_equivalence() -> None:
    found = blocks_for_equivalence(1.0, 1.0, Layout())
    assert found is not None
    # Normal approximation with true difference 0: 2·(z(.95) + z(.9))²·σ² / margin².
    assert found == pytest.approx(2 * (1.6449 + 1.2816) ** 2, abs=2.5)
    assert blocks_for_equivalence(1.0, 1.0, Layout(), true=1.0) is None
    nearer = blocks_for_equivalence(1.0, 1.0, Layout(), true=0.3)
    assert nearer is not None
    assert nearer > found


def test_items_for_mcnemar_by_simulation() -> None:
    """The asymptotic test, which the formula is of, over tables drawn at the size it gives."""
    gained, lost = 0.12, 0.06
    n = items_for_mcnemar(gained, lost)
    assert n is not None
    counts = RNG.multinomial(n, [gained, lost, 1 - gained - lost], size=SETS)
    z = (counts[:, 0] - counts[:, 1]) / np.sqrt(counts[:, 0] + counts[:, 1])
    assert (np.abs(z) > 1.959964).mean() == pytest.approx(0.80, abs=0.02)
    assert items_for_mcnemar(0.1, 0.1) is None
    with pytest.raises(ValueError, match="sum of at most 1"):
        items_for_mcnemar(0.7, 0.4)


def test_seeds_and_items_that_would_decide() -> None:
    values = RNG.normal(0, 0.2, (5, 1)) + RNG.normal(0, 0.8, 150) + RNG.normal(0, 1, (5, 150))
    parts = components(values)
    needed = crossed_needed(0.3, parts)
    assert needed.seeds is not None
    by_seed, by_item, rest = np.sqrt(parts.variances())
    rejected = []
    for _ in range(2000):
        made = RNG.normal(0.3, by_seed, (needed.seeds, 1)) + RNG.normal(0, by_item, 150)
        rejected.append(crossed(made + RNG.normal(0, rest, (needed.seeds, 150))).p <= 0.05)
    assert np.mean(rejected) == pytest.approx(0.85, abs=0.09)


def test_more_items_cannot_replace_seeds() -> None:
    """Seeds alone vary by 1: at three seeds t must exceed 4.3 of .58, with any number of items."""
    values = np.array([[-1.0], [0.0], [1.0]]) + RNG.normal(0, 0.1, (3, 50))
    needed = crossed_needed(1.0, components(values))
    assert needed.items is None
    assert needed.seeds == pytest.approx(items_needed(1.0, 1.0, Wanted()), abs=1)
