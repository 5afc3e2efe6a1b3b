"""Kullback-Leibler divergences of two models' next tokens, over the whole vocabulary, in pieces.

In: logits of two models at the same positions. Out: both divergences at each position, in nats.
Nothing is averaged, and no gradients are made.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 16
"""Positions of one softmax on a processor, so that their logarithms stay in its cache."""


@torch.no_grad()
def divergences(base: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """(KL(base ‖ cell), KL(cell ‖ base)) of each position, in nats, fp64, on the CPU.

    Logits have shape (positions, vocabulary). KL(p ‖ q) = Σ p (log p − log q). Logarithms and sums
    are in fp64, where the device has it: a divergence of 1e-5 is the sum of 50,000 terms that are
    larger than it is and of both signs.
    """
    # Apple's GPUs have no fp64.
    wide = torch.float32 if base.device.type == "mps" else torch.float64
    rows = ROWS if base.device.type == "cpu" else max(1, len(base))
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for one, other in zip(torch.split(base, rows), torch.split(cell, rows), strict=True):
        p, q = (torch.log_softmax(part.to(wide), -1) for part in (one, other))
        apart = p - q
        found[0].append((p.exp_() * apart).sum(-1).cpu().double())
        found[1].append((q.exp_() * apart).sum(-1).neg_().cpu().double())
    # What rounding takes below 0.
    forward, reverse = (torch.cat(parts).clamp_(min=0) for parts in found)
    return forward, reverse
