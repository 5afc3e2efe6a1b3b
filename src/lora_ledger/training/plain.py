"""Training as transformers has it, to check the fast path by: padded batches, the model's own loss.

In: a model as it was loaded, and examples. Out: batches for its own `forward`, whose loss is the
sum of nats, and the nats of examples. Logits exist for a whole batch, and padding is computed with.
Everything else of a run is the same for both paths; `loop` says where they part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from .batching import Example
from .loss import autocast

NO_LOSS = -100
"""The label that transformers leaves out of its loss."""


def collate(examples: Sequence[Example]) -> dict[str, Any]:
    """Right-padded `input_ids`, `attention_mask` and `labels`, each (examples, longest).

    `num_items_in_batch` is what the model divides its summed loss by: 1 leaves it a sum.
    """
    shape = len(examples), max(len(example.input_ids) for example in examples)
    ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, NO_LOSS)
    for row, example in enumerate(examples):
        length, first = len(example.input_ids), max(1, example.prompt_length)
        ids[row, :length] = torch.tensor(example.input_ids)
        mask[row, :length] = 1
        labels[row, first:length] = ids[row, first:length]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "num_items_in_batch": 1}


def loss_tokens(batch: dict[str, Any]) -> int:
    """How many tokens of a batch bear loss."""
    return int((batch["labels"] != NO_LOSS).sum())


def nats_of_examples(
    model: Any, examples: Sequence[Example], device: str, precision: str
) -> list[float]:
    """The summed nats of each example, without dropout, one sequence at a time.

    The model is left in training mode.
    """
    model.eval()
    result = []
    for example in examples:
        ids = torch.tensor([example.input_ids], device=device)
        first = max(1, example.prompt_length)
        with torch.no_grad(), autocast(device, precision):
            # Those of virtual tokens, if there are any, stand before the text's.
            logits = model(input_ids=ids).logits[0, -ids.shape[1] :][first - 1 : -1].float()
        nats = functional.cross_entropy(logits, ids[0, first:], reduction="none")
        result.append(float(nats.cpu().double().sum()))
    model.train()
    return result
