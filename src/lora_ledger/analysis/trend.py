"""A trend over ordered levels (budgets, ranks, rates), each block measured at every level.

In: values [blocks, levels] and the levels' numbers, such as log tokens.
Out: slopes over blocks with their t, weights that make a slope a contrast of the blocked model, and
Page's L with its exact p. It does not choose the scale of the levels.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from .statistics import Array
from .student import Estimate, over_blocks

EXACT_LEVELS = 8
EXACT_BLOCKS = 40
"""Page's L is exact up to as many levels and blocks; beyond them it is taken as normal."""


def slopes(values: npt.ArrayLike, x: npt.ArrayLike) -> Array:
    """[blocks]: least squares of each block's values on x, in units of value per unit of x.

    Shapes [blocks, levels] and [levels]. A level that is not there is nan; a block with fewer than
    two, or with one x only, has the slope nan.
    """
    given, levels = _checked(values, x)
    found = np.full(len(given), np.nan)
    for place, row in enumerate(given):
        there = np.isfinite(row)
        off = levels[there] - levels[there].mean() if there.any() else levels[:0]
        if len(off) >= 2 and off.any():
            found[place] = float(off @ row[there] / (off @ off))
    return found


def slope(values: npt.ArrayLike, x: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Mean slope over blocks by the one-sample t: blocks may have slopes of their own.

    The analysis of summary measures (Matthews et al. 1990): blocks - 1 degrees of freedom.
    `linear_weights` with `blocked.contrast` has more of them, and holds where slopes differ between
    blocks by no more than the residual says.
    """
    return over_blocks(slopes(values, x), "blocks", confidence)


def linear_weights(x: npt.ArrayLike) -> Array:
    """Weights [levels] with which `blocked.contrast` gives the slope on x: (x - x̄) / Σ(x - x̄)²."""
    levels = np.asarray(x, dtype=np.float64)
    off = levels - levels.mean()
    if len(levels) < 2 or not off.any():
        raise ValueError(f"trend: found levels {levels.tolist()}, expected two that differ")
    weights: Array = off / float(off @ off)
    return weights


@dataclass(frozen=True)
class Page:
    """Page's L, its one-sided p of the order named, and how that was found."""

    statistic: float
    p: float
    blocks: int
    levels: int
    exact: bool


def page(values: npt.ArrayLike, increasing: bool = True) -> Page:
    """Page (1963): L = Σ j·R_j, R_j the sum over blocks of the ranks at level j.

    Shape [blocks, levels]; the order was named before: values rise with the level, or with
    `increasing=False` fall. Under the null every order within a block is as likely as any other.
    Exact p: the distribution of one block, which is that of Σ j·rank over all orders of its ranks,
    ties with their mid-ranks, convolved over blocks. Beyond `EXACT_LEVELS` and `EXACT_BLOCKS`:
    normal with mean n·k·(k + 1)²/4 and variance Σ S_j·S_r / (k - 1), sums of squares of places and
    of each block's ranks. Raises ValueError for a value that is not finite.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] < 2 or not np.isfinite(given).all():
        raise ValueError(
            f"Page's L: found shape {given.shape}, expected finite values [blocks, levels], two "
            "levels or more"
        )
    blocks, levels = given.shape
    ranks = stats.rankdata(given if increasing else -given, axis=1)
    places = np.arange(1, levels + 1)
    statistic = float((ranks @ places).sum())
    exact = levels <= EXACT_LEVELS and blocks <= EXACT_BLOCKS
    if not exact:
        variance = float((places - places.mean()) @ (places - places.mean()))
        variance *= float(((ranks - (levels + 1) / 2) ** 2).sum()) / (levels - 1)
        centre = blocks * levels * (levels + 1) ** 2 / 4
        z = (statistic - centre) / math.sqrt(variance) if variance else 0.0
        return Page(statistic, float(special.ndtr(-z)), blocks, levels, exact)
    doubled = np.ones(1)
    start = 0
    for row in np.sort((2 * ranks).round().astype(int), axis=1):
        first, chances = _one_block(tuple(row.tolist()))
        doubled = np.convolve(doubled, np.asarray(chances))
        start += first
    p = float(doubled[round(2 * statistic) - start :].sum())
    return Page(statistic, min(p, 1.0), blocks, levels, exact)


@lru_cache(maxsize=64)
def _one_block(doubled: tuple[int, ...]) -> tuple[int, tuple[float, ...]]:
    """The least Σ j·rank of one block, doubled, and the chances of it and of what follows.

    Built level by level: which ranks are used up, and what they add up to.
    """
    counts: dict[int, Counter[int]] = {0: Counter({0: 1})}
    for level in range(1, len(doubled) + 1):
        longer: dict[int, Counter[int]] = {}
        for used, sums in counts.items():
            for at, rank in enumerate(doubled):
                if not used >> at & 1:
                    into = longer.setdefault(used | 1 << at, Counter())
                    for total, count in sums.items():
                        into[total + level * rank] += count
        counts = longer
    (found,) = counts.values()
    least, most = min(found), max(found)
    every = math.factorial(len(doubled))
    return least, tuple(found[total] / every for total in range(least, most + 1))


def _checked(values: npt.ArrayLike, x: npt.ArrayLike) -> tuple[Array, Array]:
    given, levels = np.asarray(values, dtype=np.float64), np.asarray(x, dtype=np.float64)
    if given.ndim != 2 or given.shape[1:] != levels.shape:
        raise ValueError(
            f"trend: found values {given.shape} and levels {levels.shape}, expected "
            "[blocks, levels] and [levels]"
        )
    return given, levels
