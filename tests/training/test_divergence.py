"""Curves that are lost and curves that only look so."""

from __future__ import annotations

import math

from lora_ledger.training.divergence import collapsed, not_finite, stays_high
from lora_ledger.training.regimes import names, regime

CALM = [(i, 10 * i, 2.0 + 0.1 * (i % 3)) for i in range(1, 11)]


def itself(step: int) -> int:
    """Every step has a batch of its own."""
    return step


def flat(start: int, number: int, loss: float = 1.5) -> list[tuple[int, int, float]]:
    return [(i, 10 * i, loss) for i in range(start, start + number)]


def test_a_loss_that_is_no_number() -> None:
    assert not not_finite([])
    assert not not_finite(CALM)
    assert not_finite([*CALM, (11, 110, math.nan)])
    assert not_finite([(1, 10, math.inf)])


def test_losses_above_twice_the_start() -> None:
    calm = [(i, 10 * i, 2.0) for i in range(1, 11)]
    assert not stays_high([], 1000)
    assert not stays_high(calm, 1000)
    high = [(i, 10 * i, 4.1) for i in range(11, 16)]
    assert not stays_high([*calm, *high[:4]], 1000)
    assert stays_high([*calm, *high], 1000)
    # Twice the start is not above it, and one step below ends the stretch.
    assert not stays_high([*calm, *[(i, t, 4.0) for i, t, _ in high]], 1000)
    assert not stays_high([*calm, *high[:2], (13, 130, 3.9), *high[3:]], 1000)


def test_a_loss_that_no_longer_depends_on_the_batch() -> None:
    """Below twice the start, so that no other rule sees it."""
    lost = [*CALM, *flat(11, 8)]
    assert not stays_high(lost, 1000)
    assert collapsed(lost, 1000, itself)
    # A millionth up or down is the same loss; ten millionths are not.
    assert collapsed([*lost[:-1], (18, 180, 1.5 * (1 + 9e-7))], 1000, itself)
    assert not collapsed([*lost[:-1], (18, 180, 1.5 * (1 + 1e-5))], 1000, itself)
    assert not collapsed([*CALM, *flat(11, 3), (14, 140, 1.4), *flat(15, 4)], 1000, itself)


def test_a_collapse_covers_eight_steps_and_a_twentieth_of_the_budget() -> None:
    assert not collapsed([*CALM, *flat(11, 7)], 100, itself)
    assert not collapsed([*CALM, *flat(11, 8)], 1601, itself)
    assert collapsed([*CALM, *flat(11, 8)], 1600, itself)


def test_the_same_batch_again_may_have_the_same_loss() -> None:
    lost = [*CALM, *flat(11, 20)]
    assert not collapsed(lost, 1000, lambda step: 0)
    assert not collapsed(lost, 1000, lambda step: step % 7)
    assert collapsed(lost, 1000, lambda step: step % 8)


def test_a_perfect_fit_is_no_collapse() -> None:
    assert not collapsed(flat(1, 30, 0.0), 1000, itself)


def test_both_regimes_see_all_three() -> None:
    for name in names():
        rule = regime(name).diverged
        assert rule([(1, 10, math.nan)], 1000, itself)
        assert rule([(1, 10, 1.0), *flat(2, 6, 2.1)], 1000, itself)
        assert rule([*CALM, *flat(11, 8)], 1000, itself)
        assert not rule(CALM, 1000, itself)
