"""Do two quantities go together, and do they still within groups? Spearman over runs.

In: two values for each measurement, the run that it comes from, and a group such as the rank.
Out: rank correlations with interval and p, overall, within groups and across them.
What comes from one run (its λ, its budgets, its checkpoints, its rates read off one schedule) is
one unit, its mean: a hundred readings of six runs are six. It draws no cause.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from .statistics import Array

PERMUTATIONS = 4999
LEAST = 5
"""Runs without which there is no interval: the variance has n - 3 below the line."""


@dataclass(frozen=True)
class Association:
    """Spearman's ρ over `n` runs in `groups` groups; two-sided p by permutation."""

    rho: float
    low: float
    high: float
    p: float
    n: int
    groups: int
    confidence: float


def by_run(values: npt.ArrayLike, runs: Sequence[Hashable]) -> tuple[list[Hashable], Array]:
    """The mean of each run's values, runs in the order in which they first come."""
    given = np.asarray(values, dtype=np.float64)
    if len(given) != len(runs):
        raise ValueError(f"runs: found {len(runs)} names, expected one for each of {len(given)}")
    names = list(dict.fromkeys(runs))
    place = {name: at for at, name in enumerate(names)}
    at = np.array([place[run] for run in runs], dtype=np.intp)
    counts = np.bincount(at, minlength=len(names))
    return names, np.bincount(at, weights=given, minlength=len(names)) / counts


def spearman(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    runs: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Association:
    """Over all runs, whatever their group. Shapes [measurements].

    Interval: Fisher's z with variance (1 + ρ²/2) / (n - 3) (Bonett & Wright 2000, section 3), of a
    ρ that is at most what one exchange of neighbours leaves, 1 - 12/(n(n² - 1)), since at 1 it
    would have no width. p: share of `PERMUTATIONS` orders, the observed one counted, that are as
    far from 0. nan with fewer than `LEAST` runs, or where one side does not vary.
    """
    return _pooled([_runs(x, y, runs)], confidence, seed)


def within(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    groups: Sequence[Hashable],
    runs: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Association:
    """The mean of the groups' correlations in Fisher's z, weighted by runs - 3.

    What is left once groups (ranks, settings) are held: a group that has fewer than `LEAST` runs or
    does not vary says nothing. Orders are permuted within groups. Raises ValueError where a run is
    in two groups.
    """
    parts = [_runs(*part) for part in _split(x, y, groups, runs)]
    return _pooled(parts, confidence, seed)


def across(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    groups: Sequence[Hashable],
    runs: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Association:
    """Of the groups' means, each group one unit."""
    parts = [_runs(*part) for part in _split(x, y, groups, runs)]
    means = np.array([[one.mean() for one in part] for part in parts])
    return _pooled([(means[:, 0], means[:, 1])], confidence, seed)


def reverses(overall: Association, inside: Association) -> bool:
    """Simpson's paradox (1951): overall and within groups have opposite signs, neither by chance.

    By chance: an interval that holds 0. Overall alone then says nothing about a run of one group.
    """
    sure = all(one.low > 0 or one.high < 0 for one in (overall, inside))
    return sure and overall.rho * inside.rho < 0


Pair = tuple[Array, Array]


def _runs(x: npt.ArrayLike, y: npt.ArrayLike, runs: Sequence[Hashable] | None) -> Pair:
    one, two = (np.asarray(v, dtype=np.float64) for v in (x, y))
    if one.shape != two.shape or one.ndim != 1:
        raise ValueError(f"association: found shapes {one.shape} and {two.shape}, expected equal")
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise ValueError("association: found a value that is not finite, expected lost runs out")
    if runs is None:
        return one, two
    return by_run(one, runs)[1], by_run(two, runs)[1]


def _split(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    groups: Sequence[Hashable],
    runs: Sequence[Hashable] | None,
) -> list[tuple[Array, Array, list[Hashable]]]:
    one, two = (np.asarray(v, dtype=np.float64) for v in (x, y))
    names = list(range(len(groups))) if runs is None else list(runs)
    if not len(one) == len(two) == len(groups) == len(names):
        raise ValueError(
            f"groups: found {len(groups)} groups, {len(names)} runs, {len(one)} and {len(two)} "
            "values, expected equal numbers"
        )
    home: dict[Hashable, Hashable] = {}
    for name, group in zip(names, groups, strict=True):
        if home.setdefault(name, group) != group:
            raise ValueError(f"groups: found run {name} in {home[name]} and {group}, expected one")
    found = []
    for group in dict.fromkeys(groups):
        pick = [at for at, other in enumerate(groups) if other == group]
        found.append((one[pick], two[pick], [names[at] for at in pick]))
    return found


def _pooled(parts: Sequence[Pair], confidence: float, seed: int) -> Association:
    ranks = [tuple(_standard(stats.rankdata(v)) for v in part) for part in parts]
    usable = [(a, b) for a, b in ranks if len(a) >= LEAST and a.any() and b.any()]
    n = sum(len(a) for a, _ in usable)
    if not usable:
        total, nan = sum(len(a) for a, _ in parts), math.nan
        return Association(nan, nan, nan, nan, total, len(parts), confidence)
    sizes = np.array([len(a) for a, _ in usable], dtype=np.float64)
    weights = (sizes - 3) / (sizes - 3).sum()
    rhos = np.array([float(a @ b) for a, b in usable])
    centre = float(weights @ _z(rhos, sizes))
    rho = float(rhos[0]) if len(usable) == 1 else math.tanh(centre)
    variance = (1 + min(rho * rho, 1.0) / 2) / float((sizes - 3).sum())
    half = float(special.ndtri((1 + confidence) / 2)) * math.sqrt(variance)
    draws = np.random.default_rng([seed, 2])
    shuffled = np.zeros(PERMUTATIONS)
    for (a, b), size, weight in zip(usable, sizes, weights, strict=True):
        orders = draws.permuted(np.tile(b, (PERMUTATIONS, 1)), axis=1)
        shuffled += weight * _z(orders @ a, size)
    extreme = int((np.abs(shuffled) >= abs(centre) - 1e-9).sum())
    return Association(
        rho,
        -1.0 if rho <= -1 + 1e-12 else math.tanh(centre - half),
        1.0 if rho >= 1 - 1e-12 else math.tanh(centre + half),
        (extreme + 1) / (PERMUTATIONS + 1),
        n,
        len(usable),
        confidence,
    )


def _standard(ranks: Array) -> Array:
    """Centred ranks of length 1, so that a product is a correlation; zeros where all are equal."""
    off = ranks - ranks.mean()
    norm = float(np.sqrt(off @ off))
    return np.asarray(off / norm if norm > 0 else off, dtype=np.float64)


def _z(rhos: Array, sizes: Array | float) -> Array:
    most = 1 - 12 / (sizes * (np.square(sizes) - 1))
    return np.asarray(np.arctanh(np.clip(rhos, -most, most)), dtype=np.float64)
