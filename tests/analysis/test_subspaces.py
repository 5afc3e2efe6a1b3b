"""φ and amplification by hand, and their controls against draws and the paper's figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lora_ledger.analysis import subspaces
from lora_ledger.analysis.decomposition import Decomposition, dense


def orthonormal(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


def test_phi() -> None:
    e = np.eye(6)
    first, second = e[:, :3], e[:, [1, 0, 4]]
    found = subspaces.overlap(first, second)
    assert found.tolist() == [[0, 1, 1], [1, 1, 1], [1, 1, 2 / 3]]
    some = orthonormal(np.random.default_rng(0), 30, 5)
    itself = subspaces.overlap(some, some)
    np.testing.assert_allclose(itself, np.ones((5, 5)))
    turned = some @ orthonormal(np.random.default_rng(1), 5, 5)
    assert subspaces.overlap(some, turned)[4, 4] == pytest.approx(1)
    # With d the distance of appendix G: φ = 1 − d² / p.
    other = orthonormal(np.random.default_rng(2), 30, 5)
    sigma = np.linalg.svd(some.T @ other, compute_uv=False)
    distance = math.sqrt(5 - np.sum(sigma**2))
    assert subspaces.overlap(some, other)[4, 4] == pytest.approx(1 - distance**2 / 5)


def test_random_phi() -> None:
    rng = np.random.default_rng(3)
    drawn = [
        subspaces.overlap(orthonormal(rng, 40, 2), orthonormal(rng, 40, 6))[1, 5]
        for _ in range(400)
    ]
    assert np.mean(drawn) == pytest.approx(subspaces.random_overlap(2, 6, 40), rel=0.05)


def test_amplification_by_hand() -> None:
    """ΔW = 3 e₁ e₂ᵀ; W₀ has 0.5 there."""
    base = np.zeros((4, 4))
    base[0, 1], base[3, 3] = 0.5, 2.0
    e = np.eye(4)
    found = subspaces.amplification(Decomposition(e[:, :1], np.array([3.0]), e[1:2]), base)
    norm = math.sqrt(0.25 + 4)
    assert found["projected"] == pytest.approx(0.5)
    assert found["factor"] == pytest.approx(6)
    assert found["over_random"] == pytest.approx(0.5 / (norm / 4))


@pytest.mark.parametrize(("r", "printed"), [(4, 0.02), (64, 0.33)])
def test_random_subspaces_are_the_papers(r: int, printed: float) -> None:
    """Table 7 of Hu et al.: ‖W‖ = 61.95, of 12,288 by 12,288."""
    assert r * 61.95 / 12288 == pytest.approx(printed, abs=0.011)


def test_random_subspaces_against_draws() -> None:
    rng = np.random.default_rng(4)
    base = rng.standard_normal((30, 20)) * np.linspace(3, 0.1, 20)
    drawn, said = [], 0.0
    for _ in range(400):
        some = Decomposition(orthonormal(rng, 30, 3), np.ones(3), orthonormal(rng, 20, 3).T)
        found = subspaces.amplification(some, base)
        drawn.append(found["projected"] ** 2)
        said = found["random"]
    assert math.sqrt(np.mean(drawn)) == pytest.approx(said, rel=0.05)
    own = dense(base).top(3)
    assert subspaces.amplification(own, base)["factor"] == pytest.approx(1)
