"""Intervals and counts: bootstrap of sums' ratios and of their mean over strata, Wilson, pass@k,
rarefaction.

In: arrays over the units of an evaluation (problems, documents, blocks), one row per seed if there
are several seeds.
Out: `Interval`s that name what was resampled, and plain numbers.
It reads no record and judges no claim.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Arm = tuple[Array, Array]
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
    """What is resampled, how often, how wide the interval is, and the generator's seed.

    `blocks`: a name for each seed, where several may share what they went out from, such as a base
    model. Then blocks are drawn in the place of seeds, all seeds of one together, and the estimate
    is the mean over the blocks of the means within them.
    """

    what: str
    resamples: int = 2000
    confidence: float = 0.95
    seed: int = 0
    blocks: tuple[str, ...] = ()


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
    return _interval([[_arm(numer, denom, groups)]], how)


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
    return _interval([_pair(after, before, groups)], how)


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


def stratified_ratio(
    numer: npt.ArrayLike,
    denom: npt.ArrayLike,
    strata: Sequence[str],
    how: Resampling,
    groups: Sequence[str] | None = None,
) -> Interval:
    """Interval of the unweighted mean over H strata of sum(numer) / sum(denom) within each.

    `strata` names each unit's stratum; shapes and `groups` are as in `bootstrap_ratio`, a group
    counting once in each stratum. Each resample draws from every stratum as many units as it has,
    apart from the others (Davison & Hinkley 1997, section 3.2), so that for means the variance is
    that of a stratified sample with weights 1/H, sum_h s_h^2 / n_h / H^2 (Cochran 1977, chapter
    5). Seeds are drawn once for all strata and crossed with the units.
    """
    picks = _strata(strata, np.shape(numer)[-1])
    return _interval([[_arm(*_of((numer, denom), groups, pick))] for pick in picks], how)


def paired_stratified_ratio(
    after: tuple[npt.ArrayLike, npt.ArrayLike],
    before: tuple[npt.ArrayLike, npt.ArrayLike],
    strata: Sequence[str],
    how: Resampling,
    groups: Sequence[str] | None = None,
) -> Interval:
    """`stratified_ratio` of after less before: each resample draws the same units for both.

    Raises ValueError when the units differ in number.
    """
    sizes = [np.shape(numer)[-1] for numer, _ in (after, before)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"paired interval: found {sizes[0]} and {sizes[1]} units, expected equal")
    parts = []
    for pick in _strata(strata, sizes[0]):
        top, bottom, mine = _of(after, groups, pick)
        parts.append(_pair((top, bottom), _of(before, groups, pick)[:2], mine))
    return _interval(parts, how)


def _strata(names: Sequence[str], units: int) -> list[npt.NDArray[np.intp]]:
    """The places of each stratum's units, strata in the order in which they first come."""
    if len(names) != units:
        raise ValueError(f"strata: found {len(names)} names, expected one for each of {units}")
    all_names = np.asarray(names)
    return [np.flatnonzero(all_names == name) for name in dict.fromkeys(names)]


def _of(
    ratio: tuple[npt.ArrayLike, npt.ArrayLike],
    groups: Sequence[str] | None,
    pick: npt.NDArray[np.intp],
) -> tuple[Array, Array, Sequence[str] | None]:
    """The picked units of numerator, denominator and groups."""
    top, bottom = (np.asarray(part, dtype=np.float64)[..., pick] for part in ratio)
    return top, bottom, None if groups is None else [groups[i] for i in pick]


def _pair(
    after: tuple[npt.ArrayLike, npt.ArrayLike],
    before: tuple[npt.ArrayLike, npt.ArrayLike],
    groups: Sequence[str] | None,
) -> list[Arm]:
    arms = [_arm(*after, groups), _arm(*before, groups)]
    sizes = [arm[0].shape[1] for arm in arms]
    if sizes[0] != sizes[1]:
        raise ValueError(f"paired interval: found {sizes[0]} and {sizes[1]} units, expected equal")
    return arms


def _arm(numer: npt.ArrayLike, denom: npt.ArrayLike, groups: Sequence[str] | None) -> Arm:
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


