"""Generates completions: batched decoding with a key-value cache, of one or several samples.

In: a transformers causal model, its tokenizer, and prompts as token ids with their sampling.
Out: completions: text, number of tokens, and why each ended. Prompts are filled in once however
many samples they have; padding is masked by position, never by token id; finished sequences leave
the batch. It renders no prompt and reads no task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import DynamicCache

from lora_ledger.inference.sampling import Sampling, choose

Finish = Literal["stop", "length", "end"]
# Tokens of prompts, padding included, that are filled in at once.
PREFILL = 4096


@dataclass(frozen=True)
class Prompt:
    """One prompt and the random draws of its samples (samples, max_tokens)."""

    ids: list[int]
    draws: Tensor
    stop_strings: tuple[str, ...]
    max_tokens: int
    sampling: Sampling


@dataclass(frozen=True)
class Completion:
    """`tokens` counts every generated token, one that ends the text included."""

    text: str
    tokens: int
    finish: Finish


@dataclass
class _Sequence:
    prompt: int
    sample: int
    ids: list[int] = field(default_factory=list)
    finish: Finish | None = None


@dataclass
class _Batch:
    """Sequences in the making. Row i holds `lengths[i]` tokens, at the right end of the cache."""

    sequences: list[_Sequence]
    logits: Tensor
    cache: Any
    lengths: Tensor


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    end_ids: frozenset[int],
    batch_size: int,
) -> list[list[Completion]]:
    """Completions of each prompt, in the order given; `batch_size` bounds the sequences at once.

    Prompts run sorted by length, longest first; when half of the batch has ended, others take the
    places. The kernels of a batch may round the last digits of its logits in another way than
    those of another batch; nothing else passes between sequences.
    """
    found: list[list[Completion | None]] = [[None] * len(prompt.draws) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i].ids), i))
    for sampling in dict.fromkeys(prompts[i].sampling for i in order):
        waiting = deque(
            _Sequence(i, j)
            for i in order
            if prompts[i].sampling == sampling
            for j in range(len(prompts[i].draws))
        )
        for sequence in _decode(model, tokenizer, prompts, waiting, sampling, end_ids, batch_size):
            prompt = prompts[sequence.prompt]
            assert sequence.finish is not None
            found[sequence.prompt][sequence.sample] = Completion(
                text=_text(tokenizer, sequence.ids, prompt.stop_strings),
                tokens=len(sequence.ids),
                finish=sequence.finish,
            )
    return [[one for one in several if one is not None] for several in found]


@torch.inference_mode()
def _decode(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    waiting: deque[_Sequence],
    sampling: Sampling,
    end_ids: frozenset[int],
    batch_size: int,
) -> list[_Sequence]:
    """Decode all that waits, token by token, and return it as it ends."""
    done: list[_Sequence] = []
    batch: _Batch | None = None
    while batch or waiting:
        held = len(batch.sequences) if batch else 0
        while waiting and held <= batch_size // 2:
            batch = _join(batch, _admit(model, prompts, waiting, batch_size - held))
            held = len(batch.sequences)
        assert batch is not None
        draws = torch.stack(
            [prompts[s.prompt].draws[s.sample, len(s.ids)] for s in batch.sequences]
        )
        tokens = choose(batch.logits, draws, sampling)
        keep = []
        for row, (sequence, token) in enumerate(zip(batch.sequences, tokens.tolist(), strict=True)):
            sequence.ids.append(token)
            sequence.finish = _finish(tokenizer, prompts[sequence.prompt], sequence.ids, end_ids)
            if sequence.finish is None:
                keep.append(row)
            else:
                done.append(sequence)
        if not keep:
            batch = None
            continue
        if len(keep) < len(batch.sequences):
            kept = torch.tensor(keep, device=tokens.device)
            tokens = tokens[kept]
            _select(batch, kept, [batch.sequences[row] for row in keep])
        _step(model, batch, tokens)
    return done


def _admit(model: Any, prompts: Sequence[Prompt], waiting: deque[_Sequence], room: int) -> _Batch:
    """Take up to `room` sequences and fill in their prompts, each once, PREFILL tokens at most."""
    taken: list[_Sequence] = []
    rows: list[int] = []
    while waiting and len(taken) < room:
        prompt = waiting[0].prompt
        if prompt not in rows:
            # Sorted by length, so the first is the widest.
            width = len(prompts[rows[0] if rows else prompt].ids)
            if rows and width * (len(rows) + 1) > PREFILL:
                break
            rows.append(prompt)
        taken.append(waiting.popleft())
    logits, cache, lengths = prefill(model, [prompts[i].ids for i in rows])
    place = torch.tensor([rows.index(s.prompt) for s in taken], device=logits.device)
    batch = _Batch(taken, logits, cache, lengths)
    _select(batch, place, taken)
    return batch


def _select(batch: _Batch, rows: Tensor, sequences: list[_Sequence]) -> None:
    """Take the given rows (one may come several times), and no column that all of them pad."""
    batch.sequences = sequences
    batch.cache.batch_select_indices(rows)
    batch.logits, batch.lengths = batch.logits[rows], batch.lengths[rows]
    width = int(batch.lengths.max())
    for layer in batch.cache.layers:
        layer.keys, layer.values = layer.keys[..., -width:, :], layer.values[..., -width:, :]


def _join(first: _Batch | None, second: _Batch) -> _Batch:
    """Two batches as one, the narrower cache padded on the left."""
    if first is None:
        return second
    width = max(first.cache.get_seq_length(), second.cache.get_seq_length())
    for one, other in zip(first.cache.layers, second.cache.layers, strict=True):
        one.keys = torch.cat([_widen(one.keys, width), _widen(other.keys, width)])
        one.values = torch.cat([_widen(one.values, width), _widen(other.values, width)])
    return _Batch(
        first.sequences + second.sequences,
        torch.cat([first.logits, second.logits]),
        first.cache,
        torch.cat([first.lengths, second.lengths]),
    )


def _widen(states: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(states, (0, 0, width - states.shape[-2], 0))


def _step(model: Any, batch: _Batch, tokens: Tensor) -> None:
    """Feed one token to every row and put the next logits in place."""
    positions = batch.lengths
    batch.lengths = positions + 1
    width = batch.cache.get_seq_length() + 1
    padded = bool((batch.lengths < width).any())
    batch.logits = _last_logits(
        model,
        input_ids=tokens[:, None],
        attention_mask=mask_of(batch.lengths, width) if padded else None,
        position_ids=positions[:, None],
        past_key_values=batch.cache,
    )


def _last_logits(model: Any, **inputs: Any) -> Tensor:
    """Logits (batch, vocabulary) of the last position.

    The states are made two-dimensional before the head: on three dimensions that do not lie one
    after another, the product copies the head's weights once for every row of the batch.
    """
    hidden = model.get_decoder()(**inputs, use_cache=True).last_hidden_state
    logits: Tensor = model.get_output_embeddings()(hidden[:, -1].contiguous())
    return logits


def mask_of(lengths: Tensor, width: int) -> Tensor:
    """True (batch, width) on the last `lengths` columns: where tokens and not padding stand."""
    return torch.arange(width, device=lengths.device)[None, :] >= (width - lengths)[:, None]


def prefill(model: Any, prompts: Sequence[list[int]]) -> tuple[Tensor, Any, Tensor]:
    """Last logits (batch, vocabulary), cache and lengths (batch) of left-padded prompts."""
    device = model.device
    lengths = torch.tensor([len(ids) for ids in prompts], device=device)
    width = int(lengths.max())
    ids = torch.tensor([[0] * (width - len(one)) + one for one in prompts], device=device)
    places = torch.arange(width, device=device)[None, :] - (width - lengths)[:, None]
    padded = bool((lengths < width).any())
    # Without the model's config every layer keeps all its states, also under a sliding window.
    cache = DynamicCache()
    logits = _last_logits(
        model,
        input_ids=ids,
        attention_mask=mask_of(lengths, width) if padded else None,
        position_ids=places.clamp(min=0),
        past_key_values=cache,
    )
    return logits, cache, lengths


def _finish(
    tokenizer: Any, prompt: Prompt, ids: list[int], end_ids: frozenset[int]
) -> Finish | None:
    if ids[-1] in end_ids:
        return "end"
    # A token has at least one byte: a stop string that ends in the last token began no further
    # back than it has bytes.
    longest = max((len(stop.encode()) for stop in prompt.stop_strings), default=0)
    if longest:
        tail = tokenizer.decode(ids[-longest - 1 :], skip_special_tokens=False)
        if any(stop in tail for stop in prompt.stop_strings):
            return "stop"
    return "length" if len(ids) >= prompt.max_tokens else None


def _text(tokenizer: Any, ids: list[int], stop_strings: tuple[str, ...]) -> str:
    """The decoded text up to the first stop string, as lm-eval cuts it."""
    text: str = tokenizer.decode(ids, skip_special_tokens=True)
    for stop in stop_strings:
        if stop:
            text = text.split(stop)[0]
    return text
