"""How a LoRA's A and B start, where peft has no name for it.

In: a peft model whose adapter was just made. Out: the same model with other A and B, and with a
base weight that makes up for them where their product is not 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

BANDS = ("middle", "milora")
"""Bands of singular vectors that `split` takes; `pissa`, the first ones, is peft's own."""


def split(model: Any, band: str) -> None:
    """Move r singular vectors of each adapted weight W = U S Vᵀ into the adapter.

    With s the adapter's scaling, B = U √(S / s) and A = √(S / s) Vᵀ, and W − s B A stays in the
    base. `milora` takes the last ones (Wang et al. 2024, section 3), `middle` those in the middle.
    """
    import torch

    for layer in _layers(model):
        weight, scaling = layer.base_layer.weight.data, layer.scaling["default"]
        rank = layer.r["default"]
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        rest = len(values) - rank
        first = rest if band == "milora" else rest // 2
        some = slice(first, first + rank)
        root = (values[some] / scaling).sqrt()
        up, down = left[:, some] * root, root[:, None] * right[some]
        layer.lora_B["default"].weight.data = up.contiguous()
        layer.lora_A["default"].weight.data = down.contiguous()
        layer.base_layer.weight.data = weight - scaling * (up @ down)


def freeze_down(model: Any) -> None:
    """Each A has orthonormal rows, drawn from torch's generator, and does not train."""
    import torch

    for layer in _layers(model):
        down = layer.lora_A["default"].weight
        columns = torch.linalg.qr(torch.randn(down.shape[1], down.shape[0])).Q
        down.data = columns.T.contiguous().to(down.data)
        down.requires_grad_(False)


def scale_down(model: Any, factor: float) -> None:
    """Multiply the entries of each A."""
    for layer in _layers(model):
        layer.lora_A["default"].weight.data.mul_(factor)


def _layers(model: Any) -> Iterator[Any]:
    from peft.tuners.lora import LoraLayer

    return (module for module in model.modules() if isinstance(module, LoraLayer))
