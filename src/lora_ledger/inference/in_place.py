"""RMSNorm and the gated MLP with fewer passes over memory, for evaluation on a processor.

In: a transformers model. Out: the same model, whose modules of these kinds compute what they did,
with the same roundings, mostly in place. On a CPU the passes and the memory that each asks for are
what they cost: a norm of 3,200 x 576 in bf16 takes 1.5 ms on one thread in place of 13.6. They have
no gradients.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from transformers.activations import SiLUActivation

NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")
MLPS = ("LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP")


def install(model: Any) -> None:
    """Replace the `forward` of these modules of a model on a CPU; other modules stay."""
    if model.device.type != "cpu":
        return
    for module in model.modules():
        kind = type(module).__name__
        if kind in NORMS:
            module.forward = MethodType(_norm, module)
        elif kind in MLPS and isinstance(module.act_fn, nn.SiLU | SiLUActivation):
            module.forward = MethodType(_mlp, module)


def _mlp(mlp: Any, x: Tensor) -> Tensor:
    """silu(gate) · up, projected down."""
    gated = silu(mlp.gate_proj(x), inplace=True).mul_(mlp.up_proj(x))
    result: Tensor = mlp.down_proj(gated)
    return result


def _norm(norm: Any, x: Tensor) -> Tensor:
    """x / √(mean x² + eps), in fp32 and rounded to x's type, times the weight."""
    # A copy always, since what follows works in place.
    wide = x.to(torch.float32, copy=True)
    square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()
    scale = square.div_(x.shape[-1]).add_(norm.variance_epsilon).rsqrt_()
    scaled = wide.mul_(scale).to(x.dtype)
    if norm.weight.dtype == x.dtype:
        return scaled.mul_(norm.weight)
    result: Tensor = norm.weight * scaled
    return result
