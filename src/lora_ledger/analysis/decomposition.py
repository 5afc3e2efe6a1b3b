"""Singular value decompositions of dense matrices and of products of thin ones, in fp64.

In: numpy arrays. Out: thin decompositions, values from the largest. A dense matrix goes through the
eigenvectors of its smaller Gram matrix, which is several times faster than LAPACK's own SVD and, in
fp64, exact to 1e-8 of the largest value; where a matrix is too near to a singular one for its
vectors to come out so, LAPACK's is taken. A product U V of thin factors is never made: the QR of
both leaves a problem as small as the rank. It measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SMALLEST = 1e-5
"""Least over largest singular value, above which vectors through the Gram matrix are orthogonal to
1e-6: what is lost is the machine's epsilon over its square."""


@dataclass(frozen=True)
class Decomposition:
    """A = left · diag(values) · right: `left` (rows, p), `values` (p,), `right` (p, columns)."""

    left: Array
    values: Array
    right: Array

    def top(self, number: int) -> Decomposition:
        """The directions of the largest values."""
        return Decomposition(self.left[:, :number], self.values[:number], self.right[:number])


def dense(matrix: Array) -> Decomposition:
    """All min(rows, columns) directions."""
    values, right, left = _through_gram(matrix)
    if values[-1] <= SMALLEST * values[0]:
        return Decomposition(*np.linalg.svd(matrix.astype(np.float64), full_matrices=False))
    return Decomposition(left / values, values, right.T)


def leading(matrix: Array, number: int) -> tuple[Array, Decomposition]:
    """All singular values, and the directions of the `number` largest that are not 0.

    Values below 1e-8 of the largest are rounding.
    """
    values, right, left = _through_gram(matrix)
    kept = min(number, int(np.sum(values > SMALLEST * values[0])))
    top = Decomposition(left[:, :kept] / values[:kept], values[:kept], right[:, :kept].T)
    return values, top


def _through_gram(matrix: Array) -> tuple[Array, Array, Array]:
    """(values, right vectors as columns, left vectors times their values)."""
    wide = matrix.shape[0] < matrix.shape[1]
    tall = (matrix.T if wide else matrix).astype(np.float64)
    squares, vectors = np.linalg.eigh(tall.T @ tall)
    vectors = vectors[:, ::-1]
    values = np.sqrt(np.maximum(squares[::-1], 0.0))
    images = tall @ vectors
    if not wide:
        return values, vectors, images
    # A = (tall)ᵀ: what was right is left.
    safe = np.where(values > 0, values, 1.0)
    return values, images / safe, vectors * values


def singular_values(matrix: Array) -> Array:
    """All singular values, without vectors."""
    wide = matrix.shape[0] < matrix.shape[1]
    tall = (matrix.T if wide else matrix).astype(np.float64)
    found: Array = np.sqrt(np.maximum(np.linalg.eigvalsh(tall.T @ tall)[::-1], 0.0))
    return found


def of_product(up: Array, down: Array) -> Decomposition:
    """The directions of up · down, of shapes (rows, r) and (r, columns): r of them at most."""
    q_up, r_up = np.linalg.qr(up.astype(np.float64))
    q_down, r_down = np.linalg.qr(down.T.astype(np.float64))
    left, values, right = np.linalg.svd(r_up @ r_down.T)
    p = min(len(values), *left.shape, *right.shape)
    return Decomposition(q_up @ left[:, :p], values[:p], right[:p] @ q_down.T)
