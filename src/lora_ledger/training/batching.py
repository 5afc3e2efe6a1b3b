"""Which examples are trained on, in which order and in which batches.

In: the examples' lengths, a budget, a seed. Out: the whole run, known before it starts: for each
optimiser step its micro-batches of example indices, and how many tokens bear loss.
The order depends on seed, data and batch sizes only, so all arms of one seed see the same. No torch
but in `collate`. Nothing is packed or cut here; `prepare` made the examples.

Examples are drawn without replacement within an epoch, an epoch's end falling inside a step where
it falls. A step's examples are sorted by length before they are cut into micro-batches, so that
little padding is computed, while which examples make up a step depends on no length and on no
micro-batch size.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from ..streams import stream
from ..study import Budget

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Example:
    """Token ids; those before `prompt_length` bear no loss, nor does the first one."""

    input_ids: list[int]
    prompt_length: int
    bytes: int

    @property
    def loss_tokens(self) -> int:
        return max(0, len(self.input_ids) - max(1, self.prompt_length))


@dataclass(frozen=True)
class Plan:
    """A run: steps of micro-batches of indices, and the loss-bearing tokens of each step."""

    steps: tuple[tuple[tuple[int, ...], ...], ...]
    tokens: tuple[int, ...]

    @property
    def micro_batches(self) -> list[list[int]]:
        return [list(micro) for step in self.steps for micro in step]

    def cumulative(self, step: int) -> int:
        """Loss-bearing tokens of the first `step` steps."""
        return sum(self.tokens[:step])


def plan(
    examples: Sequence[Example], budget: Budget, seed: int, batch_size: int, micro_batch_size: int
) -> Plan:
    """The steps until the budget is reached; the step that reaches it is the last.

    A budget of epochs is that share of the examples, rounded, and its last step may be smaller.
    Raises ValueError when no example bears loss.
    """
    if not any(example.loss_tokens for example in examples):
        raise ValueError(
            f"training data: found {len(examples)} examples without a token that bears loss; "
            "run prepare again and look at what it dropped"
        )
    limit = None
    if budget.epochs is not None:
        limit = max(1, round(budget.epochs * len(examples)))
    indices = islice(_indices(len(examples), seed), limit)
    steps: list[tuple[tuple[int, ...], ...]] = []
    tokens: list[int] = []
    done = 0
    while step := list(islice(indices, batch_size)):
        step.sort(key=lambda i: len(examples[i].input_ids))
        steps.append(
            tuple(
                tuple(step[start : start + micro_batch_size])
                for start in range(0, len(step), micro_batch_size)
            )
        )
        tokens.append(sum(examples[i].loss_tokens for i in step))
        done += tokens[-1]
        if budget.tokens is not None and done >= budget.tokens:
            break
    return Plan(tuple(steps), tuple(tokens))


def padding_share(examples: Sequence[Example], run: Plan) -> float:
    """The share of computed positions that are padding."""
    lengths = [len(example.input_ids) for example in examples]
    computed = sum(len(m) * max(lengths[i] for i in m) for step in run.steps for m in step)
    return 1 - sum(lengths[i] for step in run.steps for m in step for i in m) / computed


def in_batches(examples: Sequence[Example], size: int) -> list[list[int]]:
    """All indices once, sorted by length, in batches of `size`: for evaluation."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].input_ids))
    return [order[start : start + size] for start in range(0, len(order), size)]


def collate(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Tensors of shape (examples, longest): `input_ids`, `loss_mask`, and where needed a mask.

    `loss_mask` is true at the tokens that are predicted. Padding stands on the right and is known
    by its position; `attention_mask` is left out when there is none.
    """
    import torch

    longest = max(len(example.input_ids) for example in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    loss = torch.zeros(len(examples), longest, dtype=torch.bool)
    attention = torch.zeros(len(examples), longest, dtype=torch.long)
    for row, example in enumerate(examples):
        length = len(example.input_ids)
        ids[row, :length] = torch.tensor(example.input_ids)
        loss[row, max(1, example.prompt_length) : length] = True
        attention[row, :length] = 1
    batch = {"input_ids": ids, "loss_mask": loss}
    if not bool(attention.all()):
        batch["attention_mask"] = attention
    return batch


def read_examples(rows: Any, limit: int | None = None) -> list[Example]:
    """Examples from a packed data set, the first `limit` of them."""
    if limit is not None:
        rows = rows.select(range(min(limit, len(rows))))
    return [
        Example(list(ids), int(prompt), int(size))
        for ids, prompt, size in zip(
            rows["input_ids"], rows["prompt_length"], rows["bytes"], strict=True
        )
    ]


def _indices(size: int, seed: int) -> Iterator[int]:
    """Epoch after epoch, each in an order of its own."""
    for epoch in count():
        order = list(range(size))
        random.Random(stream(seed, "order", epoch)).shuffle(order)
        yield from order
