"""Log-likelihoods of continuations: token ids in, nats out.

In: a transformers causal model and pairs (context ids, continuation ids).
Out: for each pair the summed log-probability in nats, and whether greedy decoding gives the
continuation. Logits are made for the positions that are scored and for no other; a context that
several continuations share is filled in once. It tokenises nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lora_ledger.inference.decoding import mask_of, prefill

Pair = tuple[list[int], list[int]]
# Scored positions whose logits exist at once: 256 x 49,152 in fp32 is 50 MB.
POSITIONS = 256


@torch.inference_mode()
def score(
    model: Any, pairs: Sequence[Pair], *, batch_size: int, max_length: int
) -> list[tuple[float, bool]]:
    """(nats, greedy) of each pair; no context may be empty.

    A batch holds up to `batch_size` sequences, or that many shared contexts with all their
    continuations. What is longer than `max_length` loses its beginning, as in lm-eval.
    """
    found: list[tuple[float, bool]] = [(0.0, True)] * len(pairs)
    families: dict[tuple[int, ...], list[int]] = {}
    for i, (context, _) in enumerate(pairs):
        families.setdefault(tuple(context), []).append(i)
    shared, alone = [], []
    for members in families.values():
        longest = len(pairs[members[0]][0]) + max(len(pairs[i][1]) for i in members)
        whole = longest <= max_length and all(pairs[i][1] for i in members)
        if len(members) > 1 and whole:
            shared.append(members)
        else:
            alone += members
    alone.sort(key=lambda i: -len(pairs[i][0]) - len(pairs[i][1]))
    shared.sort(key=lambda members: -len(pairs[members[0]][0]))
    for batch in _chunks(alone, batch_size):
        results = _one_by_one(model, [pairs[i] for i in batch], max_length)
        for i, result in zip(batch, results, strict=True):
            found[i] = result
    for some in _chunks(shared, batch_size):
        contexts = [pairs[members[0]][0] for members in some]
        results = _together(model, contexts, [[pairs[i][1] for i in group] for group in some])
        for i, result in zip((i for group in some for i in group), results, strict=True):
            found[i] = result
    return found


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _one_by_one(model: Any, pairs: list[Pair], max_length: int) -> list[tuple[float, bool]]:
    """One batch, padded on the right: a causal model never looks there, so needs no mask."""
    device = model.device
    whole = [(context + ids)[-(max_length + 1) :] for context, ids in pairs]
    hidden = model.get_decoder()(
        input_ids=_padded([ids[:-1] for ids in whole], device), use_cache=False
    ).last_hidden_state
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    for row, (ids, (_, scored)) in enumerate(zip(whole, pairs, strict=True)):
        count = min(len(scored), len(ids) - 1)
        rows += [row] * count
        columns += range(len(ids) - 1 - count, len(ids) - 1)
        targets += ids[len(ids) - count :]
    sums = _Sums(len(pairs))
    sums.add_states(model, hidden, rows, columns, targets)
    return sums.pairs()


def _together(
    model: Any, contexts: list[list[int]], continuations: list[list[list[int]]]
) -> list[tuple[float, bool]]:
    """Continuations of shared contexts: the contexts padded on the left, then what follows."""
    logits, cache, lengths = prefill(model, contexts)
    device = logits.device
    flat = [ids for several in continuations for ids in several]
    place = torch.tensor(
        [row for row, several in enumerate(continuations) for _ in several], device=device
    )
    sums = _Sums(len(flat))
    sums.add(
        logits.float()[place],
        torch.tensor([ids[0] for ids in flat], device=device),
        torch.arange(len(flat)),
    )
    width = max(len(ids) for ids in flat) - 1
    if width:
        cache.batch_select_indices(place)
        lengths = lengths[place]
        before = mask_of(lengths, cache.get_seq_length())
        hidden = model.get_decoder()(
            input_ids=_padded([ids[:-1] for ids in flat], device),
            attention_mask=torch.cat([before, before.new_ones(len(flat), width)], dim=1),
            position_ids=lengths[:, None] + torch.arange(width, device=device)[None, :],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        cells = [(row, i) for row, ids in enumerate(flat) for i in range(len(ids) - 1)]
        rows, columns = [row for row, _ in cells], [column for _, column in cells]
        targets = [flat[row][column + 1] for row, column in cells]
        sums.add_states(model, hidden, rows, columns, targets)
    return sums.pairs()


def _padded(sequences: list[list[int]], device: torch.device) -> Tensor:
    width = max(1, *map(len, sequences), 0)
    return torch.tensor([ids + [0] * (width - len(ids)) for ids in sequences], device=device)


class _Sums:
    """Nats and greediness of `count` continuations, added up token by token."""

    def __init__(self, count: int) -> None:
        self.nats = torch.zeros(count, dtype=torch.float64)
        self.greedy = torch.ones(count, dtype=torch.bool)

    def add(self, logits: Tensor, targets: Tensor, owners: Tensor) -> None:
        """Logits (n, vocabulary) in fp32, the ids (n) that came, whose continuation each is in."""
        values = logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(-1)
        self.nats.index_add_(0, owners, values.double().cpu())
        self.greedy[owners[(logits.argmax(-1) != targets).cpu()]] = False

    def add_states(
        self, model: Any, hidden: Tensor, rows: list[int], columns: list[int], targets: list[int]
    ) -> None:
        """The states hidden[rows, columns], each of which predicts its target."""
        head = model.get_output_embeddings()
        states = hidden[
            torch.tensor(rows, dtype=torch.long, device=hidden.device),
            torch.tensor(columns, dtype=torch.long, device=hidden.device),
        ]
        wanted = torch.tensor(targets, dtype=torch.long, device=hidden.device)
        owners = torch.tensor(rows, dtype=torch.long)
        for start in range(0, len(rows), POSITIONS):
            part = slice(start, start + POSITIONS)
            self.add(head(states[part]).float(), wanted[part], owners[part])

    def pairs(self) -> list[tuple[float, bool]]:
        return list(zip(self.nats.tolist(), self.greedy.tolist(), strict=True))
