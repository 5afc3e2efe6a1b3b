"""Generates completions: batched decoding with a key-value cache, of one or several samples.

In: a transformers causal model, its tokenizer, and prompts as token ids with their sampling.
Out: completions: text, number of tokens, and why each ended; and the log-likelihood of a reference
that a prompt may bring along. A prompt is filled in once, however many samples it has, together
with its reference; so is the beginning that all prompts share; nothing is padded. A sequence that
ends leaves the batch, and another takes its place. It renders no prompt, reads no task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, takewhile
from typing import Any, Literal

import torch
from torch import Tensor

from lora_ledger.compute.token_likelihoods import log_likelihoods

from .layers import states
from .layouts import Cached, Packed, Segment
from .sampling import Sampling, choose
from .slots import Slots

Finish = Literal["stop", "length", "end"]
# Tokens of prompts and references that are filled in at once.
PREFILL = 4096
# A beginning that all prompts share is filled in apart from this many tokens on.
SHARED = 16


@dataclass(frozen=True)
class Prompt:
    """One prompt, the random draws of its samples (samples, max_tokens), and what is scored."""

    ids: list[int]
    draws: Tensor
    stop_strings: tuple[str, ...]
    max_tokens: int
    sampling: Sampling
    reference: tuple[int, ...] = ()


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


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    end_ids: frozenset[int],
    batch_size: int,
    done: Callable[[int], object] = lambda count: None,
) -> tuple[list[list[Completion]], list[float]]:
    """Completions of each prompt, in the order given, and the nats of its reference (0 for none).

    `batch_size` bounds the sequences at once.
    Prompts run sorted by length, longest first. `done` is told how many sequences have ended, each
    time that some have. The kernels of a batch may round the last digits of its logits in another
    way than those of another batch; nothing else passes between sequences.
    """
    found: list[list[Completion | None]] = [[None] * len(prompt.draws) for prompt in prompts]
    nats = torch.zeros(len(prompts), dtype=torch.float64)
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i].ids), i))
    for sampling in dict.fromkeys(prompts[i].sampling for i in order):
        some = [i for i in order if prompts[i].sampling == sampling]
        size = min(batch_size, sum(len(prompts[i].draws) for i in some))
        batch = _Batch(model, tokenizer, prompts, nats, sampling, end_ids, size)
        for sequence in batch.run(some, done):
            prompt = prompts[sequence.prompt]
            assert sequence.finish is not None
            found[sequence.prompt][sequence.sample] = Completion(
                text=_text(tokenizer, sequence.ids, prompt.stop_strings),
                tokens=len(sequence.ids),
                finish=sequence.finish,
            )
    texts = [[one for one in several if one is not None] for several in found]
    return texts, nats.tolist()


def shared_length(sequences: Sequence[list[int]]) -> int:
    """How many tokens all begin with, at least one of each being left over."""
    if len(sequences) < 2:
        return 0
    first, last = min(sequences), max(sequences)
    same = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    )
    shortest = min(map(len, sequences))
    return same if same < shortest else shortest - 1


class _Batch:
    """The sequences in the making, of one way of sampling; sequence i stands in slot i."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        prompts: Sequence[Prompt],
        nats: Tensor,
        sampling: Sampling,
        end_ids: frozenset[int],
        size: int,
    ) -> None:
        self.model, self.tokenizer, self.prompts, self.nats = model, tokenizer, prompts, nats
        self.sampling, self.end_ids, self.size = sampling, end_ids, size
        self.active: list[_Sequence] = []
        self.logits = torch.empty(0)
        self.shared = 0
        self.prefix: list[Cached] | None = None
        self.slots = Slots(size)

    @torch.inference_mode()
    def run(self, order: Sequence[int], done: Callable[[int], object]) -> list[_Sequence]:
        """Decode the prompts of these indices, token by token, and return all their sequences."""
        waiting = deque(_Sequence(i, j) for i in order for j in range(len(self.prompts[i].draws)))
        ended: list[_Sequence] = []
        self._share([self.prompts[i].ids for i in order])
        while self.active or waiting:
            # Filling in one short prompt alone would waste the products' width.
            while waiting and len(self.active) <= self.size - max(1, self.size // 8):
                self._admit(waiting)
            before = len(ended)
            tokens = self._choose(ended)
            if len(ended) > before:
                done(len(ended) - before)
            if self.active:
                positions = self.slots.advance()
                hidden = states(self.model, tokens, positions, self.slots)
                self.logits = self.model.get_output_embeddings()(hidden)
        return ended

    def _share(self, sequences: Sequence[list[int]]) -> None:
        """Fill in what all prompts begin with, once."""
        length = shared_length(sequences)
        if length >= SHARED:
            pack = Packed([Segment(0, (length,))], keep=True)
            ids = torch.tensor(sequences[0][:length], device=self.model.device)
            states(self.model, ids, torch.arange(length, device=ids.device), pack)
            # Products with a part of a larger tensor would copy it at every step.
            self.prefix = [(k.contiguous(), v.contiguous()) for k, v in pack.kept]
            self.shared = length
            self.slots = Slots(self.size, self.prefix)

    def _admit(self, waiting: deque[_Sequence]) -> None:
        """Take sequences until the batch is full, or PREFILL tokens of their prompts are."""
        room = self.size - len(self.active)
        taken: list[list[_Sequence]] = []
        rows: list[list[int]] = []
        while waiting and room:
            prompt = self.prompts[waiting[0].prompt]
            # What one pass of a prompt holds; its other samples may have to wait for another pass.
            own = prompt.ids[self.shared :]
            if waiting[0].sample == 0:
                own = [*own, *prompt.reference[:-1]]
            if taken and sum(map(len, rows)) + len(own) > PREFILL:
                break
            several = [waiting.popleft()]
            room -= 1
            while waiting and room and waiting[0].prompt == several[0].prompt:
                several.append(waiting.popleft())
                room -= 1
            taken.append(several)
            rows.append(own)
        starts = [0, *accumulate(map(len, rows))]
        pack = Packed(
            [Segment(start, (len(ids),)) for start, ids in zip(starts, rows, strict=False)],
            prefix=self.prefix,
            keep=True,
        )
        device = self.model.device
        hidden = states(
            self.model,
            torch.tensor([token for ids in rows for token in ids], device=device),
            torch.cat([torch.arange(len(ids), device=device) for ids in rows]) + self.shared,
            pack,
        )
        last: list[int] = []
        scored: list[int] = []
        targets: list[int] = []
        owners: list[int] = []
        for start, several in zip(starts, taken, strict=False):
            end = start + len(self.prompts[several[0].prompt].ids) - self.shared
            last += [end - 1] * len(several)
            kept = [(keys[:, start:end], values[:, start:end]) for keys, values in pack.kept]
            self.slots.add(kept, end - start, len(several))
            self.active += several
            if several[0].sample == 0 and (reference := self.prompts[several[0].prompt].reference):
                # The prompt's last row predicts the first token, each other token the one after it.
                scored += range(end - 1, end - 1 + len(reference))
                targets += reference
                owners += [several[0].prompt] * len(reference)
        if scored:
            at, wanted = (torch.tensor(ids, device=device) for ids in (scored, targets))
            head = self.model.get_output_embeddings()
            nats, _ = log_likelihoods(head, hidden[at], wanted)
            self.nats.index_add_(0, torch.tensor(owners), nats)
        logits = self.model.get_output_embeddings()(hidden[torch.tensor(last, device=device)])
        self.logits = torch.cat([self.logits, logits]) if len(self.logits) else logits

    def _choose(self, ended: list[_Sequence]) -> Tensor:
        """The next token of every sequence that goes on; those that end leave the batch."""
        draws = torch.stack(
            [self.prompts[s.prompt].draws[s.sample, len(s.ids)] for s in self.active]
        )
        chosen: list[int] = choose(self.logits, draws, self.sampling).tolist()
        for sequence, token in zip(self.active, chosen, strict=True):
            sequence.ids.append(token)
            prompt = self.prompts[sequence.prompt]
            sequence.finish = finish_of(
                self.tokenizer, sequence.ids, prompt.stop_strings, prompt.max_tokens, self.end_ids
            )
        for slot in reversed(range(len(self.active))):
            if self.active[slot].finish is not None:
                ended.append(self.active[slot])
                last = self.slots.drop(slot)
                self.active[slot], chosen[slot] = self.active[last], chosen[last]
                self.active.pop()
                chosen.pop()
        self.logits = self.logits[:0]
        return torch.tensor(chosen, device=self.model.device)


def finish_of(
    tokenizer: Any,
    ids: list[int],
    stop_strings: tuple[str, ...],
    max_tokens: int,
    end_ids: frozenset[int],
) -> Finish | None:
    """Why a completion (its ids so far) ends with its last token; None where it goes on."""
    if ids[-1] in end_ids:
        return "end"
    # A token has at least one byte: a stop string that ends in the last token began no further
    # back than it has bytes.
    longest = max((len(stop.encode()) for stop in stop_strings), default=0)
    if longest:
        tail = tokenizer.decode(ids[-longest - 1 :], skip_special_tokens=False)
        if any(stop in tail for stop in stop_strings):
            return "stop"
    return "length" if len(ids) >= max_tokens else None


def _text(tokenizer: Any, ids: list[int], stop_strings: tuple[str, ...]) -> str:
    """The decoded text up to the first stop string, as lm-eval cuts it."""
    text: str = tokenizer.decode(ids, skip_special_tokens=True)
    for stop in stop_strings:
        if stop:
            text = text.split(stop)[0]
    return text
