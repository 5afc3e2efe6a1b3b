"""Steps in weight space: a matrix's first intruder dimension, and random updates of a given norm.

In: a matrix before and after training, or a shape, a norm and a generator. Out: directions and
updates as arrays. It changes no matrix.
Shuttleworth et al. 2025 (section 5) take W + (λ − 1) σ_i u_i v_iᵀ with i the largest intruder of W
= W₀ + ΔW, and hold it against the same for a neighbour that is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .decomposition import Array, dense
from .intruders import similarities

Pair = tuple[Array, Array]


@dataclass(frozen=True)
class Intruder:
    """σ_i, (u_i, v_i), and the vectors of the neighbour; None where no direction is one."""

    value: float
    vectors: Pair
    neighbour: Pair | None


def first_intruder(base: Array, tuned: Array, k: int, epsilon: float) -> Intruder | None:
    """The intruder with the largest singular value among the first k, by left vectors; None
    without one.

    Its neighbour is the nearest place that is no intruder, of two the one with the larger value.
    """
    new = dense(tuned)
    like = similarities(new.left, dense(base).left)
    found = np.flatnonzero(like[:k] < epsilon)
    if not len(found):
        return None
    place = int(found[0])
    others = np.flatnonzero(like >= epsilon)
    beside = int(others[np.argmin(np.abs(others - place))]) if len(others) else None

    def pair(i: int) -> Pair:
        return new.left[:, i], new.right[i]

    return Intruder(float(new.values[place]), pair(place), None if beside is None else pair(beside))


def random_pair(rows: int, columns: int, draw: np.random.Generator) -> Pair:
    """Two unit vectors in random directions."""
    left, right = draw.standard_normal(rows), draw.standard_normal(columns)
    return left / np.linalg.norm(left), right / np.linalg.norm(right)


def random_update(
    shape: tuple[int, ...], norm: float, rank: int | None, draw: np.random.Generator
) -> Any:
    """A Gaussian array of this Frobenius norm in fp32; a matrix of `rank` is the product of two
    thin Gaussian ones, None is a full one."""
    if rank is None or len(shape) != 2:
        drawn = draw.standard_normal(shape, dtype=np.float32)
    else:
        up = draw.standard_normal((shape[0], rank), dtype=np.float32)
        drawn = up @ draw.standard_normal((rank, shape[1]), dtype=np.float32)
    return drawn * np.float32(norm / size(drawn))


def size(array: Any) -> float:
    """The Frobenius norm, summed in fp64."""
    return float(np.sqrt(np.sum(np.square(array, dtype=np.float64))))