def _interval(parts: list[list[Arm]], how: Resampling) -> Interval:
    """The mean over parts of the first arm's mean ratio, less the second arm's if there is one."""
    sizes = [part[0][0].shape[1] for part in parts]
    if not all(sizes) or not sizes:
        return Interval(math.nan, math.nan, math.nan, 0, how.what, how.confidence)
    seeds = max(top.shape[0] for part in parts for top, _ in part)
    ones = [np.ones((1, size)) for size in sizes]
    member = _members(how.blocks or tuple(map(str, range(seeds))), seeds)
    shares = np.full((1, len(member)), 1 / len(member)) @ member
    estimate = float(_statistic(parts, ones, shares)[0])
    draws = np.concatenate(
        [_statistic(parts, weights, shares) for weights, shares in _draws(sizes, member, how)]
    )
    tail = (1 - how.confidence) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    crossed = "bases" if how.blocks else "seeds"
    what = how.what if seeds == 1 else f"{how.what} x {crossed}"
    return Interval(estimate, float(low), float(high), sum(sizes), what, how.confidence)


def _statistic(parts: list[list[Arm]], weights: list[Array], shares: Array) -> Array:
    """[resamples] from each part's unit weights [resamples, units] and the seeds' shares."""
    total: Array | float = 0.0
    for arms, drawn in zip(parts, weights, strict=True):
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = [(drawn @ top.T) / (drawn @ bottom.T) for top, bottom in arms]
        total = total + (ratios[0] - ratios[1] if len(ratios) == 2 else ratios[0])
    return np.asarray((total / len(parts) * shares).sum(axis=1), dtype=np.float64)


def _members(blocks: Sequence[str], seeds: int) -> Array:
    """[blocks, seeds]: the share of each seed in the mean of its block."""
    if len(blocks) != seeds:
        raise ValueError(f"blocks: found {len(blocks)} names, expected one for each of {seeds}")
    names = list(dict.fromkeys(blocks))
    member: Array = np.zeros((len(names), seeds))
    member[[names.index(name) for name in blocks], range(seeds)] = 1.0
    member /= member.sum(axis=1, keepdims=True)
    return member


def _draws(sizes: list[int], member: Array, how: Resampling) -> Iterator[tuple[list[Array], Array]]:
    """Multinomial counts of each part's units, and of seeds as shares, in chunks of resamples."""
    blocks = len(member)
    counts = [_counts(units, how.resamples, how.seed, part) for part, units in enumerate(sizes)]
    seed_draws = np.random.default_rng([how.seed, 1])
    chunk = max(1, CHUNK // sum(sizes))
    for start in range(0, how.resamples, chunk):
        weights = [drawn[start : start + chunk].astype(np.float64) for drawn in counts]
        size = len(weights[0])
        drawn = seed_draws.multinomial(blocks, np.full(blocks, 1 / blocks), size=size)
        yield weights, (drawn / blocks) @ member


@lru_cache(maxsize=8)
def _counts(units: int, resamples: int, seed: int, part: int) -> npt.NDArray[np.unsignedinteger]:
    """[resamples, units]; each part has a generator of its own.

    Kept, since the rows of a table draw from the same units: 40 MB for 10,000 units.
    """
    draws = np.random.default_rng([seed, 0, part])
    counts = np.empty((resamples, units), dtype=np.min_scalar_type(units))
    chunk = max(1, CHUNK // units)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        counts[start : start + size] = draws.multinomial(
            units, np.full(units, 1 / units), size=size
        )
    counts.setflags(write=False)
    return counts


def both_finite(what: str, pair: tuple[npt.ArrayLike, npt.ArrayLike]) -> tuple[Array, Array]:
    """Two lists of values that go together, shapes [points], without the points at which either is
    not finite. Raises ValueError, which calls them `what`, where their numbers differ."""
    first, second = (np.asarray(v, dtype=np.float64).ravel() for v in pair)
    if len(first) != len(second):
        raise ValueError(
            f"{what}: found {len(first)} and {len(second)} values, expected equal numbers"
        )
    there = np.isfinite(first) & np.isfinite(second)
    return first[there], second[there]


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
