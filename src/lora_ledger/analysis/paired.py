"""Two arms on the same items: McNemar, the sign test, and t with items and seeds crossed.

In: right or wrong for each item, or differences [seeds, items] between two arms that saw the same.
Out: counts with exact p values, `Estimate`s, and components of variance.
Percentile bootstraps of the same differences are `statistics.paired_ratio`; at few seeds they are
too narrow (`coverage`), and `crossed` is there instead. It reads no record.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from .statistics import Array
from .student import ROUNDING, Estimate, estimated, quantile


@dataclass(frozen=True)
class McNemar:
    """Items that the second arm alone has right (`gained`), and the first alone (`lost`)."""

    gained: int
    lost: int
    items: int
    p: float
    mid_p: float

    @property
    def difference(self) -> float:
        """Share right of the second arm less that of the first."""
        return (self.gained - self.lost) / self.items if self.items else math.nan


def mcnemar(first: npt.ArrayLike, second: npt.ArrayLike) -> McNemar:
    """McNemar (1947): given that one alone is right, each is that one in half of the items.

    Shapes [items], right or wrong. `p` is the exact two-sided binomial one,
    min(1, 2·P(X ≤ smaller count)); `mid_p` takes half of the chance of what was seen, and stays
    near the level where the exact one is far below (Fagerland, Lydersen & Laake 2013, section 2).
    Of one seed each: items are the units, and what is said holds for these two runs. Raises
    ValueError where the items differ in number or a value is neither right nor wrong.
    """
    one, two = (np.asarray(v, dtype=np.float64).ravel() for v in (first, second))
    if len(one) != len(two):
        raise ValueError(f"McNemar: found {len(one)} and {len(two)} items, expected equal numbers")
    if not np.isin(np.concatenate([one, two]), (0.0, 1.0)).all():
        raise ValueError("McNemar: found a value other than 0 and 1, expected right or wrong")
    gained, lost = int(((one == 0) & (two == 1)).sum()), int(((one == 1) & (two == 0)).sum())
    return McNemar(gained, lost, len(one), *_binomial(gained, lost))


def _binomial(one: int, two: int) -> tuple[float, float]:
    """Two-sided exact and mid p of one against two at even chances."""
    n, least = one + two, min(one, two)
    below = float(special.bdtr(least, n, 0.5))
    here = math.comb(n, least) * 0.5**n if n < 1000 else math.exp(_log_even(n, least))
    return min(1.0, 2 * below), min(1.0, 2 * below - here)


def _log_even(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)


@dataclass(frozen=True)
class Signs:
    """Units above and below zero, those at zero left out, and the exact two-sided p."""

    above: int
    below: int
    p: float


def sign_test(differences: npt.ArrayLike) -> Signs:
    """Arbuthnott's test: above zero as often as below? Shape [units]; nan and 0 are left out.

    Five units cannot reach 5 %: all on one side have p = .0625; six have .031.
    """
    given = np.asarray(differences, dtype=np.float64).ravel()
    above, below = int((given > 0).sum()), int((given < 0).sum())
    return Signs(above, below, _binomial(above, below)[0])


@dataclass(frozen=True)
class Components:
    """Mean squares of differences [seeds, items], in their unit squared, and their mean."""

    mean: float
    seeds: int
    items: int
    of_seeds: float
    """Mean square between seeds; its expectation is items·σ²(seed) + σ²(rest)."""
    of_items: float
    rest: float

    def variances(self) -> tuple[float, float, float]:
        """σ² of seeds, of items and of the rest, by equating mean squares; not below 0."""
        return (
            max(self.of_seeds - self.rest, 0.0) / self.items,
            max(self.of_items - self.rest, 0.0) / self.seeds,
            self.rest,
        )


def components(differences: npt.ArrayLike) -> Components:
    """The two-way layout without replicates, both ways random (Searle et al. 1992, section 4.6).

    Shape [seeds, items]; at least two of each, else the mean squares that need more are nan. Raises
    ValueError for another shape and for a value that is not finite.
    """
    given = np.asarray(differences, dtype=np.float64)
    if given.ndim != 2 or given.size == 0 or not np.isfinite(given).all():
        raise ValueError(
            f"crossed: found shape {given.shape}, expected finite differences [seeds, items]"
        )
    seeds, items = given.shape
    rows, columns, mean = given.mean(axis=1), given.mean(axis=0), float(given.mean())
    left = given - rows[:, None] - columns[None, :] + mean
    return Components(
        mean,
        seeds,
        items,
        _mean_square(rows - mean, items, seeds - 1),
        _mean_square(columns - mean, seeds, items - 1),
        _mean_square(left, 1, (seeds - 1) * (items - 1)),
    )


def _mean_square(deviations: Array, each: int, df: int) -> float:
    return each * float((deviations**2).sum()) / df if df else math.nan


def crossed(differences: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Mean of differences [seeds, items] for seeds and items that were both drawn.

    Variance of the mean: (MS(seeds) + max(MS(items) - MS(rest), 0)) / (seeds·items) (Hillis 2007,
    section 3, where readers are seeds and cases items). Its first part is of few degrees of freedom
    and its second of many, so the critical value is Cochran's (Cochran & Cox 1957, section 4.14):
    the mean of t(seeds - 1) and t(items - 1), weighted by the two parts. `df` is what a t of that
    size has. Hillis's own degrees of freedom are too many where MS(seeds) is small by chance, and
    cover 92.5 % at three seeds. One seed: the one-sample t over items, which is the sampling error
    of the evaluation only, and `unit` says `items`.
    """
    parts = components(differences)
    if parts.seeds == 1:
        spread = math.sqrt(parts.of_items / parts.items) if parts.items > 1 else math.nan
        return estimated(parts.mean, spread, parts.items - 1, parts.items, "items", confidence)
    if parts.items == 1:
        spread = math.sqrt(parts.of_seeds / parts.seeds)
        return estimated(parts.mean, spread, parts.seeds - 1, parts.seeds, "seeds", confidence)
    beyond = max(parts.of_items - parts.rest, 0.0)
    se = math.sqrt((parts.of_seeds + beyond) / (parts.seeds * parts.items))
    if se <= ROUNDING * float(np.abs(differences).max()):
        return estimated(parts.mean, 0.0, parts.seeds - 1, parts.seeds, "seeds x items", confidence)
    df = crossed_df(parts.of_seeds, beyond, parts.seeds, parts.items, 1 - confidence)
    return estimated(parts.mean, se, df, parts.seeds, "seeds x items", confidence)


