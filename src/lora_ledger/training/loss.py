"""The loss of a causal language model, from hidden states, in pieces.

In: hidden states at the positions that predict, the head's weight, the tokens to come. Out: the
summed nats with their gradients, or the nats token by token. Logits exist for a few hundred
positions at a time: with a vocabulary of 49,152 they would otherwise be the peak of the memory. The
gradient is made while they are there, so that no product is computed twice.
It averages nothing; who calls knows over what.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from .batching import Example, collate, in_batches
from .kernels import Casts

CHUNK = 512
"""Positions whose logits exist at a time."""

TOGETHER = 2048
"""Tokens of an evaluation's forward pass, which keeps nothing for a backward one."""

ROWS = 16
"""Positions of one softmax, so that their fp32 logits stay in the processor's cache."""


WORDS = 4096
"""Words of the head's gradient that are added up at a time, for the same reason."""


class SummedNats(torch.autograd.Function):
    """−Σ log p(label), fp32, of states (tokens, hidden) and a head (vocabulary, hidden).

    Products are in the states' arithmetic, softmax and sums in fp32, as under autocast. A frozen
    head gets no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        weight: torch.Tensor,
        labels: torch.Tensor,
        casts: Casts,
        chunk: int,
    ) -> torch.Tensor:
        head = casts.of(weight, states.dtype)
        on_states = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        on_weight: torch.Tensor | None = None
        # Apple's GPUs have no fp64.
        wide = torch.float32 if states.device.type == "mps" else torch.float64
        total = states.new_zeros((), dtype=wide)
        for start in range(0, len(states), chunk):
            part = states[start : start + chunk]
            logits = part @ head.T
            total += _nats(logits, labels[start : start + chunk], with_gradient=True).sum()
            if on_states is not None:
                on_states[start : start + chunk] = logits @ head
            if ctx.needs_input_grad[1]:
                first = on_weight is None
                if on_weight is None:
                    on_weight = torch.empty_like(weight)
                for word in range(0, len(weight), WORDS):
                    product = logits[:, word : word + WORDS].T @ part
                    if first:
                        on_weight[word : word + WORDS] = product
                    else:
                        on_weight[word : word + WORDS] += product
        ctx.save_for_backward(on_states, on_weight)
        return total.float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        # What was made in the forward pass is handed out once, and so may be scaled where it lies.
        on_states, on_weight = ctx.saved_tensors
        return (
            None if on_states is None else on_states.mul_(grad),
            None if on_weight is None else on_weight.mul_(grad),
            None,
            None,
            None,
        )


def summed_nats(
    states: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    casts: Casts,
    chunk: int = CHUNK,
) -> torch.Tensor:
    """The loss of all positions together, with gradients."""
    return SummedNats.apply(states, weight, labels, casts, chunk)  # type: ignore[no-any-return, no-untyped-call]


@torch.no_grad()
def token_nats(
    states: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    casts: Casts,
    chunk: int = CHUNK,
) -> torch.Tensor:
    """The loss of each position, fp32, of shape (tokens,), without gradients."""
    head = casts.of(weight, states.dtype)
    parts = [
        _nats(states[start : start + chunk] @ head.T, labels[start : start + chunk])
        for start in range(0, len(states), chunk)
    ]
    return torch.cat(parts) if parts else states.new_zeros(0, dtype=torch.float32)


def _nats(
    logits: torch.Tensor, labels: torch.Tensor, *, with_gradient: bool = False
) -> torch.Tensor:
    """−log p of each label; with_gradient overwrites the logits with p less 1 at the label."""
    rows = ROWS if logits.device.type == "cpu" else len(logits)
    nats = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    for start in range(0, len(logits), rows):
        part = logits[start : start + rows]
        label = labels[start : start + rows, None]
        share = torch.softmax(part, -1, dtype=torch.float32)
        # The largest share has a logarithm; that of the label may be too small for a number.
        above = part.amax(-1, keepdim=True).float() - part.gather(1, label).float()
        nats[start : start + rows] = (above - share.amax(-1, keepdim=True).log()).squeeze(1)
        if with_gradient:
            share.scatter_add_(1, label, share.new_full(label.shape, -1))
            part.copy_(share)
    return nats


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
