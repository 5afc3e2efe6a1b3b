"""Intervals and counts: bootstrap of sums' ratios, Wilson, pass@k, rarefaction.

In: arrays over the units of an evaluation (problems, documents, blocks), one row per seed if there
are several seeds.
Out: `Interval`s that name what was resampled, and plain numbers.
It reads no record and judges no claim.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
CHUNK = 4_000_000


@dataclass(frozen=True)
class Interval:
    """An estimate, its bounds, the number of units, and which units were resampled."""

    estimate: float
    low: float
    high: float
    n: int
    resampled: str
    confidence: float


@dataclass(frozen=True)
class Resampling:
    """What is resampled, how often, how wide the interval is, and the generator's seed."""

    what: str
    resamples: int = 2000
    confidence: float = 0.95
    seed: int = 0


def bootstrap_ratio(
    numer: npt.ArrayLike,
    denom: npt.ArrayLike,
    how: Resampling,
    groups: Sequence[str] | None = None,
) -> Interval:
    """Percentile interval of sum(numer) / sum(denom); units drawn with replacement.

    Shapes: [units], or [seeds, units], where the estimate is the mean of the seeds' ratios and
    units and seeds are resampled crosswise (Owen 2007, The pigeonhole bootstrap). With `groups`
    (a name per unit) whole groups are drawn (Davison & Hinkley 1997, section 3.8). Percentiles:
    Efron & Tibshirani 1993, section 13.3.
    """
    arm = _arm(numer, denom, groups)
    return _interval([arm], how)


def bootstrap_mean(
    values: npt.ArrayLike, how: Resampling, groups: Sequence[str] | None = None
) -> Interval:
    """`bootstrap_ratio` with a denominator of one for each unit."""
    return bootstrap_ratio(values, np.ones(np.shape(values)), how, groups)


def paired_ratio(
    after: tuple[npt.ArrayLike, npt.ArrayLike],
    before: tuple[npt.ArrayLike, npt.ArrayLike],
    how: Resampling,
    groups: Sequence[str] | None = None,
) -> Interval:
    """Interval of ratio(after) - ratio(before): each resample draws the same units for both.

    Both are (numer, denom) as in `bootstrap_ratio`; where only one has seeds, the other is held
    for all of them. Raises ValueError when the units differ in number.
    """
    arms = [_arm(*after, groups), _arm(*before, groups)]
    sizes = [arm[0].shape[1] for arm in arms]
    if sizes[0] != sizes[1]:
        raise ValueError(f"paired interval: found {sizes[0]} and {sizes[1]} units, expected equal")
    return _interval(arms, how)


def paired_mean(
    after: npt.ArrayLike,
    before: npt.ArrayLike,
    how: Resampling,
    groups: Sequence[str] | None = None,
) -> Interval:
    """`paired_ratio` with denominators of one."""
    return paired_ratio(
        (after, np.ones(np.shape(after))), (before, np.ones(np.shape(before))), how, groups
    )


def _arm(
    numer: npt.ArrayLike, denom: npt.ArrayLike, groups: Sequence[str] | None
) -> tuple[Array, Array]:
    """Both as [seeds, units]; units of one group become one unit, their sums."""
    top = np.atleast_2d(np.asarray(numer, dtype=np.float64))
    bottom = np.atleast_2d(np.asarray(denom, dtype=np.float64))
    if top.shape != bottom.shape:
        raise ValueError(f"ratio: found shapes {top.shape} and {bottom.shape}, expected equal ones")
    if groups is not None:
        names, place = np.unique(np.asarray(groups), return_inverse=True)
        member = np.zeros((top.shape[1], len(names)))
        member[np.arange(top.shape[1]), place] = 1.0
        top, bottom = top @ member, bottom @ member
    return top, bottom


def _interval(arms: list[tuple[Array, Array]], how: Resampling) -> Interval:
    """The first arm's mean ratio, less the second arm's if there is one."""
    units = arms[0][0].shape[1]
    seeds = max(top.shape[0] for top, _ in arms)
    if units == 0:
        return Interval(math.nan, math.nan, math.nan, 0, how.what, how.confidence)
    one = np.ones((1, units))
    estimate = float(_statistic(arms, one, np.full((1, seeds), 1 / seeds))[0])
    draws = np.concatenate(
        [_statistic(arms, weights, shares) for weights, shares in _draws(units, seeds, how)]
    )
    tail = (1 - how.confidence) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    what = how.what if seeds == 1 else f"{how.what} x seeds"
    return Interval(estimate, float(low), float(high), units, what, how.confidence)


def _statistic(arms: list[tuple[Array, Array]], weights: Array, shares: Array) -> Array:
    """[resamples] from unit weights [resamples, units] and seed shares [resamples, seeds]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = [(weights @ top.T) / (weights @ bottom.T) for top, bottom in arms]
    total = ratios[0] - ratios[1] if len(ratios) == 2 else ratios[0]
    return np.asarray((total * shares).sum(axis=1), dtype=np.float64)


def _draws(units: int, seeds: int, how: Resampling) -> Iterator[tuple[Array, Array]]:
    """Multinomial counts of units, and of seeds as shares; the same whatever the chunk's size."""
    unit_draws, seed_draws = (np.random.default_rng([how.seed, part]) for part in (0, 1))
    left, chunk = how.resamples, max(1, CHUNK // units)
    while left:
        size = min(left, chunk)
        weights = unit_draws.multinomial(units, np.full(units, 1 / units), size=size)
        shares = seed_draws.multinomial(seeds, np.full(seeds, 1 / seeds), size=size) / seeds
        yield weights.astype(np.float64), shares
        left -= size


def wilson(successes: float, n: int, confidence: float = 0.95, what: str = "items") -> Interval:
    """Score interval of one proportion (Wilson 1927); it does not shrink to nothing at 0 or n."""
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0, what, confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(share, low, high, n, what, confidence)


def pass_at_k(n: int, c: int, k: int) -> float:
    """1 - C(n-c, k) / C(n, k), unbiased from n samples of which c pass (Chen et al. 2021, eq. 1).

    Whole numbers up to one division, so nothing cancels.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@k: found n={n}, c={c}, k={k}, expected 0 <= c <= n and 1 <= k <= n")
    every = math.comb(n, k)
    return (every - math.comb(n - c, k)) / every


def expected_distinct(multiplicities: Sequence[int], m: int) -> float:
    """Distinct kinds expected among m of N drawn without replacement: sum 1 - C(N-N_i,m)/C(N,m).

    `multiplicities` are the N_i (Hurlbert 1971, The nonconcept of species diversity, eq. 9).
    Raises ValueError when m exceeds N.
    """
    total = sum(multiplicities)
    if not 0 <= m <= total:
        raise ValueError(f"rarefaction: found m={m}, expected 0 to {total}, the number of samples")
    every = math.comb(total, m)
    return sum(every - math.comb(total - part, m) for part in multiplicities) / every
