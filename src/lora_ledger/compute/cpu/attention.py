"""Causal attention in blocks of queries, each of which sees its keys only.

In: queries, keys and values. Out: what each position takes from positions up to itself. Half the
scores are never computed, no mask over a row is ever made, and grouped queries share their keys
without copies: a block is two matrix products whose rows are all queries that share keys.
`Attention` is for training: examples one after another, rotary embedding and gradients with it.
`causal_attention` is for evaluation: the last tokens of one sequence. Neither pads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

BLOCK = 128
"""Queries of one block; of 64 to 512 the fastest or near it at lengths of 64 to 2,048."""

EVALUATION_BLOCK = 64
"""Queries of one block of `causal_attention`."""

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


def causal_attention(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Attention (1, heads, n, size) of the last n of the keys' tokens, without gradients.

    `query` has shape (1, heads, n, size), `keys` and `values` (1, groups, tokens, size).
    """
    heads, count, size = query.shape[1:]
    groups, width = keys.shape[1:3]
    asked = (query[0] * scaling).view(groups, -1, count, size)
    turned = keys[0].transpose(1, 2)
    out = torch.empty_like(asked)
    for start in range(0, count, EVALUATION_BLOCK):
        end = min(count, start + EVALUATION_BLOCK)
        seen = width - count + end
        rows = asked[:, :, start:end].reshape(groups, -1, size)
        scores = torch.bmm(rows, turned[:, :, :seen]).view(groups, -1, end - start, seen)
        later = torch.ones(end - start, end - start, dtype=torch.bool).triu(1)
        scores[..., seen - (end - start) :].masked_fill_(later, float("-inf"))
        weights = scores.softmax(-1).view(groups, -1, seen)
        found = torch.bmm(weights, values[0, :, :seen])
        out[:, :, start:end] = found.view(groups, -1, end - start, size)
    return out.view(1, heads, count, size)


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
