"""Each optimiser against its paper's update in numpy, Lion against a case worked by hand too."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_ledger.methods.lora import LoraMethod
from lora_ledger.methods.recipe import Optimiser
from lora_ledger.training.optimisers import DecoupledLionW, build, hidden_matrices


class Adam:
    """One weight's AdamW in numpy: `update(weight, gradient, step from 0)`."""

    def __init__(self, rate: float, betas: tuple[float, float], eps: float, decay: float) -> None:
        self.rate, self.betas, self.eps, self.decay = rate, betas, eps, decay
        self.first: Any = 0.0
        self.second: Any = 0.0

    def __call__(self, weight: Any, grad: Any, step: int) -> Any:
        beta1, beta2 = self.betas
        self.first = beta1 * self.first + (1 - beta1) * grad
        self.second = beta2 * self.second + (1 - beta2) * grad**2
        first = self.first / (1 - beta1 ** (step + 1))
        second = self.second / (1 - beta2 ** (step + 1))
        kept = weight * (1 - self.rate * self.decay)
        return kept - self.rate * first / (np.sqrt(second) + self.eps)


def drawn(shape: tuple[int, ...], steps: int) -> tuple[Any, Any]:
    """A start and the gradients of some steps."""
    rng = np.random.default_rng(0)
    return rng.normal(size=shape), rng.normal(size=(steps, *shape))


def follow(
    optimiser: Any, weight: Any, grads: Any, update: Callable[[Any, Any, int], Any], start: Any
) -> Any:
    """Step the optimiser through the gradients; returns what the update makes of the start."""
    expected = start.copy()
    for step, grad in enumerate(grads):
        weight.grad = torch.tensor(grad)
        optimiser.step()
        expected = update(expected, grad, step)
    return expected


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


def test_adamw_steps_against_numpy() -> None:
    """Loshchilov and Hutter 2019, algorithm 2; the decay is multiplied by the rate."""
    start, grads = drawn((5,), 10)
    weight = torch.nn.Parameter(torch.tensor(start))
    settings = Optimiser(betas=(0.8, 0.95), eps=1e-3, weight_decay=0.3)
    adamw = build(settings, [([weight], 1.0)], 0.01)
    expected = follow(adamw, weight, grads, Adam(0.01, (0.8, 0.95), 1e-3, 0.3), start)
    assert weight.detach().numpy() == pytest.approx(expected, abs=1e-12)


def test_sgd_steps_against_numpy() -> None:
    """v ← μ v + g + λ w, w ← w − η v (Polyak 1964, as Sutskever et al. 2013 write it)."""
    start, grads = drawn((5,), 10)
    weight = torch.nn.Parameter(torch.tensor(start))
    sgd = build(Optimiser(name="sgd", momentum=0.7, weight_decay=0.2), [([weight], 1.0)], 0.01)
    velocity = np.zeros(5)

    def update(w: Any, grad: Any, step: int) -> Any:
        nonlocal velocity
        velocity = 0.7 * velocity + grad + 0.2 * w
        return w - 0.01 * velocity

    expected = follow(sgd, weight, grads, update, start)
    assert weight.detach().numpy() == pytest.approx(expected, abs=1e-12)
    plain = torch.nn.Parameter(torch.tensor(start))
    sgd = build(Optimiser(name="sgd", momentum=0.0), [([plain], 1.0)], 0.01)
    expected = follow(sgd, plain, grads, lambda w, grad, step: w - 0.01 * grad, start)
    assert plain.detach().numpy() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_muon_steps_against_numpy(shape: tuple[int, int]) -> None:
    """Jordan et al. 2024: B ← μ B + G, five Newton-Schulz steps on G + μ B; the size of Liu et al.
    2025. torch does these steps in bf16, hence the wide tolerance."""
    start, grads = drawn(shape, 4)
    weight = torch.nn.Parameter(torch.tensor(start))
    other = torch.nn.Parameter(torch.tensor(start[0]))
    settings = Optimiser(name="muon", betas=(0.8, 0.95), eps=1e-3, momentum=0.9, weight_decay=0.5)
    muon = build(settings, [([weight, other], 1.0)], 0.01, {id(weight)})
    buffer, expected = np.zeros(shape), start.copy()
    adam, vector = Adam(0.01, (0.8, 0.95), 1e-3, 0.5), start[0].copy()
    for step, grad in enumerate(grads):
        weight.grad, other.grad = torch.tensor(grad), torch.tensor(grad[0])
        muon.step()
        buffer = 0.9 * buffer + grad
        x = grad + 0.9 * buffer
        x /= np.linalg.norm(x)
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
        expected = expected * (1 - 0.01 * 0.5) - 0.01 * 0.2 * 6**0.5 * x
        vector = adam(vector, grad[0], step)
    moved, wanted = weight.detach().numpy() - start, expected - start
    assert np.linalg.norm(moved - wanted) < 0.01 * np.linalg.norm(wanted)
    assert other.detach().numpy() == pytest.approx(vector, abs=1e-12)


def test_muon_is_for_matrices_of_the_blocks(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    chosen = hidden_matrices(model)
    names = {name for name, weight in model.named_parameters() if id(weight) in chosen}
    assert len(names) == 2 * 7
    assert all(name.endswith("_proj.weight") for name in names)
    method = LoraMethod(kind="lora", rank=2, learning_rates=(1e-3,))
    adapted = method.apply(model, 0)
    muon = build(Optimiser(name="muon"), method.groups(adapted), 1e-3, hidden_matrices(adapted))
    # No part is left without weights.
    assert [type(part) for part in muon.parts] == [torch.optim.Muon]  # type: ignore[attr-defined]


def test_a_schedule_and_a_saved_state_reach_both_parts_of_muon() -> None:
    def made() -> tuple[list[torch.nn.Parameter], Any, Any]:
        draw = torch.Generator().manual_seed(1)
        weights = [torch.nn.Parameter(torch.randn(s, generator=draw)) for s in ((4, 4), (4,))]
        muon = build(Optimiser(name="muon"), [(weights, 1.0)], 0.1, {id(weights[0])})
        return weights, muon, torch.optim.lr_scheduler.LambdaLR(muon, lambda step: 0.5**step)

    def steps(weights: Any, muon: Any, schedule: Any, first: int, last: int) -> None:
        for step in range(first, last):
            draw = torch.Generator().manual_seed(step)
            for weight in weights:
                weight.grad = torch.randn(weight.shape, generator=draw)
            muon.step()
            schedule.step()

    whole, half, rest = made(), made(), made()
    steps(*whole, 0, 6)
    assert [part.param_groups[0]["lr"] for part in whole[1].parts] == [0.1 / 64] * 2
    steps(*half, 0, 3)
    for mine, theirs in zip(rest[0], half[0], strict=True):
        mine.data.copy_(theirs)
    file = io.BytesIO()
    torch.save((half[1].state_dict(), half[2].state_dict()), file)
    file.seek(0)
    for part, state in zip(rest[1:], torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    steps(*rest, 3, 6)
    assert all(torch.equal(a, b) for a, b in zip(whole[0], rest[0], strict=True))


@pytest.mark.parametrize("name", ["adamw", "lion", "muon", "sgd"])
def test_a_group_has_its_own_rate(name: str) -> None:
    slow, fast = (torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    settings = Optimiser(name=name)  # type: ignore[arg-type]
    optimiser = build(settings, [([slow], 1.0), ([fast], 16.0)], 0.01)
    for weight in (slow, fast):
        weight.grad = torch.ones_like(weight)
    optimiser.step()
    assert slow.item() == pytest.approx(-0.01)
    assert fast.item() == pytest.approx(-0.16)
