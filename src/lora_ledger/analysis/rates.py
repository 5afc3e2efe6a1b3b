"""Where is the best learning rate, and how wide is the valley?

In: final losses [seeds, rates] over a grid of rates; inf is a run that diverged, nan one that was
not made.
Out: the optimum of a parabola in log rate with its interval, ratios of two optima, counts of rates
near the best, and losses at a rate that other seeds chose. It extends no grid and trains nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .equivalence import fieller_bounds
from .statistics import Array, Resampling
from .student import quantile

By = Literal["seeds", "pooled", "resampled"]
"""How an optimum's interval comes about (`optimum`)."""
WINDOW = 2
"""Rates on each side of the best that the parabola is fitted to: a valley is one near its floor."""


@dataclass(frozen=True)
class Valley:
    """Parabolas [3, seeds], c + b·u + a·u² with u = log10(rate / centre), rows a, b, c.

    `design` is [points, 3]; `on_edge`: the best rate has no measured one beyond it.
    """

    parabolas: Array
    residuals: Array
    design: Array
    centre: float
    on_edge: bool


@dataclass(frozen=True)
class Optimum:
    """The rate of least loss and its bounds; nan where no parabola has its floor among the rates.

    Bounds are 0 and infinity where the curvature is not surely positive. `points` of the grid were
    fitted. An optimum on the edge is none: the grid must be extended.
    """

    rate: float
    low: float
    high: float
    on_edge: bool
    points: int
    seeds: int
    confidence: float


def valley(losses: npt.ArrayLike, rates: npt.ArrayLike, window: int = WINDOW) -> Valley | None:
    """Least squares of each seed's losses on log rate and its square, around the best rate.

    Shapes [seeds, rates] and [rates], ascending. The best rate is that of the least mean loss among
    rates at which every seed has a finite one; fitted are such rates at most `window` steps away.
    It is on the edge where it is the first or last, or its neighbour was not made; beside a rate
    that diverged it is not. None with fewer than three rates to fit. Raises ValueError for other
    shapes and rates that do not rise.
    """
    given, grid = np.asarray(losses, dtype=np.float64), np.asarray(rates, dtype=np.float64)
    if given.ndim != 2 or given.shape[1:] != grid.shape:
        raise ValueError(
            f"rates: found losses {given.shape} and rates {grid.shape}, expected [seeds, rates] "
            "and [rates]"
        )
    if not (np.diff(grid) > 0).all() or not (grid > 0).all():
        raise ValueError(f"rates: found {grid.tolist()}, expected positive and rising ones")
    whole = np.isfinite(given).all(axis=0)
    if not whole.any():
        return None
    best = int(np.argmin(np.where(whole, given.mean(axis=0), np.inf)))
    beside = (best - 1, best + 1)
    edge = any(not 0 <= at < len(grid) or np.isnan(given[:, at]).all() for at in beside)
    near = np.flatnonzero(whole & (np.abs(np.arange(len(grid)) - best) <= window))
    if len(near) < 3:
        return None
    u = np.log10(grid[near] / grid[best])
    design = np.stack([u * u, u, np.ones(len(u))], axis=1)
    solved = np.asarray(np.linalg.pinv(design), dtype=np.float64) @ given[:, near].T
    residuals = given[:, near] - (design @ solved).T
    return Valley(solved, residuals, design, float(grid[best]), edge)


