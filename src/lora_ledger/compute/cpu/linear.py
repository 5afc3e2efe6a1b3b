"""Linear layers on a processor: with gradients and LoRA, and with weights as oneDNN reads them.

In: activations of shape (tokens, features) and weights. Out: what the modules of transformers and
peft give, with the casts that autocast would make. `Project` is for training: it saves its inputs
once, in the arithmetic of the products, and computes what is cheap again. `prepack` and
`prepacked_linear` are for evaluation in bf16 and give the bits of `nn.functional.linear`: a weight
in the usual order is put in the library's own at every product, which for a few rows takes as long
as the product. PyTorch's compiler goes by the same two operators, which have no public name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lora_ledger.compute.casts import Casts

from .gated_mlp import gated, gated_backward

# Above this share of dropped entries a list of them is longer than a mask of bytes.
SPARSE_DROPOUT = 0.2
# The library chooses one order for products of few rows; this one is as fast for many.
ROWS = 16


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
        inputs = x if gate is None else gated(gate, x)
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
            gate_grad, back = gated_backward(back, gate, activated, x, on_gate=on_gate)
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


def can_prepack() -> bool:
    """Whether this build of torch on this processor has oneDNN's order for bf16 weights."""
    operators = torch.ops.mkldnn
    return bool(
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(operators, "_reorder_linear_weight")
        and hasattr(operators, "_linear_pointwise")
        and operators._is_mkldnn_bf16_supported()
    )


def prepack(weight: torch.Tensor) -> torch.Tensor:
    """A bf16 weight (out, in), not empty, in the library's order: opaque, for the next function."""
    result: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
    return result


def prepacked_linear(
    x: torch.Tensor, prepacked: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """x Wᵀ + b of a weight from `prepack`, without gradients."""
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, prepacked, bias, "none", [], "")
    return result
