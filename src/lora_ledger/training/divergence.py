"""When a run is lost: rules on the curve of its training loss.

In: the curve, as (optimiser step, loss-bearing tokens so far, mean loss) of each step, and the
tokens of the whole run. Out: yes or no for each rule. It stops nothing; a regime says which rules
are its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

Curve = Sequence[tuple[int, int, float]]

HIGH = 2.0
"""Times the first loss."""
SHARE = 0.05
"""Of the run's tokens, which a stretch has to cover."""
CONSTANT = 1e-6
"""Relative difference of losses that count as the same."""
BATCHES = 8
"""Different batches that have the same loss before that says something of the model."""


def not_finite(curve: Curve) -> bool:
    """Whether the last loss is NaN or infinite."""
    return bool(curve) and not math.isfinite(curve[-1][2])


def stays_high(curve: Curve, budget: int) -> bool:
    """Whether the losses stay above twice the first one.

    They do when the unbroken stretch of such steps that ends the curve covers 5 % of `budget`.
    """
    if not curve or curve[-1][2] <= (limit := HIGH * curve[0][2]):
        return False
    calm = next((tokens for _, tokens, loss in reversed(curve) if loss <= limit), 0)
    return curve[-1][1] - calm >= SHARE * budget


def collapsed(curve: Curve, budget: int, trained_on: Callable[[int], Hashable]) -> bool:
    """Whether the model answers every batch with the same loss.

    It does when the unbroken stretch of steps that ends the curve, all within 1e-6 of the last
    loss, covers 5 % of `budget` and eight different batches, as `trained_on` tells them apart. A
    loss of exactly 0 is a perfect fit and no collapse.
    """
    if not curve or curve[-1][2] == 0:
        return False
    last = curve[-1][2]
    before, stretch = 0, []
    for step, tokens, loss in reversed(curve):
        if not abs(loss - last) <= CONSTANT * abs(last):
            before = tokens
            break
        stretch.append(step)
    if len(stretch) < BATCHES or curve[-1][1] - before < SHARE * budget:
        return False
    return len({trained_on(step) for step in stretch}) >= BATCHES
