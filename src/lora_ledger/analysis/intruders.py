"""Intruder dimensions: singular vectors of tuned weights that are like none of the base's.

In: singular vectors of W₀ + ΔW and of W₀. Out: how like each tuned one is to the nearest of the
base's, counts, and what chance gives. It decomposes nothing.
Shuttleworth et al. 2025 (section 3, algorithm 1): the j-th singular vector y of the tuned weights
is an intruder when max_i |cos(y, x_i)| < ε over all singular vectors x_i of the base; counted among
the k of the largest singular values. They take left vectors, k = 10 and ε = 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from .decomposition import Array

GRID = 200_001


def similarities(tuned: Array, base: Array) -> Array:
    """max_i |cos| of each column of `tuned` with those of `base`; columns are unit vectors."""
    found: Array = np.max(np.abs(base.T @ tuned), axis=0)
    return found


def count(found: Array, k: int, epsilon: float) -> int:
    """The intruders among the first k."""
    return int(np.sum(found[:k] < epsilon))


def curve(found: Array, numbers: Sequence[int], epsilons: Sequence[float]) -> list[list[int]]:
    """The count for each k, and in it for each ε."""
    return [[count(found, k, epsilon) for epsilon in epsilons] for k in numbers]


def of_share(share: float, directions: int) -> int:
    """k as a share of the directions, rounded up."""
    return max(1, math.ceil(share * directions - 1e-9))


@cache
def chance(dimension: int, vectors: int, quantile: float) -> float:
    """The quantile of max_i |cos| of a random direction with `vectors` orthonormal ones.

    One |cos| has the density (1 − t²)^((d − 3) / 2) on [0, 1]; the maximum is taken as that of
    independent ones, which is right but for terms of 1 / d.
    """
    # In the angle from the equator the density is cos^(d − 2), smooth everywhere.
    angle = np.linspace(0.0, np.pi / 2, GRID)
    density = np.cos(angle) ** (dimension - 2)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    place = np.interp(quantile ** (1 / vectors), below / below[-1], angle)
    return float(np.sin(place))