def optimum(
    losses: npt.ArrayLike,
    rates: npt.ArrayLike,
    by: By = "seeds",
    how: Resampling | None = None,
    window: int = WINDOW,
) -> Optimum:
    """The floor of the mean parabola, u = -b / 2a, and its interval.

    `seeds`: Fieller's (1954), all u at which the seeds' slopes b + 2a·u do not differ from 0 by the
    one-sample t; seeds - 1 degrees of freedom, and seeds may have optima of their own. `pooled`:
    Fieller's with one residual about seeds' means and a common parabola, seeds·(points - 1) - 2
    degrees of freedom; assumes one optimum for all seeds. `resampled`: percentiles over seeds
    drawn with replacement. `how` gives confidence, resamples and the generator's seed.
    """
    how = how or Resampling("seeds")
    given = valley(losses, rates, window)
    seeds = np.shape(losses)[0]
    if given is None:
        edge = bool(np.isfinite(np.asarray(losses, dtype=np.float64)).any())
        return Optimum(math.nan, 0.0, math.inf, edge, 0, seeds, how.confidence)
    at, inside = _floor(given)
    if not inside:
        low, high = -math.inf, math.inf
    elif by == "resampled":
        low, high = _percentiles(_resampled(given, how), how)
    else:
        low, high = _fieller(given, by, 1 - how.confidence)
    return Optimum(
        given.centre * 10**at if inside else math.nan,
        0.0 if low == -math.inf else given.centre * 10**low,
        math.inf if high == math.inf else given.centre * 10**high,
        given.on_edge,
        len(given.design),
        seeds,
        how.confidence,
    )


def _floor(given: Valley) -> tuple[float, bool]:
    """The mean parabola's floor in u, and whether it is one and lies among the rates."""
    a, b, _ = given.parabolas.mean(axis=1)
    if not a > 0:
        return math.nan, False
    at, u = float(-b / (2 * a)), given.design[:, 1]
    return at, bool(u.min() <= at <= u.max())


def _fieller(given: Valley, by: By, level: float) -> tuple[float, float]:
    """Bounds of -b / 2a in u."""
    a, b, _ = given.parabolas
    seeds, points = given.residuals.shape
    means = np.array([-b.mean(), 2 * a.mean()])
    if by == "seeds":
        if seeds < 2:
            return -math.inf, math.inf
        return fieller_bounds(means, np.cov(np.stack([-b, 2 * a])) / seeds, seeds - 1, level)
    df = seeds * (points - 1) - 2
    if df < 1:
        return -math.inf, math.inf
    curves = given.residuals + (given.design @ given.parabolas).T
    left = curves - curves.mean(axis=1, keepdims=True)
    common = given.design @ given.parabolas.mean(axis=1)
    left = left - (common - common.mean())
    square = float((left**2).sum()) / df
    unscaled = np.linalg.inv(given.design.T @ given.design)[:2, :2] * square / seeds
    turn = np.array([[0.0, -1.0], [2.0, 0.0]])
    return fieller_bounds(means, turn @ unscaled @ turn.T, df, level)


def _resampled(given: Valley, how: Resampling) -> Array:
    """[resamples]: floors of mean parabolas over drawn seeds; nan where one has none."""
    seeds = given.parabolas.shape[1]
    draws = np.random.default_rng([how.seed, 1]).multinomial(
        seeds, np.full(seeds, 1 / seeds), size=how.resamples
    )
    a, b, _ = given.parabolas @ draws.T / seeds
    return np.where(a > 0, -b / (2 * np.where(a > 0, a, 1.0)), np.nan)


