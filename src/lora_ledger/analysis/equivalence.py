"""Is a difference inside a margin? Two one-sided tests, and the outcome of a comparison.

In: an `Estimate` (from the blocked model, from blocks, from crossed items and seeds) and a margin
in the same unit, fixed before the run.
Out: p values, the interval that belongs to them, and one of four words. It chooses no margin and
corrects nothing: the level that it gets is the corrected one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .student import Estimate, over_blocks, quantile, tail

Outcome = Literal["higher", "lower", "equivalent", "undecided"]


@dataclass(frozen=True)
class Tost:
    """Two one-sided tests; equivalent where the larger of the two p is at most the level.

    `low` and `high` bound the interval of confidence 1 - 2·level, which lies inside the margins
    exactly then.
    """

    p_above: float
    """Of: the difference lies above the lower margin."""
    p_below: float
    """Of: it lies below the upper margin."""
    low: float
    high: float
    lower: float
    upper: float
    level: float

    @property
    def p(self) -> float:
        return max(self.p_above, self.p_below)

    @property
    def equivalent(self) -> bool:
        return self.p <= self.level


def tost(found: Estimate, margin: float, level: float = 0.05, lower: float | None = None) -> Tost:
    """Schuirmann (1987): two t tests, of difference > lower margin and of difference < `margin`.

    The lower margin is -margin unless it is given. Standard error and degrees of freedom are the
    estimate's own, so within the blocked model the residual is the pooled one. An estimate without
    a p (no spread, no degrees of freedom) gives nan, which is not equivalent. Raises ValueError
    where the upper margin is not above the lower one.
    """
    low_margin = -margin if lower is None else lower
    if not margin > low_margin:
        raise ValueError(f"margins: found {low_margin} and {margin}, expected lower below upper")
    above = tail(found, low_margin)
    below = 1 - tail(found, margin)
    half = quantile(found.df, 2 * level) * found.se
    return Tost(
        above, below, found.estimate - half, found.estimate + half, low_margin, margin, level
    )


def tost_ratio(
    after: npt.ArrayLike, before: npt.ArrayLike, margin: float, level: float = 0.05
) -> Tost:
    """Is mean(after) / mean(before) within 1 ± margin? One value of each a block, paired.

    Margins that are shares of a comparator which is itself measured, such as 5 % of full
    fine-tuning's gain: the one-sample t tests of after - (1 - m)·before > 0 and of
    after - (1 + m)·before < 0 over blocks (Sasabuchi 1980; Hauschke et al. 1999, section 3), n - 1
    degrees of freedom. `low` and `high` are Fieller's bounds of the ratio (1954), infinite where
    the comparator's mean does not differ from 0. The comparator's mean must be positive; raises
    ValueError otherwise, and where the blocks differ in number.
    """
    top, bottom = (np.asarray(v, dtype=np.float64).ravel() for v in (after, before))
    if len(top) != len(bottom):
        raise ValueError(f"blocks: found {len(top)} and {len(bottom)}, expected equal numbers")
    if not np.nanmean(bottom) > 0:
        raise ValueError(f"comparator: found mean {np.nanmean(bottom):g}, expected a positive one")
    above = tail(over_blocks(top - (1 - margin) * bottom), 0.0)
    below = 1 - tail(over_blocks(top - (1 + margin) * bottom), 0.0)
    low, high = fieller(top, bottom, 2 * level)
    return Tost(above, below, low, high, 1 - margin, 1 + margin, level)


def fieller(top: npt.ArrayLike, bottom: npt.ArrayLike, level: float) -> tuple[float, float]:
    """Bounds of mean(top) / mean(bottom) at confidence 1 - level, from paired units.

    All q for which the mean of top - q·bottom does not differ from 0 (Fieller 1954, section 3):
    (b² - k·Vbb)·q² - 2·(ab - k·Vab)·q + (a² - k·Vaa) ≤ 0 with means a, b, k = t² and V the means'
    variances. Infinite on both sides where b does not differ from 0, since the set is then
    unbounded. Units with a value that is not finite are left out.
    """
    pairs = np.stack([np.asarray(v, dtype=np.float64).ravel() for v in (top, bottom)])
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    n = pairs.shape[1]
    if n < 2:
        return -math.inf, math.inf
    return fieller_bounds(pairs.mean(axis=1), np.cov(pairs) / n, n - 1, level)


def fieller_bounds(
    means: npt.NDArray[np.float64], cov: npt.NDArray[np.float64], df: float, level: float
) -> tuple[float, float]:
    """The same from the two means, their covariance [2, 2] and its degrees of freedom."""
    t2 = quantile(df, level) ** 2
    a, b = means
    lead = b * b - t2 * cov[1, 1]
    if not lead > 0:
        return -math.inf, math.inf
    half = a * b - t2 * cov[0, 1]
    root = math.sqrt(max(half * half - lead * (a * a - t2 * cov[0, 0]), 0.0))
    return float((half - root) / lead), float((half + root) / lead)


def beyond(found: Estimate, margin: float) -> float:
    """One-sided p of a difference larger than the margin, on the margin's side of zero.

    For a positive margin: of difference > margin; for a negative one: of difference < margin.
    """
    above = tail(found, margin)
    return above if margin > 0 else 1 - above


def outcome(found: Estimate, margin: float | None = None, level: float = 0.05) -> Outcome:
    """One word for a difference: is it inside ±margin, or does it differ from zero?

    `equivalent` comes first: a difference that surely exists and is surely smaller than the margin
    is one that the study said not to care about. Without a margin nothing is equivalent.
    """
    if margin is not None and tost(found, margin, level).equivalent:
        return "equivalent"
    if found.p <= level:
        return "higher" if found.estimate > 0 else "lower"
    return "undecided"
