"""The training path: a model of transformers, peft or not, whose `forward` computes less.

In: a Llama-type model, `install`ed once. Out: the same model, whose `forward` takes the packed
batches of `batching.collate` and gives their nats; for anything else it is what it was. Only
`forward` of the model and of its blocks is replaced, on these objects, so that wrappers which go
through `__call__` (FSDP, accelerate, peft, gradient checkpointing) keep working.
What a block holds that is not understood here (DoRA, a quantised layer) is called as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.activations import SiLUActivation
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.utils import ModelOutput

from lora_ledger.compute.casts import Casts
from lora_ledger.compute.cpu.attention import LONGEST, Attention
from lora_ledger.compute.cpu.linear import Project
from lora_ledger.compute.cpu.rms_norm import RmsNorm
from lora_ledger.compute.cuda.attention import packed_attention
from lora_ledger.compute.token_likelihoods import summed_nats, token_nats

PACKED = "packed"


@dataclass
class Nats(ModelOutput):  # type: ignore[misc]
    """`loss` is the sum, with gradients; `token_nats` has shape (tokens,) and is for no_grad."""

    loss: torch.Tensor | None = None
    token_nats: torch.Tensor | None = None


def install(model: Any, *, by_hand: bool) -> Casts:
    """Replace `forward`; returns the casts, which the caller empties when weights change.

    `by_hand` takes the blocks' pieces from `compute.cpu`; else only loss and attention change, and
    the blocks are those of transformers.
    """
    AttentionInterface.register(PACKED, packed_attention)
    AttentionMaskInterface.register(PACKED, sdpa_mask)
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    base.set_attn_implementation(PACKED)
    casts = Casts()
    decoder = base.get_decoder()
    if by_hand:
        for layer in decoder.layers:
            _replace(layer, _block(casts))
    _replace(base, _model(casts))
    return casts


def uninstall(model: Any) -> None:
    """Put back what `install` replaced."""
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    base.set_attn_implementation("sdpa")
    for module in (base, *base.get_decoder().layers):
        module.__dict__.pop("forward", None)


def _replace(module: nn.Module, make: Any) -> None:
    module.forward = MethodType(make(module.forward), module)


def _model(casts: Casts) -> Any:
    def make(original: Any) -> Any:
        def forward(
            self: Any,
            input_ids: torch.Tensor | None = None,
            loss_mask: torch.Tensor | None = None,
            lengths: Sequence[int] | None = None,
            position_ids: torch.Tensor | None = None,
            **others: Any,
        ) -> Any:
            if lengths is None or input_ids is None or loss_mask is None:
                return original(input_ids=input_ids, position_ids=position_ids, **others)
            decoder = self.get_decoder()
            hidden = decoder.embed_tokens(input_ids)
            positions = decoder.rotary_emb(hidden, position_ids=position_ids)
            for layer in decoder.layers:
                hidden = layer(
                    hidden,
                    attention_mask=None,
                    position_ids=position_ids,
                    position_embeddings=positions,
                    lengths=lengths,
                )
            # A position predicts the next one; the first of an example bears no loss.
            at = loss_mask[0, 1:].nonzero().squeeze(1)
            states = hidden[0].index_select(0, at)
            states = _norm(decoder.norm, states, _arithmetic(states))
            inputs = states, self.get_output_embeddings().weight, input_ids[0, 1:][at], casts
            if torch.is_grad_enabled():
                return Nats(loss=summed_nats(*inputs))
            return Nats(token_nats=token_nats(*inputs))

        return forward

    return make


def _block(casts: Casts) -> Any:
    def make(original: Any) -> Any:
        def forward(
            self: Any,
            hidden_states: torch.Tensor,
            lengths: Sequence[int] | None = None,
            position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
            **others: Any,
        ) -> torch.Tensor:
            if lengths is None or position_embeddings is None or not _understood(self, lengths):
                result: torch.Tensor = original(
                    hidden_states,
                    lengths=lengths,
                    position_embeddings=position_embeddings,
                    **others,
                )
                return result
            pieces = partial(run, self, lengths=lengths, position_embeddings=position_embeddings)
            # transformers checkpoints in the `forward` that this one replaces.
            if self.gradient_checkpointing and self.training:
                checkpointed: torch.Tensor = self._gradient_checkpointing_func(
                    pieces, hidden_states
                )
                return checkpointed
            return pieces(hidden_states)

        def run(
            self: Any,
            hidden_states: torch.Tensor,
            lengths: Sequence[int],
            position_embeddings: tuple[torch.Tensor, torch.Tensor],
        ) -> torch.Tensor:
            x = hidden_states[0]
            dtype = _arithmetic(x)
            cos, sin = (part[0].float() for part in position_embeddings)
            attention, mlp = self.self_attn, self.mlp
            normed = _norm(self.input_layernorm, x, dtype)
            q = _head_norm(attention, "q_norm", _project(attention.q_proj, normed, casts), dtype)
            k = _head_norm(attention, "k_norm", _project(attention.k_proj, normed, casts), dtype)
            v = _project(attention.v_proj, normed, casts)
            mixed = Attention.apply(q, k, v, cos, sin, attention.scaling, lengths)  # type: ignore[no-untyped-call]
            x = x + _project(attention.o_proj, mixed, casts)
            normed = _norm(self.post_attention_layernorm, x, dtype)
            gate = _project(mlp.gate_proj, normed, casts)
            x = x + _project(mlp.down_proj, _project(mlp.up_proj, normed, casts), casts, gate)
            return x[None]

        return forward

    return make


def _arithmetic(x: torch.Tensor) -> torch.dtype:
    """What products of x are computed in."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _understood(layer: Any, lengths: Sequence[int]) -> bool:
    attention = layer.self_attn
    window = getattr(attention, "sliding_window", None)
    if window is None:
        window = getattr(attention.config, "sliding_window", None)
    longest = max(lengths)
    return (
        longest <= min(LONGEST, window or LONGEST)
        and not (attention.attention_dropout and attention.training)
        and isinstance(layer.mlp.act_fn, nn.SiLU | SiLUActivation)
    )


