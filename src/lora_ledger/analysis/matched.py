"""Forgetting at equal target loss, along tokens and along rates.

In: for each arm and block a path, its target losses and its forgetting in the order of tokens or of
rates.
Out: forgetting at one target loss by interpolation between neighbours of the path, the difference
of two arms over blocks, and the one word on which both ways agree. Nothing is extrapolated: a loss
that a path does not cross has no forgetting, and a block without one is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .equivalence import Outcome, outcome
from .statistics import Array, both_finite
from .student import Estimate, over_blocks

Path = tuple[npt.ArrayLike, npt.ArrayLike]
"""Target loss (lower is better) and forgetting, [points] each, by rising tokens or rates."""


def at_loss(path: Path, target: float) -> float:
    """Forgetting where the path first comes down to the target loss; linear in the loss between.

    First: along tokens that is the earliest step which learnt as much, along rates the smallest
    rate; what comes after the least loss (too long, too hot) is another question. nan where the
    path begins below the target or never comes down to it.
    """
    losses, forgetting = both_finite("path", path)
    reached = np.flatnonzero(losses <= target)
    if not len(reached):
        return math.nan
    at = int(reached[0])
    if at == 0:
        return float(forgetting[0]) if losses[0] == target else math.nan
    share = (losses[at - 1] - target) / (losses[at - 1] - losses[at])
    return float(forgetting[at - 1] + share * (forgetting[at] - forgetting[at - 1]))


def common_target(first: Path, second: Path) -> float:
    """The least loss that both paths reach: the larger of their two least losses.

    Where the arms have learnt most, and forgotten most; nan where one begins below it.
    """
    losses = [both_finite("path", one)[0] for one in (first, second)]
    if not all(len(one) for one in losses):
        return math.nan
    target = max(float(one.min()) for one in losses)
    return target if all(one[0] >= target for one in losses) else math.nan


def difference(first: Path, second: Path, target: float | None = None) -> float:
    """First less second's forgetting at the target, or at their common one; nan without it."""
    at = common_target(first, second) if target is None else target
    return at_loss(first, at) - at_loss(second, at)


def differences(
    first: Sequence[Path], second: Sequence[Path], targets: Sequence[float] | None = None
) -> Array:
    """[blocks]: `difference` in each; `targets` one a block, such as a share of its base's loss."""
    given = [None] * len(first) if targets is None else list(targets)
    return np.array([difference(a, b, at) for a, b, at in zip(first, second, given, strict=True)])


def matched(
    first: Sequence[Path],
    second: Sequence[Path],
    targets: Sequence[float] | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Mean difference over blocks by Student's t; `n` counts the blocks in which both cross."""
    return over_blocks(differences(first, second, targets), "blocks", confidence)


@dataclass(frozen=True)
class Agreed:
    """One word of two estimates, and why it is not more."""

    outcome: Outcome
    reason: str


def agreed(
    tokens: Estimate | None,
    rates: Estimate | None,
    margin: float | None = None,
    level: float = 0.05,
) -> Agreed:
    """Higher, lower or equivalent only where both ways of matching say so; else undecided.

    Both tests must reject, an intersection-union test (Berger 1982): each has the whole level. An
    estimate that is None was not made.
    """
    found = {"tokens": tokens, "rates": rates}
    missing = [name for name, one in found.items() if one is None or one.n == 0]
    if missing:
        return Agreed("undecided", f"no block is matched along {' or '.join(missing)}")
    words = {n: outcome(one, margin, level) for n, one in found.items() if one is not None}
    if len(set(words.values())) == 1:
        word = words["tokens"]
        return Agreed(word, "both are undecided" if word == "undecided" else "both agree")
    return Agreed("undecided", f"along tokens {words['tokens']}, along rates {words['rates']}")
