"""What a model makes of examples: the nats of each, without gradients, and the arithmetic of both.

In: a model with `patching` installed, and examples. Out: summed nats for each example. It averages
nothing; who calls knows over what.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .batching import Example, collate, in_batches

TOGETHER = 2048
"""Tokens of an evaluation's forward pass, which keeps nothing for a backward one."""


def nats_of_examples(
    model: Any,
    examples: Sequence[Example],
    device: str,
    precision: str,
    tokens: int = TOGETHER,
) -> list[float]:
    """The summed nats of each example, without dropout; the model is left in training mode.

    `tokens` pass through the model at a time.
    """
    result = [0.0] * len(examples)
    model.eval()
    for indices in in_batches(examples, tokens):
        batch = collate([examples[i] for i in indices], device)
        with torch.no_grad(), autocast(device, precision):
            nats = model(**batch).token_nats
        lengths = [examples[i].loss_tokens for i in indices]
        for index, part in zip(indices, torch.split(nats.cpu().double(), lengths), strict=True):
            result[index] = float(part.sum())
    model.train()
    return result


def autocast(device: str, precision: str) -> torch.autocast:
    """The arithmetic of a precision: `fp32` leaves all as it is."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")
