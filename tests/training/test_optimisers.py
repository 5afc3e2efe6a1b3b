"""Lion against a case worked by hand and a loop in numpy; AdamW gets what the study says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lora_ledger.methods.recipe import Optimiser
from lora_ledger.training.optimisers import DecoupledLionW, build


def test_two_steps_by_hand() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    lion = DecoupledLionW([weight], lr=0.1, betas=(0.9, 0.5), weight_decay=0.25)
    weight.grad = torch.tensor([4.0, -1.0], dtype=torch.float64)
    lion.step()
    # 1·0.75 − 0.1, −2·0.75 + 0.1; momentum 0.5·(4, −1).
    assert weight.tolist() == pytest.approx([0.65, -1.4])
    lion.param_groups[0]["lr"] = 0.05
    weight.grad = torch.tensor([-30.0, 1.0], dtype=torch.float64)
    lion.step()
    # Decay halves with the rate, to 0.125. Directions: sign(1.8 − 3) and sign(−0.45 + 0.1).
    assert weight.tolist() == pytest.approx([0.65 * 0.875 + 0.05, -1.4 * 0.875 + 0.05])
    assert lion.state[weight]["momentum"].tolist() == pytest.approx([-14.0, 0.25])


def test_twenty_steps_against_numpy() -> None:
    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=(5,)), rng.normal(size=(20, 5))
    weight = torch.nn.Parameter(torch.tensor(start))
    settings = Optimiser(name="lion", betas=(0.9, 0.95), weight_decay=0.01)
    lion = build(settings, [([weight], 1.0)], 3e-3)
    expected, momentum = start.copy(), np.zeros(5)
    for step, grad in enumerate(grads):
        rate = 3e-3 * (1 - step / 20)
        lion.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor(grad)
        lion.step()
        expected *= 1 - (rate / 3e-3) * 0.01
        expected -= rate * np.sign(0.9 * momentum + 0.1 * grad)
        momentum = 0.95 * momentum + 0.05 * grad
    assert weight.detach().numpy() == pytest.approx(expected, abs=1e-12)


def test_adamw_first_step_is_the_rate_and_decay_is_scaled_by_it() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    settings = Optimiser(name="adamw", betas=(0.9, 0.95), weight_decay=0.5, eps=1e-12)
    adamw = build(settings, [([weight], 1.0)], 0.01)
    weight.grad = torch.tensor([3.0, -0.2], dtype=torch.float64)
    adamw.step()
    assert weight.tolist() == pytest.approx([0.995 - 0.01, -1.99 + 0.01])


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_a_group_has_its_own_rate(name: str) -> None:
    slow, fast = (torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    optimiser = build(Optimiser(name=name), [([slow], 1.0), ([fast], 16.0)], 0.01)
    for weight in (slow, fast):
        weight.grad = torch.ones_like(weight)
    optimiser.step()
    assert slow.item() == pytest.approx(-0.01)
    assert fast.item() == pytest.approx(-0.16)
