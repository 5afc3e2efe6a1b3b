"""Casts follow their weights."""

from __future__ import annotations

import torch

from lora_ledger.compute.casts import Casts


def test_a_cast_follows_its_weight() -> None:
    casts = Casts()
    casts.keep = True
    weight = torch.nn.Parameter(torch.ones(4))
    frozen = torch.ones(4)
    first = casts.of(weight, torch.bfloat16)
    assert casts.of(weight, torch.bfloat16) is first
    assert casts.of(weight, torch.float32).data_ptr() == weight.data_ptr()
    kept = casts.of(frozen, torch.bfloat16)
    with torch.no_grad():
        weight.mul_(3)
    assert torch.equal(casts.of(weight, torch.bfloat16), torch.full((4,), 3.0).bfloat16())
    casts.forget(frozen=False)
    weight.grad = torch.ones(4)
    torch.optim.AdamW([weight], lr=0.5, fused=True).step()
    assert torch.equal(casts.of(weight, torch.bfloat16), weight.detach().bfloat16())
    assert casts.of(frozen, torch.bfloat16) is kept
    casts.forget(frozen=True)
    assert casts.of(frozen, torch.bfloat16) is not kept
