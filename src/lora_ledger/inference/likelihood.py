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

from .attention import Packed, Segment, states
from .sampling import mass

Pair = tuple[list[int], list[int]]
# Scored positions whose logits exist at once: 256 x 49,152 in bf16 is 25 MB. With fewer the product
# is slower, as the library reorders the output layer's weights for each.
POSITIONS = 256
# Rows of logits that are widened to fp32 together, so that they stay near: 64 x 49,152 is 13 MB.
ROWS = 64
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
    found, first = judge(model, hidden[rows], targets)
    owners = torch.tensor(pack.owners)
    nats.index_add_(0, owners, found)
    greedy[owners[~first]] = False


def judge(model: Any, hidden: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """(nats, whether it is the likeliest) of a token at each state, on the CPU; nats in fp64.

    `hidden` has shape (tokens, hidden), `wanted` (tokens). Of equal logits the first is likeliest.
    """
    head = model.get_output_embeddings()
    # One buffer for all: memory that is asked for anew costs more than what is computed in it.
    buffer = torch.empty(min(ROWS, len(hidden)), head.out_features, device=hidden.device)
    nats, likeliest = [], []
    for start in range(0, len(hidden), POSITIONS):
        for place, part in enumerate(torch.split(head(hidden[start : start + POSITIONS]), ROWS)):
            these = wanted[start + place * ROWS :][: len(part)]
            logits = buffer[: len(part)].copy_(part)
            values, top = logits.gather(1, these[:, None]), logits.amax(-1, keepdim=True)
            # Only where the token's logit is the largest can it be the first of the largest.
            first = (values == top)[:, 0]
            rows = first.nonzero()[:, 0]
            first[rows] = logits[rows].argmax(-1) == these[rows]
            nats.append((values - top - mass(logits.sub_(top)).log())[:, 0].cpu())
            likeliest.append(first.cpu())
    return torch.cat(nats).double(), torch.cat(likeliest)
