"""Ranks and norms by hand, and the noise's spectrum against papers' counts and drawn matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lora_ledger.analysis import spectra


def test_by_hand() -> None:
    """Squares 16, 4, 4, 1 of 25."""
    values = np.array([4.0, 2.0, 2.0, 1.0])
    found = spectra.summary(values)
    assert [found[f"rank{p}"] for p in (50, 90, 95, 99)] == [1, 3, 3, 4]
    shares = [4 / 9, 2 / 9, 2 / 9, 1 / 9]
    entropy = -sum(p * math.log(p) for p in shares)
    assert found["effective_rank"] == pytest.approx(math.exp(entropy))
    assert found["stable_rank"] == pytest.approx(25 / 16)
    assert [found[k] for k in ("spectral", "frobenius", "nuclear")] == [4, 5, 9]


def test_a_share_that_is_reached_exactly_is_reached() -> None:
    values = np.ones(10)
    assert [spectra.rank_at(values, s) for s in (0.5, 0.9, 0.95, 0.99)] == [5, 9, 10, 10]
    assert spectra.effective_rank(values) == pytest.approx(10)
    assert spectra.rank_at(np.zeros(3), 0.9) == 0
    assert set(spectra.summary(np.zeros(3)).values()) == {0}


@pytest.mark.parametrize(
    ("shape", "rank90", "effective"),
    [((576, 576), 294, 463), ((1536, 576), 410, 546), ((192, 576), 140, None)],
)
def test_noise_has_the_counts_that_others_drew(
    shape: tuple[int, int], rank90: int, effective: int | None
) -> None:
    """Counts of drawn matrices of SmolLM2-135M's shapes."""
    values = spectra.gaussian_values(*shape, norm=3.0)
    assert spectra.frobenius(values) == pytest.approx(3)
    assert abs(spectra.rank_at(values, 0.9) - rank90) <= 1
    if effective:
        assert abs(spectra.effective_rank(values) - effective) <= 1
    assert spectra.gaussian_share(*shape, 0.9) * min(shape) == pytest.approx(rank90, abs=1.5)


@pytest.mark.parametrize("shape", [(200, 200), (300, 100), (50, 200), (64, 64)])
def test_noise_against_a_drawn_matrix(shape: tuple[int, int]) -> None:
    drawn = np.linalg.svd(np.random.default_rng(0).standard_normal(shape), compute_uv=False)
    drawn /= np.linalg.norm(drawn)
    expected = spectra.gaussian_values(*shape)
    np.testing.assert_allclose(expected, drawn, atol=0.05 * drawn[0])
    for share in spectra.SHARES:
        assert abs(spectra.rank_at(expected, share) - spectra.rank_at(drawn, share)) <= 2
    assert spectra.stable_rank(expected) == pytest.approx(spectra.stable_rank(drawn), rel=0.1)


def test_the_closed_form_of_the_law() -> None:
    """Against the integral of its density, and the end points."""
    y = 0.25
    low, high = (1 - math.sqrt(y)) ** 2, (1 + math.sqrt(y)) ** 2
    x = np.linspace(low, high, 2_000_001)[1:-1]
    density = np.sqrt((high - x) * (x - low)) / (2 * math.pi * y * x)
    step = x[1] - x[0]
    energy = np.cumsum((density * x)[::-1]) * step
    number = np.cumsum(density[::-1]) * step
    for share in spectra.SHARES:
        place = np.searchsorted(energy, share)
        assert spectra.gaussian_share(400, 100, share) == pytest.approx(number[place], abs=1e-5)
    assert spectra.gaussian_share(100, 100, 1.0) == pytest.approx(1)


def test_points_and_change() -> None:
    values = np.arange(100.0, 0.0, -1.0)
    assert list(spectra.thinned(values, 3)) == [100.0, 50.0, 1.0]
    assert list(spectra.thinned(values[:2], 3)) == [100.0, 99.0]
    before, after = np.array([4.0, 2.0, 1.0, 0.0]), np.array([5.0, 2.0, 1.5, 0.1])
    assert spectra.change(before, after) == 0.25
