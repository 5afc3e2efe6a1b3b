"""Exact claims: small experiments in fp64 whose outcome is arithmetic, and the same on any machine.

In: nothing. Out: an `Exact` with what was done and the figure; it holds, or it fails. They are made
anew in every study. They say that the mathematics is so, of a small model; that this project's own
training does the same is a test of `training/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lora_ledger.analysis.intruders import count, similarities

Array = npt.NDArray[np.float64]
STEPS, RANK = 60, 3
SAME, OTHER = 1e-8, 1e-3
"""Of nats: runs that are the same differ by less, and runs that are not by more."""
DRAWS, ROWS, COLUMNS = 20, 96, 64
TOP, EPSILON = 10, 0.5
LARGE, SMALL = (1.5, 4.0, 16.0), (0.0, 0.05, 0.1)
"""Sizes of the spike, in units of the leading singular value. Between, where the spike mixes with
the base's own directions, it depends on the draw: at 1.0 half of them have an intruder."""


@dataclass(frozen=True)
class Exact:
    """`figure`: the number that decides, in words; `rule`: what it is held to."""

    holds: bool
    figure: str
    rule: str


@dataclass(frozen=True)
class Knobs:
    """A LoRA's four: alpha, the scale of A's start, and both rates."""

    alpha: float = 6.0
    start: float = 1.0
    rate_a: float = 0.02
    rate_b: float = 0.02


def losses(knobs: Knobs, seed: int = 0) -> Array:
    """[steps]: cross-entropy of a linear classifier W + (alpha / rank) B A under Adam, with an eps
    that is as good as none: it is not scaled along with the gradients."""
    rng = np.random.default_rng(seed)
    inputs, classes, examples = 12, 7, 40
    x = rng.standard_normal((examples, inputs))
    y = rng.integers(0, classes, examples)
    base = 0.3 * rng.standard_normal((classes, inputs))
    down = knobs.start * rng.standard_normal((RANK, inputs)) / np.sqrt(inputs)
    up = np.zeros((classes, RANK))
    scale = knobs.alpha / RANK
    moments = [[np.zeros_like(w), np.zeros_like(w)] for w in (down, up)]
    found = np.zeros(STEPS)
    for step in range(STEPS):
        logits = x @ (base + scale * up @ down).T
        logits -= logits.max(axis=1, keepdims=True)
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        found[step] = -np.log(chances[np.arange(examples), y]).mean()
        chances[np.arange(examples), y] -= 1
        gradient = scale * chances.T @ x / examples
        grads = (up.T @ gradient, gradient @ down.T)
        rates = (knobs.rate_a, knobs.rate_b)
        for weight, grad, rate, held in zip((down, up), grads, rates, moments, strict=True):
            held[0] = 0.9 * held[0] + 0.1 * grad
            held[1] = 0.999 * held[1] + 0.001 * grad**2
            mean, square = held[0] / (1 - 0.9 ** (step + 1)), held[1] / (1 - 0.999 ** (step + 1))
            weight -= rate * mean / (np.sqrt(square) + 1e-150)
    return found


def two_knobs() -> Exact:
    """Schulman et al. 2025, "Parametrization invariances": alpha / (p q), A's start and rate times
    p, B's rate times q are the same training; with one of the four as it was they are another."""
    plain = Knobs()
    reference, same, other = losses(plain), [], []
    for p, q in ((4.0, 4.0), (8.0, 0.5), (3.0, 5.0)):
        moved = Knobs(plain.alpha / (p * q), plain.start * p, plain.rate_a * p, plain.rate_b * q)
        same.append(np.abs(losses(moved) - reference).max())
        for knob in ("alpha", "start", "rate_a", "rate_b"):
            kept = Knobs(**{**vars(moved), knob: getattr(plain, knob)})
            other.append(np.abs(losses(kept) - reference).max())
    largest, least = float(max(same)), float(min(other))
    return Exact(
        largest <= SAME and least >= OTHER,
        f"largest difference of a loss over {STEPS} steps {largest:.1e} nats; with one of the four "
        f"knobs left as it was at least {least:.1e}",
        f"at most {SAME:g} and at least {OTHER:g}",
    )


def directions(weights: Array) -> Array:
    """Left singular vectors, as columns."""
    return np.asarray(np.linalg.svd(weights, full_matrices=False)[0])


def planted_spike() -> Exact:
    """A rank-1 spike in a random direction makes an intruder where it is large, and none where it
    is small; singular values fall as one over the square root of their place."""
    values = np.arange(1, COLUMNS + 1) ** -0.5
    counts: dict[float, list[int]] = {size: [] for size in (*SMALL, *LARGE)}
    for draw in range(DRAWS):
        rng = np.random.default_rng([draw, 3])
        left = np.linalg.qr(rng.standard_normal((ROWS, COLUMNS)))[0]
        right = np.linalg.qr(rng.standard_normal((COLUMNS, COLUMNS)))[0]
        base = (left * values) @ right.T
        u, v = rng.standard_normal(ROWS), rng.standard_normal(COLUMNS)
        spike = np.outer(u / np.linalg.norm(u), v / np.linalg.norm(v))
        for size, found in counts.items():
            like = similarities(directions(base + size * spike), left)
            found.append(count(like, TOP, EPSILON))
    large = [sum(n > 0 for n in counts[size]) for size in LARGE]
    small = [sum(n > 0 for n in counts[size]) for size in SMALL]
    said = " and ".join(
        f"{', '.join(f'{n} of {DRAWS}' for n in found)} at {', '.join(f'{s:g}' for s in sizes)}"
        for found, sizes in ((large, LARGE), (small, SMALL))
    )
    return Exact(
        all(n == DRAWS for n in large) and not any(small),
        f"matrices with an intruder: {said} times the leading singular value",
        "all with a large spike, none with a small one",
    )


EXPERIMENTS: Mapping[str, Callable[[], Exact]] = {
    "two-knobs": two_knobs,
    "planted-spike": planted_spike,
}
