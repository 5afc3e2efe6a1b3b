"""Attention of packed examples through torch's SDPA, whose kernels are made for GPUs.

In: a row of examples, one after another. Out: what each position takes from its own example's
positions up to itself, as an attention function of transformers. It computes no rotary embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    lengths: Sequence[int] | None = None,
    **how: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers: SDPA for each example of (1, heads, tokens, d).

    Without `lengths`, transformers' own SDPA. A sliding window is kept where an example is longer.
    """
    if lengths is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **how
        )
        return plain
    window = how.get("sliding_window")
    parts = []
    of_each = (torch.split(tensor, list(lengths), dim=2) for tensor in (query, key, value))
    for q, k, v in zip(*of_each, strict=True):
        mask = None
        if window and q.shape[2] > window:
            mask = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device)
            mask = mask.tril().triu(1 - window)
        parts.append(
            functional.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=mask,
                dropout_p=how.get("dropout", 0.0),
                is_causal=mask is None,
                scale=how.get("scaling"),
                enable_gqa=q.shape[1] != k.shape[1],
            )
        )
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None
