"""Intruders and random updates, on spikes that were planted."""

from __future__ import annotations

import numpy as np
import pytest

from lora_ledger.analysis.interventions import first_intruder, random_pair, random_update, size

ROWS, COLUMNS = 24, 16


def planted(height: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(base, tuned, u, v): the base has rank 8 with values 9, 8, …, 2; the spike is orthogonal to
    all of it, so it is a singular pair of the sum."""
    draw = np.random.default_rng(1)
    left = np.linalg.qr(draw.standard_normal((ROWS, 9)))[0]
    right = np.linalg.qr(draw.standard_normal((COLUMNS, 9)))[0]
    base = left[:, :8] @ np.diag(np.arange(9.0, 1.0, -1)) @ right[:, :8].T
    u, v = left[:, 8], right[:, 8]
    # Singular vectors of the value 0 are any; the base has to have none along u.
    rest = np.eye(ROWS) - np.outer(u, u)
    noise = rest @ draw.standard_normal((ROWS, COLUMNS)) @ (np.eye(COLUMNS) - np.outer(v, v))
    base = base + 1e-3 * noise
    return base, base + height * np.outer(u, v), u, v


@pytest.mark.parametrize(("height", "place"), [(20.0, 0), (5.5, 4)])
def test_the_planted_spike_is_the_first_intruder_and_its_neighbour_is_none(
    height: float, place: int
) -> None:
    base, tuned, u, v = planted(height)
    found = first_intruder(base, tuned, 10, 0.5)
    assert found is not None
    assert found.neighbour is not None
    assert found.value == pytest.approx(height, abs=1e-9)
    assert np.outer(*found.vectors) == pytest.approx(np.outer(u, v), abs=1e-7)
    assert tuned - found.value * np.outer(*found.vectors) == pytest.approx(base, abs=1e-6)
    values = np.linalg.svd(tuned, compute_uv=False)
    assert values[place] == pytest.approx(height)
    left, right = found.neighbour
    beside = place - 1 if place else 1
    assert float(left @ tuned @ right) == pytest.approx(values[beside], rel=1e-9)
    assert float(left @ u) == pytest.approx(0, abs=1e-6)


def test_there_is_none_beyond_k_nor_without_a_change() -> None:
    base, tuned, _, _ = planted(5.5)
    assert first_intruder(base, tuned, 4, 0.5) is None
    assert first_intruder(base, base, 10, 0.5) is None


@pytest.mark.parametrize("rank", [1, 3, None])
def test_a_random_update_has_its_norm_and_its_rank(rank: int | None) -> None:
    found = random_update((ROWS, COLUMNS), 0.7, rank, np.random.default_rng(2))
    assert found.dtype == np.float32
    assert np.linalg.norm(found.astype(np.float64)) == pytest.approx(0.7, rel=1e-6)
    assert np.linalg.matrix_rank(found, tol=1e-5) == (rank or COLUMNS)
    again = random_update((ROWS, COLUMNS), 0.7, rank, np.random.default_rng(2))
    assert np.array_equal(found, again)


def test_what_is_no_matrix_has_no_rank() -> None:
    found = random_update((ROWS,), 0.3, 2, np.random.default_rng(3))
    assert size(found) == pytest.approx(0.3, rel=1e-6)


def test_random_directions_are_unit_vectors() -> None:
    left, right = random_pair(ROWS, COLUMNS, np.random.default_rng(4))
    assert (left.shape, right.shape) == ((ROWS,), (COLUMNS,))
    assert np.linalg.norm(np.outer(left, right)) == pytest.approx(1)