def _percentiles(draws: Array, how: Resampling) -> tuple[float, float]:
    """Unbounded where any resample has no floor."""
    if np.isnan(draws).any():
        return -math.inf, math.inf
    tail = (1 - how.confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Ratio:
    """One optimum over another, with bounds; nan where either has none."""

    ratio: float
    low: float
    high: float
    confidence: float


def ratio(first: Optimum, second: Optimum) -> Ratio:
    """first / second with the bounds of both put together in the logarithm.

    With difference d of the logs and each one's distances to its bounds: d - √((l₁)² + (u₂)²) to
    d + √((u₁)² + (l₂)²) (variance estimates recovered, Zou & Donner 2008, equation 3). The two are
    taken as independent; arms that share seeds go up and down together, so that the true interval
    is if anything narrower. Raises ValueError where the confidences differ.
    """
    if first.confidence != second.confidence:
        raise ValueError(
            f"ratio of optima: found confidences {first.confidence} and {second.confidence}, "
            "expected one"
        )
    logs = [_logs(one) for one in (first, second)]
    (at, below, above), (other, other_below, other_above) = logs
    centre = at - other
    low = centre - math.hypot(at - below, other_above - other)
    high = centre + math.hypot(above - at, other - other_below)
    if math.isnan(centre):
        return Ratio(math.nan, 0.0, math.inf, first.confidence)
    return Ratio(10**centre, 10**low, 10**high, first.confidence)


def _logs(one: Optimum) -> tuple[float, float, float]:
    low = math.log10(one.low) if one.low > 0 else -math.inf
    high = math.log10(one.high) if one.high < math.inf else math.inf
    return math.log10(one.rate) if one.rate > 0 else math.nan, low, high


def paired_ratio(
    first: tuple[npt.ArrayLike, npt.ArrayLike],
    second: tuple[npt.ArrayLike, npt.ArrayLike],
    how: Resampling | None = None,
    window: int = WINDOW,
) -> Ratio:
    """The same from (losses, rates) of two arms with the same seeds, by Student's t over seeds.

    To first order seed s moves the log of an optimum by ψ = -(b + 2a·u) / 2ā at the mean's floor u
    (the delta method); the t is that of the differences of the two arms' ψ, seeds - 1 degrees of
    freedom. Unbounded with one seed. Raises ValueError where the seeds differ in number.
    """
    how = how or Resampling("seeds")
    sizes = [np.shape(losses)[0] for losses, _ in (first, second)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"paired optima: found {sizes[0]} and {sizes[1]} seeds, expected equal")
    logs, moved = [], []
    for losses, rates in (first, second):
        given = valley(losses, rates, window)
        at, inside = (math.nan, False) if given is None else _floor(given)
        if given is None or not inside:
            return Ratio(math.nan, 0.0, math.inf, how.confidence)
        a, b, _ = given.parabolas
        moved.append(-(b + 2 * a * at) / (2 * a.mean()))
        logs.append(math.log10(given.centre) + at)
    centre = logs[0] - logs[1]
    if sizes[0] < 2:
        return Ratio(10**centre, 0.0, math.inf, how.confidence)
    spread = float(np.std(moved[0] - moved[1], ddof=1)) / math.sqrt(sizes[0])
    half = quantile(sizes[0] - 1, 1 - how.confidence) * spread
    return Ratio(10**centre, 10 ** (centre - half), 10 ** (centre + half), how.confidence)


def near_best(losses: npt.ArrayLike, start: npt.ArrayLike, share: float = 0.1) -> Array:
    """[seeds]: rates whose gain is within `share` of the seed's best gain, that one counted.

    Gain is start less final loss; `start` is the untrained loss, one number or one a seed. A rate
    that diverged or was not made has none; a seed that gains nowhere is nan. The count depends on
    the grid's spacing: arms are compared on one spacing.
    """
    given = np.asarray(losses, dtype=np.float64)
    before = np.broadcast_to(np.asarray(start, dtype=np.float64), len(given))
    gains = np.where(np.isfinite(given), before[:, None] - given, -np.inf)
    best = gains.max(axis=1)
    counts = (gains >= (1 - share) * best[:, None]).sum(axis=1)
    return np.where(best > 0, counts, np.nan)


def chosen_elsewhere(losses: npt.ArrayLike) -> Array:
    """[seeds]: each seed's loss at the rate that is best on the mean of the others.

    The least loss over rates is too low by what chance gave it, the more the more rates there are;
    a rate chosen on other seeds is not. Only rates at which every seed is finite can be chosen.
    Raises ValueError with fewer than two seeds; nan where no rate can be chosen.
    """
    given = np.asarray(losses, dtype=np.float64)
    if given.ndim != 2 or len(given) < 2:
        raise ValueError(f"rates: found shape {given.shape}, expected [seeds, rates], two seeds")
    whole = np.isfinite(given).all(axis=0)
    if not whole.any():
        return np.full(len(given), np.nan)
    finite = np.where(whole, given, 0.0)
    others = np.where(whole, (finite.sum(axis=0) - finite) / (len(given) - 1), np.inf)
    return np.asarray(given[np.arange(len(given)), others.argmin(axis=1)], dtype=np.float64)
