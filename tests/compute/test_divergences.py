"""Divergences of two models' next tokens, against numpy's definition and torch's kl_div."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from lora_ledger.compute.divergences import divergences


def test_by_hand() -> None:
    """p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2): KL(p ‖ q) = 1/2 ln 2 - 1/4 ln 2."""
    p, q = (torch.tensor([row]).log() for row in ([0.5, 0.25, 0.25], [0.25, 0.25, 0.5]))
    forward, reverse = divergences(p + 3.0, q - 1.0)
    assert forward.tolist() == pytest.approx([math.log(2) / 4])
    assert reverse.tolist() == pytest.approx([math.log(2) / 4])
    p, q = (torch.tensor([row]).log() for row in ([0.9, 0.1], [0.5, 0.5]))
    forward, reverse = divergences(p, q)
    assert float(forward) == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2), rel=1e-6)
    assert float(reverse) == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(5), rel=1e-6)


@pytest.mark.parametrize("apart", [3.0, 1e-2, 1e-4])
def test_as_numpy_and_kl_div_have_it(apart: float) -> None:
    """On more positions than a piece holds; also where it is far below fp32's roundings."""
    torch.manual_seed(1)
    base = 4 * torch.randn(37, 5000)
    cell = base + apart * torch.randn_like(base)
    forward, reverse = divergences(base, cell)
    x, y = (part.numpy().astype(np.float64) for part in (base, cell))
    p, q = (part - np.log(np.exp(part).sum(1, keepdims=True)) for part in (x, y))
    assert forward.numpy() == pytest.approx((np.exp(p) * (p - q)).sum(1), rel=1e-7)
    assert reverse.numpy() == pytest.approx((np.exp(q) * (q - p)).sum(1), rel=1e-7)
    for found, one, other in ((forward, cell, base), (reverse, base, cell)):
        logs = (functional.log_softmax(part.double(), -1) for part in (one, other))
        expected = functional.kl_div(*logs, reduction="none", log_target=True).sum(-1)
        assert found.numpy() == pytest.approx(expected.numpy(), rel=1e-7)
    assert min(float(forward.min()), float(reverse.min())) > 0
    # Of a small change it is half its variance under p, either way.
    if apart == 1e-4:
        assert float(forward.mean()) == pytest.approx(apart**2 / 2, rel=0.2)


def test_a_model_is_no_distance_from_itself() -> None:
    base = 50 * torch.randn(20, 1000)
    assert [float(part.abs().max()) for part in divergences(base, base.clone())] == [0.0, 0.0]
