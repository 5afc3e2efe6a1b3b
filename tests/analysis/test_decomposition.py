"""Decompositions against LAPACK's in fp64."""

from __future__ import annotations

import numpy as np
import pytest

from lora_ledger.analysis.decomposition import (
    Decomposition,
    dense,
    leading,
    of_product,
    singular_values,
)

SHAPES = [(48, 48), (120, 36), (36, 120)]


def product(found: Decomposition) -> np.ndarray:
    return (found.left * found.values) @ found.right


def near(found: Decomposition, matrix: np.ndarray) -> None:
    """Values as numpy's, vectors orthonormal, and the product the matrix."""
    expected = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    p = len(found.values)
    np.testing.assert_allclose(found.values, expected[:p], atol=1e-8 * expected[0])
    np.testing.assert_allclose(found.left.T @ found.left, np.eye(p), atol=1e-6)
    np.testing.assert_allclose(found.right @ found.right.T, np.eye(p), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [36, 5])
def test_dense_is_lapack(shape: tuple[int, int], rank: int) -> None:
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    matrix = matrix.astype(np.float32)
    found = dense(matrix)
    near(found, matrix)
    np.testing.assert_allclose(product(found), matrix, atol=1e-5)
    expected = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(singular_values(matrix), expected, atol=1e-7 * expected[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_leading_directions(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    matrix = rng.standard_normal(shape)
    values, top = leading(matrix, 4)
    near(top, matrix)
    assert (len(values), top.left.shape, top.right.shape) == (
        36 if 36 in shape else 48,
        (shape[0], 4),
        (4, shape[1]),
    )
    left = np.linalg.svd(matrix)[0][:, :4]
    np.testing.assert_allclose(np.abs(np.sum(left * top.left, axis=0)), 1, atol=1e-9)
    low = rng.standard_normal((shape[0], 2)) @ rng.standard_normal((2, shape[1]))
    assert len(leading(low, 4)[1].values) == 2
    assert len(leading(np.zeros(shape), 4)[1].values) == 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [1, 6, 40])
def test_a_product_from_its_factors(shape: tuple[int, int], rank: int) -> None:
    """Also where the rank is larger than a side."""
    rng = np.random.default_rng(3)
    up = rng.standard_normal((shape[0], rank)).astype(np.float32)
    down = rng.standard_normal((rank, shape[1])).astype(np.float32)
    found = of_product(up, down)
    assert len(found.values) == min(rank, *shape)
    matrix = up.astype(np.float64) @ down
    near(found, matrix)
    np.testing.assert_allclose(product(found), matrix, atol=1e-9)
