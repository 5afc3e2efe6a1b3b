"""Log-likelihoods of tokens from hidden states and the output layer, in pieces, on any device.

In: hidden states at the positions that predict, the output layer, the tokens to come. Out: for
training their summed loss with its gradients, or the loss token by token; for evaluation the
log-likelihood of each token and whether it is the likeliest. All in nats. Logits exist for a few
hundred positions at a time: with a vocabulary of 49,152 they would otherwise be the peak of the
memory. In training the gradient is made while they are there, so that no product is computed twice.
Nothing is averaged; who calls knows over what.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .casts import Casts

CHUNK = 512
"""Positions whose logits exist at a time."""

ROWS = 16
"""Positions of one softmax, so that their fp32 logits stay in the processor's cache."""

WORDS = 4096
"""Words of the head's gradient that are added up at a time, for the same reason."""

POSITIONS = 256
"""Scored positions whose logits exist at once in evaluation: 256 x 49,152 in bf16 is 25 MB. With
fewer the product is slower, as the library reorders the output layer's weights for each."""

SCORED_ROWS = 64
"""Rows of logits that are widened to fp32 together, so that they stay near: 13 MB."""

FLOOR = -80.0
"""Below exp(FLOOR) nothing counts beside the largest, whose exp is 1."""


class SummedNats(torch.autograd.Function):
    """−Σ log p(label), fp32, of states (tokens, hidden) and a head (vocabulary, hidden).

    Products are in the states' arithmetic, softmax and sums in fp32, as under autocast. A frozen
    head gets no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        labels: Tensor,
        casts: Casts,
        chunk: int,
    ) -> Tensor:
        head = casts.of(weight, states.dtype)
        on_states = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        on_weight: Tensor | None = None
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
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
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
    states: Tensor,
    weight: Tensor,
    labels: Tensor,
    casts: Casts,
    chunk: int = CHUNK,
) -> Tensor:
    """The loss of all positions together, with gradients."""
    return SummedNats.apply(states, weight, labels, casts, chunk)  # type: ignore[no-any-return, no-untyped-call]


@torch.no_grad()
def token_nats(
    states: Tensor,
    weight: Tensor,
    labels: Tensor,
    casts: Casts,
    chunk: int = CHUNK,
) -> Tensor:
    """The loss of each position, fp32, of shape (tokens,), without gradients."""
    head = casts.of(weight, states.dtype)
    parts = [
        _nats(states[start : start + chunk] @ head.T, labels[start : start + chunk])
        for start in range(0, len(states), chunk)
    ]
    return torch.cat(parts) if parts else states.new_zeros(0, dtype=torch.float32)


def _nats(logits: Tensor, labels: Tensor, *, with_gradient: bool = False) -> Tensor:
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


def log_likelihoods(head: Any, hidden: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """(log-likelihood, whether it is the likeliest) of a token at each state, on the CPU, in fp64.

    `head` is the output layer, `hidden` has shape (tokens, hidden), `wanted` (tokens). Of equal
    logits the first is likeliest. Without gradients.
    """
    # One buffer for all: memory that is asked for anew costs more than what is computed in it.
    buffer = torch.empty(min(SCORED_ROWS, len(hidden)), head.out_features, device=hidden.device)
    nats, likeliest = [], []
    for start in range(0, len(hidden), POSITIONS):
        for place, part in enumerate(
            torch.split(head(hidden[start : start + POSITIONS]), SCORED_ROWS)
        ):
            these = wanted[start + place * SCORED_ROWS :][: len(part)]
            logits = buffer[: len(part)].copy_(part)
            values, top = logits.gather(1, these[:, None]), logits.amax(-1, keepdim=True)
            # Only where the token's logit is the largest can it be the first of the largest.
            first = (values == top)[:, 0]
            rows = first.nonzero()[:, 0]
            first[rows] = logits[rows].argmax(-1) == these[rows]
            nats.append((values - top - sum_of_exponentials(logits.sub_(top)).log())[:, 0].cpu())
            likeliest.append(first.cpu())
    return torch.cat(nats).double(), torch.cat(likeliest)


def sum_of_exponentials(below: Tensor) -> Tensor:
    """Sum of exp over the last axis (…, 1), for values that are 0 at most; changes them.

    What exp makes of values below FLOOR, denormal numbers in the end, takes a processor thirty
    times as long.
    """
    return below.clamp_(min=FLOOR).exp_().sum(-1, keepdim=True)
