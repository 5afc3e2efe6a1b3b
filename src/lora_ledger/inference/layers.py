"""A transformers model for evaluation: its layers without padding, and faster ones on a processor.

In: a causal model. Out: the last hidden states of a row of tokens in a layout, by the model's own
layers with attention replaced through transformers' `AttentionInterface`; and, after `install`, the
same model whose norms, gated MLPs and bf16 linear layers on a CPU compute what they did with fewer
passes over memory. The arithmetic stands in `compute`. No logits are made here, and no gradients.
"""

from __future__ import annotations

from collections import Counter
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.activations import SiLUActivation

from lora_ledger.compute.cpu.gated_mlp import gated_mlp
from lora_ledger.compute.cpu.linear import can_prepack, prepack, prepacked_linear
from lora_ledger.compute.cpu.rms_norm import rms_norm

from .layouts import Layout

NAME = "lora-ledger"
# Rotary embeddings whose frequencies change with the length that they see.
BY_LENGTH = ("dynamic", "longrope")
NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")
MLPS = ("LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP")


def states(model: Any, ids: Tensor, positions: Tensor, layout: Layout) -> Tensor:
    """Last hidden states (tokens, hidden) of the ids (tokens) at their positions (tokens)."""
    config = model.config
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope in BY_LENGTH:
        raise ValueError(
            f"rope_type: found {rope!r}, whose frequencies follow the longest sequence of a batch; "
            "expected one whose scores depend on no other request"
        )
    before = config._attn_implementation
    # A name that has no mask function of its own: the model makes no mask, the layout knows.
    config._attn_implementation = NAME
    try:
        hidden = model.get_decoder()(
            input_ids=ids[None], position_ids=positions[None], use_cache=False, layout=layout
        ).last_hidden_state
    finally:
        config._attn_implementation = before
    found: Tensor = hidden[0]
    return found


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout,
    scaling: float,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    return layout.attend(module.layer_idx, query, key, value, scaling, sliding_window), None


AttentionInterface.register(NAME, _attention)


def install(model: Any) -> None:
    """Replace the `forward` of what is understood in a model on a CPU; other modules stay."""
    if model.device.type != "cpu":
        return
    for module in model.modules():
        kind = type(module).__name__
        if kind in NORMS:
            module.forward = MethodType(_norm, module)
        elif kind in MLPS and isinstance(module.act_fn, nn.SiLU | SiLUActivation):
            module.forward = MethodType(_mlp, module)
    if can_prepack():
        _prepack(model)


def _prepack(model: Any) -> None:
    """Put bf16 weights in oneDNN's order; one that no other module has too is held in that only."""
    holders = Counter(id(w) for module in model.modules() for w in module._parameters.values())
    for module in model.modules():
        if type(module) is not nn.Linear or module.weight.dtype != torch.bfloat16:
            continue
        if not module.weight.numel():
            continue
        module.prepacked = prepack(module.weight)
        if holders[id(module.weight)] == 1:
            empty = module.weight.new_empty(0)
            module.weight = nn.Parameter(empty, requires_grad=False)
        module.forward = MethodType(_linear, module)  # type: ignore[method-assign]


def _norm(norm: Any, x: Tensor) -> Tensor:
    return rms_norm(x, norm.weight, norm.variance_epsilon)


def _mlp(mlp: Any, x: Tensor) -> Tensor:
    return gated_mlp(x, mlp.gate_proj, mlp.up_proj, mlp.down_proj)


def _linear(module: Any, x: Tensor) -> Tensor:
    return prepacked_linear(x, module.prepacked, module.bias)
