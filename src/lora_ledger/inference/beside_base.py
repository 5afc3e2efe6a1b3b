"""A cell held against its own base, position by position: divergences of the next token, and CSD.

In: a cell, and texts or a task's prompts. Out: for each of them KL(base ‖ cell) and KL(cell ‖ base)
over the whole vocabulary, in nats, summed over positions, and how far the update moves what the
base's matrices give. Both models are in memory and get the same tokens; the forward pass is the
back-end's, logits and sums are in fp32 and wider. Where there is nothing to compare, it says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lora_ledger.common.startup import loading
from lora_ledger.compute.divergences import divergences
from lora_ledger.study import cells
from lora_ledger.study.evaluation import Prompts

from .cuts import count_cut
from .derived import make
from .drift import Drift
from .layers import states
from .layouts import Packed, Segment
from .likelihood import TOKENS
from .updates import Matrix, NoUpdate, matrices, of_model
from .weights import load_tokenizer

if TYPE_CHECKING:
    from .language_model import LedgerModel
    from .subject import Subject

POSITIONS = 128
"""Positions whose logits of both models exist at a time."""


@dataclass(frozen=True)
class Window:
    """`ids` are fed, the next token is compared after the last `scored` of them."""

    ids: list[int]
    scored: int
    owner: int


def of_texts(
    subject: Subject, lm: LedgerModel, texts: Sequence[str], window: int, *, kl: bool, csd: bool
) -> dict[str, Any]:
    """What is asked of `divergence` and `csd`, a value for each text, in the windows in which its
    likelihood is measured: each token is predicted once."""
    pairs, owners = lm.windows(texts, window)
    found = [
        Window([*context, *ids[:-1]], len(ids), owner)
        for (context, ids), owner in zip(pairs, owners, strict=True)
    ]
    return _compared(subject, found, len(texts), kl=kl, csd=csd)


def of_prompts(subject: Subject, lm: LedgerModel, folder: Path, what: Prompts) -> dict[str, Any]:
    """The prompts of a generation task: the next token after each of their tokens, the first of the
    answer included. A prompt longer than the window loses its beginning."""
    with loading():
        from lora_ledger.data.tasks.loading import build

        task = build(what.task, folder, what.num_fewshot, corpus=what.corpus)
    chosen = task.chosen(what.limit)
    prompts = [lm.tok_encode(task.instances[i][0].args[0]) for i in chosen]
    key, value = ("num_fewshot", what.num_fewshot) if what.num_fewshot else ("task", what.task)
    lengths = [len(ids) for ids in prompts]
    cut = count_cut(lengths, lm.max_length, key, value, "are the model's window")
    fed = [ids[-lm.max_length :] for ids in prompts]
    windows = [Window(ids, len(ids), owner) for owner, ids in enumerate(fed)]
    return {
        "kind": "prompts",
        "cut_contexts": cut,
        "items": [task.documents[i]["id"] for i in chosen],
        "groups": [task.documents[i]["group"] for i in chosen],
        "tokens": [len(ids) for ids in fed],
        **_compared(subject, windows, len(chosen), kl=True, csd=what.csd),
    }


def _compared(
    subject: Subject, windows: Sequence[Window], owners: int, *, kl: bool, csd: bool
) -> dict[str, Any]:
    """`divergence` and `csd`, as far as they are asked for, or why not."""
    asked = [name for name, wanted in (("divergence", kl), ("csd", csd)) if wanted]
    if cells.is_base(subject.cell):
        same = {
            "divergence": {"base_cell": [0.0] * owners, "cell_base": [0.0] * owners},
            "csd": {"absolute": [0.0] * owners, "relative": [0.0] * owners, "modules": {}},
        }
        return {name: same[name] for name in asked}
    why = _other_vocabulary(subject)
    if why:
        return {name: {"why": why} for name in asked}
    found: dict[str, Any] = {}
    drift = None
    if csd:
        try:
            changed = _changed(subject)
            drift = Drift(subject.base_model, changed, owners)
        except NoUpdate as reason:
            found["csd"] = {"why": str(reason)}
    try:
        sums = compare(
            subject.base_model,
            subject.held.model if kl else None,
            windows,
            owners,
            packed=subject.held.where["backend"] == "fast",
            drift=drift,
        )
    finally:
        if drift:
            drift.stop()
    if kl:
        found["divergence"] = dict(zip(("base_cell", "cell_base"), sums.tolist(), strict=True))
    if drift:
        counts = [0] * owners
        for one in windows:
            counts[one.owner] += one.scored
        found["csd"] = drift.results(counts)
    return found


def _changed(subject: Subject) -> list[Matrix]:
    """What a cell adds to each matrix of the base; NoUpdate where it adds nothing of the kind."""
    known = cells.weights_of(subject.study, subject.cell)
    how = cells.derived(subject.study, subject.cell)
    method = subject.study.methods[known.method] if known else None
    if how is None:
        return list(matrices(subject.model_dir, subject.trained, method))
    assert subject.trained is not None
    assert method is not None
    # Once more, as the one that answers may be in another precision.
    model = make(subject.model_dir, subject.trained, method, how)[0]
    return list(of_model(subject.model_dir, model))


def _other_vocabulary(subject: Subject) -> str:
    """Why the next tokens of somebody else's model are not those of the base; else empty."""
    if cells.other_of(subject.cell) is None:
        return ""
    base, own = load_tokenizer(subject.model_dir).get_vocab(), subject.held.tokenizer.get_vocab()
    sizes = [model.config.vocab_size for model in (subject.base_model, subject.held.model)]
    if base == own and sizes[0] == sizes[1]:
        return ""
    return f"another vocabulary than the base's: {len(own)} tokens and {len(base)}"


