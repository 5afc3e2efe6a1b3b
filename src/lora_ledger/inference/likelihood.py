"""Log-likelihoods of continuations: token ids in, nats out.

In: a transformers causal model and pairs (context ids, continuation ids).
Out: for each pair the summed log-probability in nats, and whether greedy decoding gives the
continuation. A context that several continuations share is filled in once, together with them;
nothing is padded, and logits are made for the positions that are scored and for no other. It
tokenises nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lora_ledger.compute.token_likelihoods import log_likelihoods

from .layers import states
from .layouts import Packed, Segment

Pair = tuple[list[int], list[int]]
# Continuations of a context are attended for together up to so many tokens.
TOGETHER = 128
# Tokens of one forward pass; more of them make no product faster.
TOKENS = 4096


@dataclass
class _Family:
    """A context and what is scored after it: (index of the pair, ids), in turn."""

    context: list[int]
    members: list[tuple[int, list[int]]] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        # The last token of a continuation predicts nothing.
        return len(self.context) + sum(len(ids) - 1 for _, ids in self.members)


@torch.inference_mode()
def score(
    model: Any,
    pairs: Sequence[Pair],
    *,
    batch_size: int,
    max_length: int,
    done: Callable[[int], object] = lambda count: None,
) -> list[tuple[float, bool]]:
    """(nats, greedy) of each pair; no context may be empty.

    A forward pass holds up to `batch_size` contexts with all their continuations. What is longer
    than `max_length` loses its beginning, as in lm-eval. `done` is told how many pairs are scored.
    """
    nats = torch.zeros(len(pairs), dtype=torch.float64)
    greedy = torch.ones(len(pairs), dtype=torch.bool)
    for batch in _batches(_families(pairs, max_length), batch_size):
        pack = _Pack()
        for family in batch:
            pack.add(family)
        _add(model, pack, nats, greedy)
        done(sum(len(family.members) for family in batch))
    return list(zip(nats.tolist(), greedy.tolist(), strict=True))


def _families(pairs: Sequence[Pair], max_length: int) -> list[_Family]:
    """Pairs by context, longest first; a pair whose beginning is cut stands alone.

    A context of many continuations is filled in again where TOKENS are full, so that what one
    forward pass holds is bounded by TOKENS and by the longest pair.
    """
    families: dict[tuple[int, ...], _Family] = {}
    done = []
    for i, (context, ids) in enumerate(pairs):
        if not ids:
            continue
        surplus = len(context) + len(ids) - 1 - max_length
        if surplus > 0:
            whole = (context + ids)[surplus:]
            first = max(1, len(whole) - len(ids))
            done.append(_Family(whole[:first], [(i, whole[first:])]))
            continue
        key = tuple(context)
        if key in families and families[key].tokens + len(ids) > TOKENS:
            done.append(families.pop(key))
        families.setdefault(key, _Family(context)).members.append((i, ids))
    return sorted([*done, *families.values()], key=lambda family: -family.tokens)


def _batches(families: list[_Family], size: int) -> Iterator[list[_Family]]:
    batch: list[_Family] = []
    tokens = 0
    for family in families:
        if batch and (len(batch) == size or tokens + family.tokens > TOKENS):
            yield batch
            batch, tokens = [], 0
        batch.append(family)
        tokens += family.tokens
    if batch:
        yield batch


class _Pack:
    """One row of tokens: each family's context, then its continuations without their last token."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.segments: list[Segment] = []
        # Of each scored token: the row that predicts it, the token, the pair that it is in.
        self.rows: list[int] = []
        self.targets: list[int] = []
        self.owners: list[int] = []

    def add(self, family: _Family) -> None:
        context = (len(self.ids), len(self.ids) + len(family.context))
        self._put(family.context, 0)
        if len(family.members) == 1:
            # One continuation is the context's own: a single causal sequence.
            ((owner, ids),) = family.members
            self._score(context[1] - 1, len(self.ids), owner, ids)
            self._put(ids[:-1], len(family.context))
            self.segments.append(Segment(context[0], (len(self.ids) - context[0],)))
            return
        self.segments.append(Segment(context[0], (len(family.context),)))
        group: list[int] = []
        start = len(self.ids)
        for owner, ids in family.members:
            self._score(context[1] - 1, len(self.ids), owner, ids)
            if group and sum(group) + len(ids) > TOGETHER:
                self.segments.append(Segment(start, tuple(group), context))
                group, start = [], len(self.ids)
            self._put(ids[:-1], len(family.context))
            if len(ids) > 1:
                group.append(len(ids) - 1)
        if group:
            self.segments.append(Segment(start, tuple(group), context))

    def _put(self, ids: Sequence[int], position: int) -> None:
        self.ids += ids
        self.positions += range(position, position + len(ids))

    def _score(self, last: int, start: int, owner: int, ids: Sequence[int]) -> None:
        """The context's last row predicts the first token, each other token the one after it."""
        self.rows += [last, *range(start, start + len(ids) - 1)]
        self.targets += ids
        self.owners += [owner] * len(ids)


def _add(model: Any, pack: _Pack, nats: Tensor, greedy: Tensor) -> None:
    """Add what the pack's scored tokens come to, to the pairs that they are in."""
    device = model.device
    hidden = states(
        model,
        torch.tensor(pack.ids, device=device),
        torch.tensor(pack.positions, device=device),
        Packed(pack.segments),
    )
    rows, targets = (torch.tensor(ids, device=device) for ids in (pack.rows, pack.targets))
    found, first = log_likelihoods(model.get_output_embeddings(), hidden[rows], targets)
    owners = torch.tensor(pack.owners)
    nats.index_add_(0, owners, found)
    greedy[owners[~first]] = False
