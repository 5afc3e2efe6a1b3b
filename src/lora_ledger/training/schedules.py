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
    (Biderman et al. 2024, appendix A): √(warmup / step), then a line to 0. `constant` stays, then
    falls on such a line where a cool-down was given.
    """
    warmup = warmup_steps(schedule, total)
    if step < warmup:
        return step / warmup
    if schedule.name == "cosine":
        progress = min(1.0, (step - warmup) / max(1, total - warmup))
        return schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * progress)) / 2
    cooldown = cooldown_steps(schedule, total)
    turning = total - cooldown
    scale = max(1, warmup)
    constant = schedule.name == "constant"
    decayed = 1.0 if constant else math.sqrt(scale / max(scale, min(step, turning)))
    if step <= turning:
        return decayed
    return decayed * max(0, total - step) / cooldown


def warmup_steps(schedule: Schedule, total: int) -> int:
    """Steps of the warm-up; a share is rounded down, so that very short runs have none."""
    if schedule.warmup_steps is not None:
        return schedule.warmup_steps
    return int(exactly(schedule.warmup) * total)


def cooldown_steps(schedule: Schedule, total: int) -> int:
    """Steps of the cool-down at the end, within what warm-up leaves."""
    asked = schedule.cooldown_steps
    if asked is None:
        asked = int(exactly(schedule.cooldown) * total) if schedule.cools else 0
    return max(0, min(asked, total - warmup_steps(schedule, total)))


def turn(schedule: Schedule, total: int) -> int:
    """The step at which the cool-down begins; `total` without one."""
    return total - cooldown_steps(schedule, total)


def as_branch(schedule: Schedule, trunk: int, hot: bool) -> Schedule:
    """The schedule of a run that branches off one of `trunk` steps: that one's warm-up, and a
    cool-down over the last share of its own steps, or none."""
    own: dict[str, int] = {"warmup_steps": warmup_steps(schedule, trunk)}
    return schedule.model_copy(update={**own, "cooldown_steps": 0} if hot else own)
