"""The gated MLP, (silu(x Wgᵀ) · x Wuᵀ) Wdᵀ: its gating with gradients, and the whole of it without.

In: activations (tokens, features) and projections. Out: what transformers' modules give, with the
same roundings. In training the product of gate and up is never kept: `linear.Project` makes it of
both where the projection down needs it. In evaluation it is made in the gate's own memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import silu

Projection = Callable[[Tensor], Tensor]


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) · up; both are kept."""
    return silu(gate).mul_(up)


def gated_backward(
    grad: Tensor, gate: Tensor, activated: Tensor, up: Tensor, *, on_gate: bool
) -> tuple[Tensor | None, Tensor]:
    """Gradients of `gated` on gate (None unless `on_gate`) and on up; `grad` is overwritten.

    `activated` is silu(gate).
    """
    gate_grad = torch.ops.aten.silu_backward(grad * up, gate) if on_gate else None
    return gate_grad, grad.mul_(activated)


def gated_mlp(
    x: Tensor, gate_projection: Projection, up_projection: Projection, down_projection: Projection
) -> Tensor:
    """silu(gate) · up, projected down; without gradients."""
    return down_projection(silu(gate_projection(x), inplace=True).mul_(up_projection(x)))
