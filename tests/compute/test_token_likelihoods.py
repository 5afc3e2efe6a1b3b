"""The loss from hidden states against torch's cross-entropy, with its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from lora_ledger.compute.casts import Casts
from lora_ledger.compute.token_likelihoods import summed_nats, token_nats


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    states = torch.randn(71, 16, generator=draw)
    head = torch.randn(5000, 16, generator=draw)
    return states, head, torch.randint(5000, (71,), generator=draw)


@pytest.mark.parametrize("chunk", [7, 1000])
@pytest.mark.parametrize("frozen", [True, False])
def test_value_and_gradients_are_those_of_cross_entropy(
    inputs: Any, chunk: int, frozen: bool
) -> None:
    states, head, labels = inputs
    found = []
    for plain in (True, False):
        s, h = states.clone().requires_grad_(), head.clone().requires_grad_(not frozen)
        if plain:
            loss = functional.cross_entropy(s @ h.T, labels, reduction="sum")
        else:
            loss = summed_nats(s, h, labels, Casts(), chunk)
        (loss / 3).backward()
        found.append((loss.detach(), s.grad, h.grad))
    assert float(found[1][0]) == pytest.approx(float(found[0][0]), rel=1e-6)
    for theirs, ours in zip(found[0][1:], found[1][1:], strict=True):
        if theirs is None:
            assert frozen
            assert ours is None
        else:
            assert float((ours - theirs).norm() / theirs.norm()) < 1e-6
    each = token_nats(states, head, labels, Casts(), chunk)
    assert each.shape == (71,)
    assert float(each.sum()) == pytest.approx(float(found[0][0]), rel=1e-6)


def test_products_in_bf16_are_those_of_autocast(inputs: Any) -> None:
    states, head, labels = inputs
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs = functional.cross_entropy(
            functional.linear(states, head).float(), labels, reduction="none"
        )
    assert torch.allclose(
        token_nats(states.bfloat16(), head, labels, Casts()), theirs, rtol=0, atol=1e-5
    )


def test_no_position_bears_loss(inputs: Any) -> None:
    states, head, labels = inputs
    states = states[:0].requires_grad_()
    loss = summed_nats(states, head.requires_grad_(), labels[:0], Casts())
    loss.backward()
    assert float(loss.detach()) == 0
