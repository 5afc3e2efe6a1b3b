"""Multipliers of the peak learning rate.

In: a `Schedule` and the number of optimiser steps of the run. Out: the multiplier of each step.
It knows no optimiser and needs no torch.
"""

from __future__ import annotations

import math

from lora_ledger.common.shares import exactly
from lora_ledger.methods.recipe import Schedule


def multiplier(schedule: Schedule, step: int, total: int) -> float:
    """The multiplier of optimiser step `step` (from 0) out of `total`.

    Warm-up is linear from 0, as in composer and transformers. `cosine` falls to `final` at the end
    of the run. `inverse-sqrt` is llm-foundry's with its time scale equal to its warm-up
    (Biderman et al. 2024, appendix A): √(warmup / step), then a line to 0.
    """
    warmup = warmup_steps(schedule, total)
    if step < warmup:
        return step / warmup
    if schedule.name == "constant":
        return 1.0
    if schedule.name == "cosine":
        progress = min(1.0, (step - warmup) / max(1, total - warmup))
        return schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * progress)) / 2
    cooldown = cooldown_steps(schedule, total)
    turn = total - cooldown
    scale = max(1, warmup)
    decayed = math.sqrt(scale / max(scale, min(step, turn)))
    if step <= turn:
        return decayed
    return decayed * max(0, total - step) / cooldown


def warmup_steps(schedule: Schedule, total: int) -> int:
    """Steps of the warm-up; a share is rounded down, so that very short runs have none."""
    if schedule.warmup_steps is not None:
        return schedule.warmup_steps
    return int(exactly(schedule.warmup) * total)


def cooldown_steps(schedule: Schedule, total: int) -> int:
    """Steps of the cool-down at the end of an inverse square root, within what warm-up leaves."""
    asked = schedule.cooldown_steps
    steps = int(exactly(schedule.cooldown) * total) if asked is None else asked
    return max(0, min(steps, total - warmup_steps(schedule, total)))
