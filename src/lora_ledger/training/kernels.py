"""Pieces of a decoder block whose backward pass is written by hand, for processors.

In: activations of shape (tokens, features) and a block's weights. Out: what the modules of
transformers and peft give, with the casts that autocast would make, and the gradients of both.
Each piece saves its inputs once, in the arithmetic of the products, and computes what is cheap
again. It knows no module and no block: `fast` puts the pieces together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Above this share of dropped entries a list of them is longer than a mask of bytes.
SPARSE_DROPOUT = 0.2


class Casts:
    """Weights in the arithmetic of the products, cast once and not at every use.

    `keep` says for how long: with False, as under FSDP, where the storage of a weight comes and
    goes, nothing is kept. Fused optimisers leave a tensor's version as it is, so whoever steps has
    to `forget` the weights that train.
    """

    def __init__(self) -> None:
        self.keep = False
        self._made: dict[int, tuple[torch.Tensor, int, torch.Tensor]] = {}

    def of(self, weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """The weight, detached, in `dtype`."""
        if weight.dtype == dtype:
            return weight.detach()
        made = self._made.get(id(weight))
        if made and made[0] is weight and made[1] == weight._version and made[2].dtype == dtype:
            return made[2]
        cast: torch.Tensor = weight.detach().to(dtype)
        if self.keep:
            self._made[id(weight)] = (weight, weight._version, cast)
        return cast

    def forget(self, *, frozen: bool) -> None:
        """Drop the casts of weights that train, and with `frozen` all others too."""
        self._made = {
            key: made for key, made in self._made.items() if not (frozen or made[0].requires_grad)
        }


class RmsNorm(torch.autograd.Function):
    """x / √(mean x² + eps) · weight, of fp32 or 16-bit x, given out in `dtype`."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float, dtype: torch.dtype
    ) -> torch.Tensor:
        wide = x.float()
        square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()
        scale = square.div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        out: torch.Tensor = (wide * scale).mul_(weight).to(dtype)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        x, weight, scale = ctx.saved_tensors
        unit, grad = x.float() * scale, grad.float()
        on_x = on_weight = None
        if ctx.needs_input_grad[1]:
            on_weight = (grad * unit).sum(dim=tuple(range(x.dim() - 1)))
        if ctx.needs_input_grad[0]:
            grad = grad * weight
            mean = (grad * unit).mean(dim=-1, keepdim=True)
            on_x = grad.sub_(unit.mul_(mean)).mul_(scale).to(x.dtype)
        return on_x, on_weight, None, None


class Project(torch.autograd.Function):
    """x Wᵀ + b, and LoRA's s · drop(x) Aᵀ Bᵀ on top of it where there is an adapter.

    With `gate`, x is replaced by silu(gate) · x, which is computed again in the backward pass
    rather than kept. `adapter` is (A, B, s, dropout), and A and B are given once more for their
    gradients.
    """

    @staticmethod
    def forward(
        ctx: Any,
        casts: Casts,
        x: torch.Tensor,
        gate: torch.Tensor | None,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor | None,
        up: torch.Tensor | None,
        scaling: float,
        dropout: float,
    ) -> torch.Tensor:
        cast = casts.of(weight, x.dtype)
        inputs = x if gate is None else functional.silu(gate).mul_(x)
        if bias is None:
            out = inputs @ cast.T
        else:
            out = torch.addmm(casts.of(bias, x.dtype), inputs, cast.T)
        saved = [x, gate, cast]
        if down is not None and up is not None:
            dropped = _dropped(inputs, dropout)
            narrow = _drop(inputs, dropped, dropout) @ casts.of(down, x.dtype).T
            out.addmm_(narrow, casts.of(up, x.dtype).T, alpha=scaling)
            saved += [casts.of(down, x.dtype), casts.of(up, x.dtype), narrow, dropped]
        ctx.save_for_backward(*saved)
        ctx.scaling, ctx.dropout = scaling, dropout
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        x, gate, cast, *adapter = ctx.saved_tensors
        _, on_x, on_gate, on_weight, on_bias, on_down, on_up, _, _ = ctx.needs_input_grad
        activated = None if gate is None else functional.silu(gate)
        inputs = x if activated is None else activated * x
        back = down_grad = up_grad = None
        if on_x or on_gate:
            back = grad @ cast
        if adapter:
            down, up, narrow, dropped = adapter
            narrow_grad = (grad @ up).mul_(ctx.scaling)
            if on_up:
                up_grad = (narrow.T @ grad).mul_(ctx.scaling).T
            if on_down:
                down_grad = narrow_grad.T @ _drop(inputs, dropped, ctx.dropout)
            if back is not None:
                if dropped is None:
                    back.addmm_(narrow_grad, down)
                else:
                    back += _drop(narrow_grad @ down, dropped, ctx.dropout, own=True)
        weight_grad = grad.T @ inputs if on_weight else None
        bias_grad = grad.sum(0) if on_bias else None
        gate_grad = None
        if back is not None and activated is not None:
            if on_gate:
                gate_grad = torch.ops.aten.silu_backward(back * x, gate)
            back = back.mul_(activated)
        return None, back, gate_grad, weight_grad, bias_grad, down_grad, up_grad, None, None


def _dropped(x: torch.Tensor, share: float) -> torch.Tensor | None:
    """Which entries dropout sets to 0, each with probability `share`, independently.

    Places of a flattened x where they are few, as distances between them are geometric: a draw for
    each dropped entry instead of one for each entry. Else a mask that is true where kept.
    """
    if share == 0:
        return None
    if share > SPARSE_DROPOUT:
        return torch.rand(x.shape, device=x.device) >= share
    expected = x.numel() * share
    # Eight standard deviations more than expected: the list ends beyond x but for one time in 1e15.
    number = int(expected + 8 * expected**0.5 + 8)
    steps = torch.empty(number, device=x.device, dtype=torch.float64).geometric_(share)
    places = steps.cumsum(0).sub_(1)
    return places[: int(torch.searchsorted(places, x.numel()))].to(torch.int32)


def _drop(
    x: torch.Tensor, dropped: torch.Tensor | None, share: float, *, own: bool = False
) -> torch.Tensor:
    """x without the dropped entries, the others scaled; x itself is overwritten if `own`."""
    if dropped is None:
        return x
    out = x.mul_(1 / (1 - share)) if own else x * (1 / (1 - share))
    if dropped.dtype == torch.bool:
        return out.mul_(dropped)
    out.view(-1).index_fill_(0, dropped.long(), 0)
    return out
