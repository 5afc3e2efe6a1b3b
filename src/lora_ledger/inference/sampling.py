"""Chooses the next token from logits: greedy, or temperature, then top-k, then top-p.

In: logits of one position for each sequence, and one uniform number for each.
Out: token ids. Random numbers come from a generator of the sample's own, so a sample depends on
no other request. It knows no model and no stop rule.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from lora_ledger.compute.token_likelihoods import sum_of_exponentials

# The nucleus is nearly always inside this many tokens; a row where it is not is sorted whole.
HEAD = 128
# Rows that are drawn for at once, so that what they need stays in a processor's cache.
ROWS = 16


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn; temperature 0 is greedy, top_p 1 and top_k 0 are off."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0


def uniforms(seed: int, task: str, problem: int, sample: int, count: int) -> Tensor:
    """`count` uniform numbers in [0, 1), fp64, of the sample's own generator.

    The generator's seed is the SHA-256 of (seed, task, problem, sample), its first 63 bits, so
    all arms of a study draw the same numbers, and a longer run begins like a shorter one.
    """
    key = f"{seed}\0{task}\0{problem}\0{sample}".encode()
    number = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1
    generator = torch.Generator().manual_seed(number)
    return torch.rand(count, generator=generator, dtype=torch.float64)


def choose(logits: Tensor, draws: Tensor, sampling: Sampling) -> Tensor:
    """Token ids (batch) from logits (batch, vocabulary) and uniform draws (batch).

    Top-p keeps the smallest set of most probable tokens whose mass reaches `top_p` (Holtzman et
    al. 2020, section 3.1), taken after top-k has renormalised, in transformers' order.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    parts = zip(torch.split(logits, ROWS), torch.split(draws, ROWS), strict=True)
    return torch.cat([_draw(some, numbers, sampling) for some, numbers in parts])


def _draw(logits: Tensor, draws: Tensor, sampling: Sampling) -> Tensor:
    scaled = logits.float() / sampling.temperature
    if sampling.top_p >= 1 and not sampling.top_k:
        return _invert(scaled.softmax(-1), draws)
    vocabulary = scaled.shape[-1]
    width = min(sampling.top_k or HEAD, vocabulary)
    values, indices = scaled.topk(width, dim=-1)
    if sampling.top_k:
        probabilities = values.softmax(-1)
    else:
        probabilities = (values - values[:, :1]).exp() / sum_of_exponentials(scaled - values[:, :1])
    chosen = _of_nucleus(probabilities, indices, draws, sampling.top_p)
    if not sampling.top_k:
        # Each by itself, so that no row's draw depends on another row.
        for row in (probabilities.sum(-1) < sampling.top_p).nonzero()[:, 0].tolist():
            values, indices = scaled[row, None].sort(dim=-1, descending=True)
            whole = values.softmax(-1)
            chosen[row] = _of_nucleus(whole, indices, draws[row, None], sampling.top_p)[0]
    return chosen


def _of_nucleus(probabilities: Tensor, indices: Tensor, draws: Tensor, top_p: float) -> Tensor:
    """Of tokens in descending order of their probabilities, one of those that top-p keeps."""
    kept = probabilities * nucleus(probabilities, top_p)
    return indices.gather(-1, _invert(kept, draws)[:, None])[:, 0]


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Mask of the tokens kept by top-p, for probabilities in descending order along the last axis.

    A token is kept when the mass before it is below `top_p`; the first is always kept.
    """
    before = torch.nn.functional.pad(probabilities.cumsum(-1)[..., :-1], (1, 0))
    mask = before < top_p
    mask[..., 0] = True
    return mask


def _invert(weights: Tensor, draws: Tensor) -> Tensor:
    """Indices where the cumulated weights (batch, n; any scale) first exceed draw times total."""
    # Apple's GPUs have no fp64.
    near = weights.cpu() if weights.device.type == "mps" else weights
    cumulated = near.double().cumsum(-1)
    target = draws.to(cumulated.device)[:, None] * cumulated[:, -1:]
    places = torch.searchsorted(cumulated, target, right=True)[:, 0]
    return places.clamp(max=weights.shape[-1] - 1).to(weights.device)
