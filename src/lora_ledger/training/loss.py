"""The loss of a causal language model, token by token.

In: a Llama-type model (peft or not) and a batch of `batching.collate`. Out: nats of each token that
bears loss. Logits exist for a few hundred positions at a time and are computed again in the
backward pass: with a vocabulary of 49,152 they would otherwise be the peak of the memory.
It averages nothing; who calls knows over what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from .batching import Example, collate, in_batches

CHUNK = 512


def token_nats(model: Any, batch: Mapping[str, torch.Tensor], chunk: int = CHUNK) -> torch.Tensor:
    """Negative log-likelihoods, fp32, of shape (tokens,): those of `loss_mask`, row by row."""
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    hidden = base.get_decoder()(
        input_ids=batch["input_ids"],
        attention_mask=batch.get("attention_mask"),
        use_cache=False,
    ).last_hidden_state
    mask = batch["loss_mask"][:, 1:]
    states, labels = hidden[:, :-1][mask], batch["input_ids"][:, 1:][mask]
    weight = base.get_output_embeddings().weight
    device = states.device.type
    if torch.is_autocast_enabled(device) and not weight.requires_grad:
        # Autocast keeps no copy of a frozen weight and would cast it anew for every chunk.
        weight = weight.to(torch.get_autocast_dtype(device))
    parts = []
    for start in range(0, len(states), chunk):
        inputs = (states[start : start + chunk], weight, labels[start : start + chunk])
        if torch.is_grad_enabled():
            part = checkpoint(_head_nats, *inputs, use_reentrant=False, preserve_rng_state=False)
        else:
            part = _head_nats(*inputs)
        parts.append(part)
    return torch.cat(parts)


def _head_nats(states: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = functional.linear(states, weight)
    return functional.cross_entropy(logits.float(), labels, reduction="none")


@torch.no_grad()
def summed_nats(
    model: Any, examples: Sequence[Example], batch_size: int, device: str, precision: str
) -> list[float]:
    """The summed nats of each example, without dropout; the model is left in training mode."""
    result = [0.0] * len(examples)
    model.eval()
    for indices in in_batches(examples, batch_size):
        batch = {
            key: value.to(device) for key, value in collate([examples[i] for i in indices]).items()
        }
        with autocast(device, precision):
            nats = token_nats(model, batch)
        lengths = [examples[i].loss_tokens for i in indices]
        for index, part in zip(indices, torch.split(nats.double(), lengths), strict=True):
            result[index] = float(part.sum())
    model.train()
    return result


def autocast(device: str, precision: str) -> torch.autocast:
    """The arithmetic of a precision: `fp32` leaves all as it is."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")
