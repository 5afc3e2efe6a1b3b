"""How alike two subspaces are, and what an update amplifies; each with what chance gives.

In: orthonormal vectors, the update's decomposition, the base's matrix. Out: φ and amplification, as
Hu et al. 2021 (sections 7.2, 7.3, appendix G) define them. It decomposes nothing.
"""

from __future__ import annotations

import math

import numpy as np

from .decomposition import Array, Decomposition


def overlap(first: Array, second: Array) -> Array:
    """φ(i, j) = ‖U_iᵀ V_j‖_F² / min(i, j) for the first i columns and the first j, at [i-1, j-1].

    1 where the smaller space lies in the larger, 0 where they are orthogonal.
    """
    squares = np.square(first.T.astype(np.float64) @ second.astype(np.float64))
    sums = np.cumsum(np.cumsum(squares, axis=0), axis=1)
    i, j = np.indices(sums.shape) + 1
    found: Array = sums / np.minimum(i, j)
    return found


def random_overlap(i: int, j: int, dimension: int) -> float:
    """The mean of φ(i, j) over random subspaces: max(i, j) / dimension."""
    return max(i, j) / dimension


def amplification(update: Decomposition, base: Array) -> dict[str, float]:
    """How much larger the update is than the base in the update's own directions.

    `projected` is ‖Uᵀ W₀ V‖_F, `factor` the update's norm in these directions over it, and
    `over_random` how many times `projected` is what random directions have (`random`, the root of
    the mean square: r ‖W₀‖_F / √(rows · columns)). The factor falls with r by itself.
    """
    r = len(update.values)
    inside = update.left.T @ base @ update.right.T
    projected, norm = float(np.linalg.norm(inside)), float(np.linalg.norm(base))
    random = r * norm / math.sqrt(base.size)
    return {
        "projected": projected,
        "random": random,
        "factor": float(np.linalg.norm(update.values)) / projected if projected else math.inf,
        "over_random": projected / random if random else math.inf,
    }
