"""The definition written out, spikes whose threshold is known, peft's own count, chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta

from lora_ledger.analysis import intruders
from lora_ledger.analysis.decomposition import dense


def written_out(base: np.ndarray, tuned: np.ndarray, k: int, epsilon: float, left: bool) -> int:
    """Algorithm 1 of Shuttleworth et al., vector by vector, on numpy's own decompositions."""
    side = (lambda m: np.linalg.svd(m, full_matrices=False)[0].T) if left else None
    old = side(base) if side else np.linalg.svd(base, full_matrices=False)[2]
    new = side(tuned) if side else np.linalg.svd(tuned, full_matrices=False)[2]
    number = 0
    for y in new[:k]:
        largest = 0.0
        for x in old:
            cos = float(np.dot(x, y)) / math.sqrt(float(np.dot(x, x)) * float(np.dot(y, y)))
            largest = max(largest, abs(cos))
        number += largest < epsilon
    return number


@pytest.mark.parametrize("shape", [(40, 40), (60, 30), (30, 60)])
@pytest.mark.parametrize("scale", [0.0, 0.3, 2.0])
def test_the_count_is_the_definition(shape: tuple[int, int], scale: float) -> None:
    rng = np.random.default_rng(4)
    base = rng.standard_normal(shape)
    update = scale * rng.standard_normal((shape[0], 3)) @ rng.standard_normal((3, shape[1]))
    old, new = dense(base), dense(base + update)
    left = intruders.similarities(new.left, old.left)
    right = intruders.similarities(new.right.T, old.right.T)
    for k in (1, 10, 30):
        for epsilon in (0.3, 0.5, 0.9):
            for found, side in ((left, True), (right, False)):
                expected = written_out(base, base + update, k, epsilon, side)
                assert intruders.count(found, k, epsilon) == expected
    if not scale:
        assert not intruders.count(left, 30, 0.99), "the same model has none"
        assert not intruders.count(right, 30, 0.99)
    assert intruders.curve(left, (10,), (0.3, 0.5)) == [
        [intruders.count(left, 10, 0.3), intruders.count(left, 10, 0.5)]
    ]


@pytest.mark.parametrize("epsilon", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_planted_spike_is_found_if_and_only_if_it_is_large(epsilon: float, factor: float) -> None:
    """λ u v₁ᵀ with u orthogonal to all of the base's columns turns its first left vector to
    (σ₁ u₁ + λ u) / √(σ₁² + λ²): cos with u₁ is below ε iff λ > σ₁ √(1 / ε² − 1)."""
    rng = np.random.default_rng(5)
    u = np.linalg.qr(rng.standard_normal((40, 21)))[0]
    v = np.linalg.qr(rng.standard_normal((20, 20)))[0]
    values = np.linspace(3.0, 1.0, 20)
    base = (u[:, :20] * values) @ v.T
    threshold = 3.0 * math.sqrt(1 / epsilon**2 - 1)
    tuned = base + factor * threshold * np.outer(u[:, 20], v[:, 0])
    found = intruders.similarities(dense(tuned).left, dense(base).left)
    assert intruders.count(found, 10, epsilon) == (factor > 1)
    right = intruders.similarities(dense(tuned).right.T, dense(base).right.T)
    assert intruders.count(right, 10, epsilon) == 0, "the right vectors are the base's"


@pytest.mark.parametrize("weight", [0.5, 2.0, 8.0])
def test_the_papers_toy(weight: float) -> None:
    """W + λ v vᵀ with W diagonal: by the secular equation the top vector is (v_i / (μ − d_i))."""
    d = np.linspace(4.0, 1.0, 30)
    v = np.full(30, 1 / math.sqrt(30))
    low, high = d[0], d[0] + weight
    for _ in range(200):
        mu = (low + high) / 2
        low, high = (mu, high) if weight * np.sum(v**2 / (mu - d)) > 1 else (low, mu)
    top = v / (mu - d)
    top /= np.linalg.norm(top)
    found = intruders.similarities(
        dense(np.diag(d) + weight * np.outer(v, v)).left, dense(np.diag(d)).left
    )
    assert found[0] == pytest.approx(np.max(np.abs(top)), abs=1e-9)
    assert (found[0] < 0.5) == (weight > 1)


def test_k_as_a_share() -> None:
    assert [intruders.of_share(s, 192) for s in (0.01, 0.05, 0.5, 1.0)] == [2, 10, 96, 192]
    assert intruders.of_share(0.1, 30) == 3
    assert intruders.of_share(0.001, 30) == 1


@pytest.mark.parametrize("dimension", [64, 192, 576])
@pytest.mark.parametrize("vectors", [1, 30, 64])
def test_chance_is_the_beta_law(dimension: int, vectors: int) -> None:
    """A squared coordinate of a random direction is Beta(1/2, (d - 1)/2)."""
    for q in (0.5, 0.99):
        expected = math.sqrt(beta.ppf(q ** (1 / vectors), 0.5, (dimension - 1) / 2))
        assert intruders.chance(dimension, vectors, q) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("dimension", "vectors", "median", "p99"),
    [(192, 192, 0.2103, 0.2871), (576, 576, 0.1351, 0.1777), (1536, 576, 0.0827, 0.1097)],
)
def test_chance_is_what_draws_have(dimension: int, vectors: int, median: float, p99: float) -> None:
    """Quantiles of 40,000 random directions each, drawn once."""
    assert intruders.chance(dimension, vectors, 0.5) == pytest.approx(median, rel=0.01)
    assert intruders.chance(dimension, vectors, 0.99) == pytest.approx(p99, rel=0.01)