def crossed_df(
    of_seeds: float, of_items: float, seeds: int, items: int, level: float = 0.05
) -> float:
    """Degrees of freedom of the t that Cochran's critical value at `level` is."""
    few, many = quantile(seeds - 1, level), quantile(items - 1, level)
    critical = (of_seeds * few + of_items * many) / (of_seeds + of_items)
    low, high = float(min(seeds, items) - 1), float(max(seeds, items) - 1)
    if not quantile(high, level) < critical < quantile(low, level):
        return low if critical >= quantile(low, level) else high
    return float(special.stdtridf(1 - level / 2, critical))


def linearised(numer: npt.ArrayLike, denom: npt.ArrayLike) -> Array:
    """Values whose mean is the ratio of sums, and whose variance is the ratio's to first order.

    R + (numer - R·denom) / mean(denom) with R = sum(numer) / sum(denom) of each seed (Cochran 1977,
    section 6.3). Shapes [items] or [seeds, items]. For `crossed` of a ratio, such as bits per byte:
    linearised(after) - linearised(before).
    """
    top, bottom = (np.asarray(v, dtype=np.float64) for v in (numer, denom))
    ratio = top.sum(axis=-1, keepdims=True) / bottom.sum(axis=-1, keepdims=True)
    values: Array = ratio + (top - ratio * bottom) / bottom.mean(axis=-1, keepdims=True)
    return values
