"""Dropout of the adapter's inputs, and gradients through what it kept."""

from __future__ import annotations

import torch
from torch.nn import functional

from lora_ledger.compute.casts import Casts
from lora_ledger.compute.cpu import linear


def test_dropout_drops_each_entry_with_its_probability() -> None:
    """Counts of 400 draws of 2,500 entries: in all, in each place, and of neighbours."""
    torch.manual_seed(3)
    for share in (0.05, 0.5):
        ones = torch.ones(50, 50)
        kept = torch.stack(
            [linear._drop(ones, linear._dropped(ones, share), share) for _ in range(400)]
        )
        dropped = (kept == 0).double().flatten(1)
        assert torch.allclose(kept[kept != 0], torch.tensor(1 / (1 - share)))
        deviation = (share * (1 - share) / dropped.numel()) ** 0.5
        assert abs(float(dropped.mean()) - share) < 5 * deviation
        of_each = dropped.mean(0)
        assert float((of_each - share).abs().max()) < 5.5 * (share * (1 - share) / 400) ** 0.5
        both = (dropped[:, 1:] * dropped[:, :-1]).mean()
        assert abs(float(both) - share**2) < 5 * share / dropped.numel() ** 0.5
    assert linear._dropped(ones, 0.0) is None


def test_gradients_go_through_the_entries_that_dropout_kept() -> None:
    """With one mask written down, the adapter's product is that of peft's formula."""
    torch.manual_seed(0)
    shapes = {"x": (7, 8), "gate": (7, 8), "w": (5, 8), "a": (3, 8), "b": (5, 3)}
    t = {name: torch.randn(shape, requires_grad=True) for name, shape in shapes.items()}
    for share in (0.1, 0.6):
        torch.manual_seed(9)
        mask = linear._drop(torch.ones(7, 8), linear._dropped(t["x"], share), share)
        inputs = functional.silu(t["gate"]) * t["x"]
        theirs = inputs @ t["w"].T + 0.7 * ((inputs * mask) @ t["a"].T) @ t["b"].T
        torch.manual_seed(9)
        ours = linear.Project.apply(
            Casts(), t["x"], t["gate"], t["w"], None, t["a"], t["b"], 0.7, share
        )
        assert torch.allclose(ours, theirs, atol=1e-5)
        weights = torch.randn(theirs.shape)
        one, other = (
            torch.autograd.grad((out * weights).sum(), list(t.values())) for out in (ours, theirs)
        )
        for found, expected in zip(one, other, strict=True):
            assert torch.allclose(found, expected, atol=1e-5)
