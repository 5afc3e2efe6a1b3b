"""Causal attention over examples that stand one after another in a row.

In: queries, keys and values of one row, and the examples' lengths. Out: what each position takes
from its own example's positions up to itself. `Attention` is for processors: query blocks see their
keys only, so that half the scores are never computed, and grouped queries share their keys without
copies. `packed_attention` is the same through torch's SDPA, as an attention of transformers.
No mask over the row is ever made, and nothing is padded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

BLOCK = 128
"""Queries of one block; of 64 to 512 the fastest or near it at lengths of 64 to 2,048."""

LONGEST = 4096
"""Longest example that `Attention` takes."""


class Attention(torch.autograd.Function):
    """Rotary embedding and causal attention; q (tokens, heads·d), k and v (tokens, kv·d).

    `cos` and `sin` have the shape (tokens, d). Scores are products in the inputs' arithmetic and
    their softmax is computed in fp32, as in eager attention under autocast. The backward pass
    computes them again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        scaling: float,
        lengths: Sequence[int],
    ) -> torch.Tensor:
        width = cos.shape[-1]
        groups = q.shape[-1] // k.shape[-1]
        # (kv, tokens, groups, d): the rows of a block of queries are then one matrix without a copy
        queries = _rotate(q.view(len(q), -1, groups, width), cos, sin, scaling)
        queries = queries.transpose(0, 1).contiguous()
        keys = _rotate(k.view(len(k), -1, 1, width), cos, sin).squeeze(2)
        keys = keys.transpose(0, 1).contiguous()
        values = v.view(len(v), -1, width).transpose(0, 1).contiguous()
        out, later = torch.empty_like(queries), _later(queries)
        for start, first, last in _blocks(lengths):
            shares = _shares(queries, keys, later, start, first, last)
            mixed = torch.bmm(shares, values[:, start:last])
            out[:, first:last] = mixed.view(len(keys), last - first, groups, width)
        ctx.save_for_backward(queries, keys, values, cos, sin)
        ctx.scaling, ctx.lengths = scaling, lengths
        return out.transpose(0, 1).reshape(q.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        queries, keys, values, cos, sin = ctx.saved_tensors
        kv, tokens, groups, width = queries.shape
        grad = grad.view(tokens, kv, groups, width).transpose(0, 1).contiguous()
        on_queries = torch.empty_like(queries)
        on_keys = torch.zeros(keys.shape, dtype=torch.float32, device=keys.device)
        on_values, later = torch.zeros_like(on_keys), _later(queries)
        for start, first, last in _blocks(ctx.lengths):
            shares = _shares(queries, keys, later, start, first, last)
            block, wanted = _rows(queries, first, last), _rows(grad, first, last)
            on_values[:, start:last] += torch.bmm(shares.transpose(1, 2), wanted)
            on_shares = torch.bmm(wanted, values[:, start:last].transpose(1, 2))
            on_scores = torch.ops.aten._softmax_backward_data(on_shares, shares, -1, shares.dtype)
            of_block = torch.bmm(on_scores, keys[:, start:last])
            on_queries[:, first:last] = of_block.view(kv, last - first, groups, width)
            on_keys[:, start:last] += torch.bmm(on_scores.transpose(1, 2), block)
        dtype = queries.dtype
        q = _rotate(on_queries.transpose(0, 1), cos, -sin, ctx.scaling).reshape(tokens, -1)
        k = _rotate(on_keys.transpose(0, 1).unsqueeze(2), cos, -sin).to(dtype).reshape(tokens, -1)
        v = on_values.transpose(0, 1).to(dtype).reshape(tokens, -1)
        return q, k, v, None, None, None, None


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


def _blocks(lengths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(start of the example, first query, last query + 1) of each block."""
    start = 0
    for length in lengths:
        for first in range(start, start + length, BLOCK):
            yield start, first, min(first + BLOCK, start + length)
        start += length


def _rows(tensor: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """A block of (kv, tokens, groups, d) as matrices of shape (kv, tokens · groups, d)."""
    return tensor[:, first:last].flatten(1, 2)


def _shares(
    queries: torch.Tensor,
    keys: torch.Tensor,
    later: torch.Tensor,
    start: int,
    first: int,
    last: int,
) -> torch.Tensor:
    """Softmax of the scores of a block, (kv, tokens · groups, keys up to the block's end)."""
    number = last - first
    scores = torch.bmm(_rows(queries, first, last), keys[:, start:last].transpose(1, 2))
    by_token = scores.view(len(keys), number, -1, last - start)
    by_token[..., first - start :] += later[:number, None, :number]
    return torch.softmax(scores, -1)


def _later(like: torch.Tensor) -> torch.Tensor:
    """−∞ where a block's key comes after its query, else 0: adding it is faster than masking."""
    return torch.full((BLOCK, BLOCK), float("-inf"), dtype=like.dtype, device=like.device).triu(1)


def _rotate(
    x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, scaling: float = 1.0
) -> torch.Tensor:
    """x cos + rotate_half(x) sin, times `scaling`, in fp32; x (tokens, kv, groups, d)."""
    half = x.shape[-1] // 2
    cos, sin = cos[:, None, None] * scaling, sin[:, None, None] * scaling
    wide = x.float()
    out = wide * cos
    out[..., :half].addcmul_(wide[..., half:], sin[..., :half], value=-1)
    out[..., half:].addcmul_(wide[..., :half], sin[..., half:])
    return out.to(x.dtype)