def _norm(norm: Any, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return RmsNorm.apply(x, norm.weight, norm.variance_epsilon, dtype)  # type: ignore[no-any-return, no-untyped-call]


def _head_norm(attention: Any, name: str, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Qwen3's norm of each head; other attentions have none."""
    norm = getattr(attention, name, None)
    if norm is None:
        return x
    return _norm(norm, x.view(len(x), -1, attention.head_dim), dtype).flatten(1)


def _project(
    module: Any, x: torch.Tensor, casts: Casts, gate: torch.Tensor | None = None
) -> torch.Tensor:
    """A linear module, plain or with one LoRA adapter, of x, or of silu(gate) · x."""
    linear = module
    adapter: tuple[Any, ...] | None
    if type(module) is nn.Linear and not _hooked(module):
        adapter = (None, None, 1.0, 0.0)
    elif (adapter := _lora(module)) is not None:
        linear = module.base_layer
    if adapter is None:
        inputs = x if gate is None else nn.functional.silu(gate) * x
        return module(inputs).to(x.dtype)  # type: ignore[no-any-return]
    return Project.apply(casts, x, gate, linear.weight, linear.bias, *adapter)  # type: ignore[no-any-return, no-untyped-call]


def _lora(module: Any) -> tuple[torch.Tensor, torch.Tensor, float, float] | None:
    """A, B, scaling and dropout of a peft layer with one ordinary adapter; else None."""
    from peft.tuners.lora import Linear

    if type(module) is not Linear or type(module.base_layer) is not nn.Linear:
        return None
    if module.disable_adapters or module.merged or len(module.active_adapters) != 1:
        return None
    name = module.active_adapters[0]
    if name not in module.lora_A or name in module.lora_variant or module.fan_in_fan_out:
        return None
    down, up = module.lora_A[name], module.lora_B[name]
    if up.bias is not None or any(_hooked(part) for part in (module, module.base_layer, down, up)):
        return None
    dropout = module.lora_dropout[name]
    share = dropout.p if isinstance(dropout, nn.Dropout) and module.training else 0.0
    return down.weight, up.weight, module.scaling[name], share


def _hooked(module: nn.Module) -> bool:
    """Whether somebody wants to see the module called."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
