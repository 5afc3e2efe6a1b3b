"""How many blocks, seeds or items would decide a comparison.

In: an effect or a margin, a spread, and how a study is laid out.
Out: the power of a test, and the least number that reaches a wanted one; None where no number up to
the limit does. It does not say how large an effect is: the claim's margin does, since a power at
the effect that was seen repeats its p (Hoenig & Heisey 2001).

In the blocked model `blocked.ALIKE` of the contrasts lose the pooled residual although arms scatter
alike, and then have the power of a paired t test, which below nine blocks is not primary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from .blocked import ALIKE
from .paired import Components, crossed_df
from .statistics import Array
from .student import PRIMARY_DF, quantile

MOST_BLOCKS = 1000
MOST_ITEMS = 10_000_000
NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(64)


@dataclass(frozen=True)
class Layout:
    """A confirmatory test in the blocked model.

    `arms` of a setting; `settings` over which the residual is pooled; `averaged`: is the contrast
    the mean over those settings; `squares`: sum of the squared weights, 2 for one arm less another.
    """

    arms: int = 2
    settings: int = 1
    averaged: bool = False
    squares: float = 2.0

    def df(self, blocks: int) -> int:
        return (blocks - 1) * (self.arms - 1) * self.settings

    def se(self, residual_sd: float, blocks: int) -> float:
        shared = self.settings if self.averaged else 1
        return residual_sd * math.sqrt(self.squares / (blocks * shared))


@dataclass(frozen=True)
class Wanted:
    """The level of the test, corrected for other claims if need be, and the power asked for."""

    level: float = 0.05
    power: float = 0.8


USUAL = Wanted()


def power_of_t(effect: float, se: float, df: float, level: float = 0.05) -> float:
    """Chance that a two-sided t test finds `effect`, in the unit of the standard error.

    The noncentral t at noncentrality effect / se (Cohen 1988, section 2), as the mean of normal
    chances over the chi-square of the standard error: scipy's own is nan far in a tail.
    """
    if df < 1 or se == 0:
        return float(df >= 1 and effect != 0)
    shift, bounds = abs(effect) / se, quantile(df, level) * _spread(df, (NODES + 1) / 2)
    found = special.ndtr(shift - bounds) + special.ndtr(-shift - bounds)
    return float((NODE_WEIGHTS / 2 * found).sum())


def _spread(df: float, shares: Array) -> Array:
    """Quantiles of s / σ at the shares."""
    return np.asarray(np.sqrt(special.chdtri(df, 1 - shares) / df), dtype=np.float64)


def power_of_tost(
    margin: float, se: float, df: float, level: float = 0.05, true: float = 0.0
) -> float:
    """Chance that both one-sided tests reject where the difference is `true`.

    The estimate is normal, its standard error that of s with df·s²/σ² a chi-square: given s both
    tests reject where |estimate| ≤ margin - t·s; integrated over s between its quantiles by Gauss
    and Legendre's rule (Phillips 1990, section 3, has the same integral).
    """
    if df < 1 or se == 0:
        return float(df >= 1 and abs(true) < margin)
    t = quantile(df, 2 * level)
    # No test passes beyond s = margin / t, where the integrand has its edge.
    edge = float(special.chdtr(df, df * (margin / (t * se)) ** 2))
    room = np.maximum(margin - t * se * _spread(df, edge * (NODES + 1) / 2), 0.0)
    inside = special.ndtr((room - true) / se) - special.ndtr((-room - true) / se)
    return float((NODE_WEIGHTS / 2 * edge * inside).sum())


def blocks_needed(
    effect: float, residual_sd: float, layout: Layout, wanted: Wanted = USUAL
) -> int | None:
    """Blocks (base x seed) for a primary contrast of size `effect` in the blocked model.

    `residual_sd` is the root of the residual mean square, in the effect's unit. At least as many as
    give `PRIMARY_DF` degrees of freedom.
    """

    def power(se: float, df: int) -> float:
        return power_of_t(effect, se, df, wanted.level)

    return _least(lambda n: _primary(layout, residual_sd, n, power) >= wanted.power, 2, MOST_BLOCKS)


def _primary(
    layout: Layout, residual_sd: float, blocks: int, power: Callable[[float, int], float]
) -> float:
    """Power of a primary test: pooled, but for the share of contrasts that are left alone."""
    df, se = layout.df(blocks), layout.se(residual_sd, blocks)
    alone = (blocks - 1) * (layout.settings if layout.averaged else 1)
    lost = ALIKE if df > alone else 0.0
    found = (1 - lost) * power(se, df) if df >= PRIMARY_DF else 0.0
    return found + (lost * power(se, alone) if alone >= PRIMARY_DF else 0.0)


def blocks_for_equivalence(
    margin: float, residual_sd: float, layout: Layout, wanted: Wanted = USUAL, true: float = 0.0
) -> int | None:
    """Blocks for which TOST within ±`margin` passes, where the difference is `true`."""
    if abs(true) >= margin:
        return None

    def power(se: float, df: int) -> float:
        return power_of_tost(margin, se, df, wanted.level, true)

    return _least(lambda n: _primary(layout, residual_sd, n, power) >= wanted.power, 2, MOST_BLOCKS)


def items_needed(effect: float, sd: float, wanted: Wanted = USUAL) -> int | None:
    """Items for the paired t test of one run against one: `sd` of the items' differences."""
    return _least(
        lambda n: power_of_t(effect, sd / math.sqrt(n), n - 1, wanted.level) >= wanted.power,
        2,
        MOST_ITEMS,
    )


