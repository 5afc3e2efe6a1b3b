"""Linear layers whose weights lie as oneDNN reads them, for evaluation in bf16 on a processor.

In: a transformers model. Out: the same model, whose linear layers compute the same bits: a weight
in the usual order is put in the library's own at every product, which for a few rows takes as long
as the product. A weight that no other module has too is held in the new order only. PyTorch's
compiler goes by the same two operators, which have no public name; without them nothing changes.
"""

from __future__ import annotations

from collections import Counter
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

ROWS = 16
"""The library chooses one order for products of few rows; this one is as fast for many."""


def install(model: Any) -> None:
    """Replace weight and `forward` of the linear layers of a bf16 model on a CPU."""
    operators = torch.ops.mkldnn
    if (
        model.device.type != "cpu"
        or not torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        or not hasattr(operators, "_reorder_linear_weight")
        or not hasattr(operators, "_linear_pointwise")
        or not operators._is_mkldnn_bf16_supported()
    ):
        return
    holders = Counter(id(w) for module in model.modules() for w in module._parameters.values())
    for module in model.modules():
        if type(module) is not nn.Linear or module.weight.dtype != torch.bfloat16:
            continue
        if not module.weight.numel():
            continue
        module.prepacked = operators._reorder_linear_weight(module.weight.detach(), ROWS)
        if holders[id(module.weight)] == 1:
            empty = module.weight.new_empty(0)
            module.weight = nn.Parameter(empty, requires_grad=False)
        module.forward = MethodType(_linear, module)  # type: ignore[method-assign]


def _linear(module: Any, x: Tensor) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(
        x, module.prepacked, module.bias, "none", [], ""
    )
    return result