@torch.inference_mode()
def compare(
    base: Any,
    cell: Any,
    windows: Sequence[Window],
    owners: int,
    *,
    packed: bool,
    drift: Drift | None = None,
) -> Tensor:
    """KL(base ‖ cell) and KL(cell ‖ base), shape (2, owners), in nats, summed over positions.

    Without a `cell` they are 0 and the base alone is run, for `drift`. `packed`: windows stand side
    by side in one row, by the layers of the fast back-end; else each is a forward pass of its own.
    """
    sums = torch.zeros(2, owners, dtype=torch.float64)
    models = [model for model in (base, cell) if model is not None]
    read = [_packed(model) if packed else _alone(model) for model in models]
    for batch in _batches(windows, packed):
        rows = torch.tensor(_rows(batch), device=base.device)
        whose = torch.tensor([one.owner for one in batch for _ in range(one.scored)])
        if drift:
            drift.at(rows, whose)
        logits = [one(batch, rows) for one in read]
        if cell is None:
            continue
        for start in range(0, len(whose), POSITIONS):
            part = slice(start, start + POSITIONS)
            both = divergences(*(of(part) for of in logits))
            for total, values in zip(sums, both, strict=True):
                total.index_add_(0, whose[part], values)
    return sums


Logits = Callable[[slice], Tensor]


def _packed(model: Any) -> Callable[[Sequence[Window], Tensor], Logits]:
    """Reads a row of windows; logits are made in fp32, for a few positions at a time."""
    head = model.get_output_embeddings()
    # A weight in the library's own order is held in that alone.
    weight = (head.weight if head.weight.numel() else head.prepacked.to_dense()).float()
    bias = None if head.bias is None else head.bias.float()

    def read(batch: Sequence[Window], rows: Tensor) -> Logits:
        ids = [i for one in batch for i in one.ids]
        positions = [i for one in batch for i in range(len(one.ids))]
        starts = _starts(batch)
        segments = [
            Segment(start, (len(one.ids),)) for start, one in zip(starts, batch, strict=True)
        ]
        device = model.device
        hidden = states(
            model,
            torch.tensor(ids, device=device),
            torch.tensor(positions, device=device),
            Packed(segments),
        )[rows]
        return lambda part: torch.nn.functional.linear(hidden[part].float(), weight, bias)

    return read


def _alone(model: Any) -> Callable[[Sequence[Window], Tensor], Logits]:
    """Reads one window by the model's own forward, virtual tokens before it left out."""

    def read(batch: Sequence[Window], rows: Tensor) -> Logits:
        (one,) = batch
        ids = torch.tensor([one.ids], device=model.device)
        found = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        scored = found[len(found) - one.scored :]
        return lambda part: scored[part].float()

    return read


def _batches(windows: Sequence[Window], packed: bool) -> Iterator[list[Window]]:
    batch: list[Window] = []
    tokens = 0
    for one in windows:
        if batch and (not packed or tokens + len(one.ids) > TOKENS):
            yield batch
            batch, tokens = [], 0
        batch.append(one)
        tokens += len(one.ids)
    if batch:
        yield batch


def _starts(batch: Iterable[Window]) -> list[int]:
    starts = [0]
    for one in batch:
        starts.append(starts[-1] + len(one.ids))
    return starts[:-1]


def _rows(batch: Sequence[Window]) -> list[int]:
    """The rows of the windows that are compared."""
    ends = [start + len(one.ids) for start, one in zip(_starts(batch), batch, strict=True)]
    return [
        row for end, one in zip(ends, batch, strict=True) for row in range(end - one.scored, end)
    ]