def items_for_mcnemar(gained: float, lost: float, wanted: Wanted = USUAL) -> int | None:
    """Items for McNemar's test from the shares that one arm alone has right.

    (z(1 - α/2)·√ψ + z(power)·√(ψ - δ²))² / δ² with ψ = gained + lost and δ their difference
    (Connor 1987, equation 3). None where the two are equal.
    """
    if min(gained, lost) < 0 or gained + lost > 1:
        raise ValueError(f"McNemar: found shares {gained} and {lost}, expected a sum of at most 1")
    both, apart = gained + lost, abs(gained - lost)
    if apart == 0:
        return None
    z = float(special.ndtri(1 - wanted.level / 2))
    z_power = float(special.ndtri(wanted.power))
    root = z * math.sqrt(both) + z_power * math.sqrt(both - apart * apart)
    return math.ceil((root / apart) ** 2)


@dataclass(frozen=True)
class Needed:
    """Seeds with the items there are, and items with the seeds there are; None: no number does."""

    seeds: int | None
    items: int | None


def crossed_needed(effect: float, found: Components, wanted: Wanted = USUAL) -> Needed:
    """Seeds or items for which `paired.crossed` finds `effect`, from components of variance.

    The variance of the mean is σ²(seed)/seeds + σ²(item)/items + σ²(rest)/(seeds·items). More items
    cannot help where the seeds' part alone is too wide. Needs two seeds or more; the components of
    few seeds are rough, and so is the number.
    """
    by_seed, by_item, rest = found.variances()

    def enough(seeds: int, items: int) -> bool:
        of_seeds, of_items = items * by_seed + rest, seeds * by_item
        if of_seeds + of_items == 0:
            return effect != 0
        df = crossed_df(of_seeds, of_items, seeds, items, wanted.level)
        se = math.sqrt((of_seeds + of_items) / (seeds * items))
        return power_of_t(effect, se, df, wanted.level) >= wanted.power

    return Needed(
        _least(lambda n: enough(n, found.items), 2, MOST_BLOCKS),
        _least(lambda n: enough(found.seeds, n), 2, MOST_ITEMS),
    )


def _least(enough: Callable[[int], bool], low: int, high: int) -> int | None:
    """The least number in low..high that is enough; more never is less. None if none is."""
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return low
