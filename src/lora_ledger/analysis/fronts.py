"""Fronts in the learning-forgetting plane: what they enclose, and the area between two of them.

In: points of one arm in one block, learning (higher is better) and forgetting (lower is better).
Out: the points that no other beats, hypervolumes, areas between two arms' fronts, and their mean
over blocks with its interval. Between points a front is a staircase: nothing is interpolated, and
nothing is said of learning that only one arm reached.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .statistics import Array, Interval, Resampling, bootstrap_mean, both_finite
from .student import Estimate, over_blocks

Points = tuple[npt.ArrayLike, npt.ArrayLike]
"""Learning and forgetting, [points] each; a point with a value that is not finite is left out."""


def front(points: Points) -> tuple[Array, Array]:
    """The points that no other beats in both, by rising learning: forgetting rises too.

    Of equal points one stays.
    """
    learnt, forgotten = both_finite("front", points)
    order = np.lexsort((forgotten, -learnt))
    learnt, forgotten = learnt[order], forgotten[order]
    before = np.concatenate([[np.inf], np.minimum.accumulate(forgotten)[:-1]])[: len(learnt)]
    kept = forgotten < before
    return learnt[kept][::-1], forgotten[kept][::-1]


def hypervolume(points: Points, reference: tuple[float, float]) -> float:
    """Area that is beaten by some point and beats the reference (Zitzler & Thiele 1999).

    `reference` is the least learning and the most forgetting that count, the same for all arms; the
    area is in units of learning x forgetting. Points that do not beat it add nothing.
    """
    learnt, forgotten = front(points)
    inside = (learnt > reference[0]) & (forgotten < reference[1])
    learnt, forgotten = learnt[inside], forgotten[inside]
    widths = np.diff(np.concatenate([[reference[0]], learnt]))
    return float(widths @ (reference[1] - forgotten))


def attained(points: Points, learning: npt.ArrayLike) -> Array:
    """The least forgetting among points that learnt at least as much; nan where none did."""
    learnt, forgotten = front(points)
    at = np.searchsorted(learnt, np.asarray(learning, dtype=np.float64), side="left")
    return np.append(forgotten, np.nan)[at]


def area_between(first: Points, second: Points) -> float:
    """Mean of first less second's attained forgetting over the learning that both cover.

    Positive: the first forgets more at equal learning. The range goes from the larger of the two
    least learnings to the smaller of the two most; the staircases are integrated exactly and
    divided by its width, so that the unit is that of forgetting. nan without a common range.
    """
    fronts = [front(one) for one in (first, second)]
    if not all(len(learnt) for learnt, _ in fronts):
        return math.nan
    low = max(float(both_finite("front", one)[0].min()) for one in (first, second))
    high = min(float(learnt[-1]) for learnt, _ in fronts)
    if not low < high:
        return math.nan
    steps = np.unique(np.concatenate([[low, high], *(learnt for learnt, _ in fronts)]))
    steps = steps[(steps >= low) & (steps <= high)]
    # Between two steps both staircases have their value at the upper one.
    gaps = attained(first, steps[1:]) - attained(second, steps[1:])
    return float(np.diff(steps) @ gaps) / (high - low)


def areas(first: Sequence[Points], second: Sequence[Points]) -> Array:
    """[blocks]: `area_between` in each block; nan in one without a common range."""
    return np.array([area_between(a, b) for a, b in zip(first, second, strict=True)])


def area(first: Sequence[Points], second: Sequence[Points], confidence: float = 0.95) -> Estimate:
    """Mean area between two arms over blocks, by Student's t; `n` counts blocks with a range."""
    return over_blocks(areas(first, second), "blocks", confidence)


def resampled_area(first: Sequence[Points], second: Sequence[Points], how: Resampling) -> Interval:
    """The same with blocks drawn with replacement: too narrow for few (`coverage`)."""
    found = areas(first, second)
    return bootstrap_mean(found[np.isfinite(found)], how)


def volume(
    first: Sequence[Points],
    second: Sequence[Points],
    reference: tuple[float, float],
    confidence: float = 0.95,
) -> Estimate:
    """Mean over blocks of first less second's hypervolume, by Student's t."""
    gaps = [
        hypervolume(a, reference) - hypervolume(b, reference)
        for a, b in zip(first, second, strict=True)
    ]
    return over_blocks(gaps, "blocks", confidence)
