"""Schedules against closed forms and against transformers' own."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import (
    get_cosine_with_min_lr_schedule_with_warmup,
    get_inverse_sqrt_schedule,
)

from lora_ledger.methods.recipe import Schedule
from lora_ledger.training.schedules import cooldown_steps, multiplier, warmup_steps


def library(scheduler_of: object, steps: int, **settings: object) -> list[float]:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = scheduler_of(optimiser, **settings)  # type: ignore[operator]
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimiser.step()
        scheduler.step()
    return rates


def test_cosine_is_that_of_transformers() -> None:
    schedule = Schedule(name="cosine", warmup=0.1, final=0.01)
    expected = library(
        get_cosine_with_min_lr_schedule_with_warmup,
        40,
        num_warmup_steps=4,
        num_training_steps=40,
        min_lr_rate=0.01,
    )
    assert [multiplier(schedule, step, 40) for step in range(40)] == pytest.approx(expected)


def test_cosine_closed_form() -> None:
    schedule = Schedule(name="cosine", warmup_steps=10, final=0.2)
    assert multiplier(schedule, 0, 110) == 0
    assert multiplier(schedule, 5, 110) == 0.5
    assert multiplier(schedule, 10, 110) == 1
    assert multiplier(schedule, 60, 110) == pytest.approx(0.6)
    assert multiplier(schedule, 110, 110) == pytest.approx(0.2)


def test_inverse_root_before_its_cool_down_is_that_of_transformers() -> None:
    schedule = Schedule(name="inverse-sqrt", warmup_steps=10, cooldown_steps=0)
    expected = library(get_inverse_sqrt_schedule, 100, num_warmup_steps=10, timescale=10)
    assert [multiplier(schedule, step, 100) for step in range(100)] == pytest.approx(expected)


def test_inverse_root_cools_down_to_nothing() -> None:
    schedule = Schedule(name="inverse-sqrt", warmup_steps=100, cooldown_steps=200)
    assert multiplier(schedule, 400, 1000) == pytest.approx(0.5)
    top = math.sqrt(100 / 800)
    assert multiplier(schedule, 800, 1000) == pytest.approx(top)
    assert multiplier(schedule, 850, 1000) == pytest.approx(top * 0.75)
    assert multiplier(schedule, 999, 1000) == pytest.approx(top / 200)
    assert multiplier(schedule, 1000, 1000) == 0


def test_shares_are_of_the_run() -> None:
    schedule = Schedule(name="inverse-sqrt", warmup=0.25, cooldown=0.25)
    values = [multiplier(schedule, step, 16) for step in range(16)]
    assert values[:5] == [0, 0.25, 0.5, 0.75, 1]
    assert values[13:] == pytest.approx([x * math.sqrt(4 / 12) for x in (0.75, 0.5, 0.25)])


def test_short_runs_have_no_warm_up() -> None:
    assert multiplier(Schedule(name="cosine", warmup=0.1), 0, 3) == 1
    assert [multiplier(Schedule(name="constant", warmup=0), s, 3) for s in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("share", "total", "steps"),
    [(0.29, 100, 29), (0.57, 100, 57), (0.1, 30, 3), (0.1, 29, 2), (1.0, 7, 7), (0.07, 300, 21)],
)
def test_a_share_of_the_steps_is_the_decimal_that_is_written(
    share: float, total: int, steps: int
) -> None:
    """0.29 of 100 is 29, whose product in binary is 28.999999999999996."""
    assert warmup_steps(Schedule(warmup=share), total) == steps
    assert cooldown_steps(Schedule(warmup=0, cooldown=share), total) == steps
