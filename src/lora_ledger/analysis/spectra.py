"""What the singular values of a matrix say of its rank and size, beside those of Gaussian noise.

In: singular values from the largest, or a shape. Out: counts of directions, norms, and the values
that a matrix of independent Gaussian entries has. It decomposes nothing.
The noise's values are the quantiles of the law of Marchenko and Pastur (1967), in closed form: with
y the smaller over the larger side, squared values are 1 + y + 2 √y cos θ, and the share of their
sum above θ is (θ − sin θ cos θ) / π. Biderman et al. 2024 (section 4.6) count rank at 90 %; a
square matrix of noise has 51 % of its dimensions there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from .decomposition import Array

SHARES = (0.5, 0.9, 0.95, 0.99)
"""Of the sum of squared singular values, at which rank is counted."""
ROUNDING = 1e-12


def rank_at(values: Array, share: float) -> int:
    """The smallest number of singular values whose squares reach a share of the sum of all squares;
    0 of a matrix of zeros."""
    squares = np.cumsum(np.square(values, dtype=np.float64))
    if not len(squares) or squares[-1] == 0:
        return 0
    return int(np.searchsorted(squares, share * squares[-1] * (1 - ROUNDING))) + 1


def effective_rank(values: Array) -> float:
    """exp of the entropy of the singular values over their sum (Roy and Vetterli 2007)."""
    total = float(np.sum(values))
    if total == 0:
        return 0.0
    shares = values[values > 0] / total
    return float(np.exp(-np.sum(shares * np.log(shares))))


def stable_rank(values: Array) -> float:
    """‖A‖_F² / ‖A‖₂²."""
    top = float(values[0]) if len(values) else 0.0
    return float(np.sum(np.square(values))) / top**2 if top else 0.0


def frobenius(values: Array) -> float:
    """‖A‖_F: the root of the sum of squared entries."""
    return float(np.sqrt(np.sum(np.square(values))))


def summary(values: Array) -> dict[str, float]:
    """Ranks at `SHARES`, effective and stable rank, spectral, Frobenius and nuclear norm."""
    return {
        **{f"rank{round(100 * share)}": rank_at(values, share) for share in SHARES},
        "effective_rank": effective_rank(values),
        "stable_rank": stable_rank(values),
        "spectral": float(values[0]) if len(values) else 0.0,
        "frobenius": frobenius(values),
        "nuclear": float(np.sum(values)),
    }


def thinned(values: Array, points: int) -> Array:
    """`points` of the values, evenly spaced by their place, first and last among them; all of them
    where there are no more."""
    if len(values) <= points:
        return values
    found: Array = values[np.round(np.linspace(0, len(values) - 1, points)).astype(int)]
    return found


def change(before: Array, after: Array) -> float:
    """The median over places of |σ′ − σ| / σ, from the largest; without places where σ is 0."""
    there = before > 0
    return float(np.median(np.abs(after[there] - before[there]) / before[there]))


@cache
def gaussian_share(rows: int, columns: int, share: float) -> float:
    """The share of its directions that a large Gaussian matrix needs for `share` of its squares."""
    theta = _solve(_energy, np.array([share]))
    return float(_number(theta, _aspect(rows, columns))[0])


@cache
def _gaussian(rows: int, columns: int) -> Array:
    y, n = _aspect(rows, columns), min(rows, columns)
    places = (np.arange(n) + 0.5) / n
    theta = _solve(lambda t: _number(t, y), places)
    values = np.sqrt(np.maximum(1 + y + 2 * np.sqrt(y) * np.cos(theta), 0.0))
    found: Array = values / frobenius(values)
    return found


def gaussian_values(rows: int, columns: int, norm: float = 1.0) -> Array:
    """The singular values of a Gaussian matrix of this shape and Frobenius norm: value i is the
    quantile (i + ½) / n of the law."""
    return norm * _gaussian(rows, columns)


def _aspect(rows: int, columns: int) -> float:
    return min(rows, columns) / max(rows, columns)


def _energy(theta: Array) -> Array:
    """The share of the squares in the values above θ."""
    found: Array = (theta - np.sin(theta) * np.cos(theta)) / np.pi
    return found


def _number(theta: Array, y: float) -> Array:
    """The share of the values above θ: the integral of 2 sin² / π (1 + y + 2 √y cos) from 0."""
    root = np.sqrt(y)
    turn = np.arctan2((1 - root) * np.sin(theta / 2), (1 + root) * np.cos(theta / 2))
    inner = (1 + y) * theta / (4 * y) - np.sin(theta) / (2 * root) - (1 - y) * turn / (2 * y)
    found: Array = 2 / np.pi * inner
    return found


def _solve(rising: Callable[[Array], Array], wanted: Array) -> Array:
    """θ in [0, π] at which a rising function has each of the wanted values."""
    low, high = np.zeros_like(wanted), np.full_like(wanted, np.pi)
    for _ in range(60):
        middle = (low + high) / 2
        above = rising(middle) > wanted
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return (low + high) / 2
