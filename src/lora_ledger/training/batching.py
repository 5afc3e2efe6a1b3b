"""Which examples are trained on, in which order and in which batches.

In: the examples' lengths, a budget, a seed. Out: the whole run, known before it starts: for each
optimiser step its micro-batches of example indices, and how many tokens bear loss.
The order depends on seed, data and batch sizes only, so all arms of one seed see the same. No torch
but in `collate`. Nothing is packed or cut here; `prepare` made the examples.

Examples are drawn without replacement within an epoch, an epoch's end falling inside a step where
it falls. Which examples make up a step depends on no length and on no micro-batch size. A
micro-batch is one row of examples, one after another, and so has no padding.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from lora_ledger.common.seeds import stream
from lora_ledger.common.shares import exactly
from lora_ledger.study.schema import Budget


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
class Order:
    """What a run trains on: steps of micro-batches of indices, and each step's loss-bearing
    tokens."""

    steps: tuple[tuple[tuple[int, ...], ...], ...]
    tokens: tuple[int, ...]

    @property
    def micro_batches(self) -> list[list[int]]:
        return [list(micro) for step in self.steps for micro in step]

    def examples_of(self, step: int) -> list[int]:
        """The indices of optimiser step `step`, counted from 1."""
        return [i for micro in self.steps[step - 1] for i in micro]

    def cumulative(self, step: int) -> int:
        """Loss-bearing tokens of the first `step` steps."""
        return sum(self.tokens[:step])


def batch_of(examples: Sequence[Example], order: Order, step: int) -> int:
    """The same number for steps on the same token ids, in whatever order."""
    rows = (tuple(examples[i].input_ids) for i in order.examples_of(step))
    return hash(tuple(sorted(rows)))


def order_of(
    examples: Sequence[Example], budget: Budget, seed: int, batch_size: int, micro_batch_size: int
) -> Order:
    """The steps until the budget is reached; the step that reaches it is the last.

    A budget of examples, or of epochs (that share of the examples, rounded), may end with a smaller
    step; one of tokens or steps ends with a whole one. Raises ValueError when no example bears
    loss, or for a budget of another unit.
    """
    if not any(example.loss_tokens for example in examples):
        raise ValueError(
            f"training data: found {len(examples)} examples without a token that bears loss; "
            "run prepare again and look at what it dropped"
        )
    limit, enough = None, math.inf
    if budget.tokens is not None:
        enough = budget.tokens
    elif budget.examples is not None:
        limit = budget.examples
    elif budget.steps is not None:
        limit = budget.steps * batch_size
    elif budget.epochs is not None:
        limit = max(1, round(exactly(budget.epochs) * len(examples)))
    else:
        raise ValueError(
            f"budget: found {budget.unit}, expected tokens, examples, steps or epochs of a corpus"
        )
    indices = islice(_indices(len(examples), seed), limit)
    steps: list[tuple[tuple[int, ...], ...]] = []
    tokens: list[int] = []
    done = 0
    while done < enough and (step := list(islice(indices, batch_size))):
        steps.append(
            tuple(
                tuple(step[start : start + micro_batch_size])
                for start in range(0, len(step), micro_batch_size)
            )
        )
        tokens.append(sum(examples[i].loss_tokens for i in step))
        done += tokens[-1]
    return Order(tuple(steps), tuple(tokens))


def in_batches(examples: Sequence[Example], tokens: int) -> list[list[int]]:
    """All indices once, in batches of at most `tokens` (or one example): for evaluation."""
    batches: list[list[int]] = []
    room = 0
    for index, example in enumerate(examples):
        room -= len(example.input_ids)
        if not batches or room < 0:
            batches.append([])
            room = tokens - len(example.input_ids)
        batches[-1].append(index)
    return batches


def collate(examples: Sequence[Example], device: str = "cpu") -> dict[str, Any]:
    """The examples one after another in a row: `input_ids`, `position_ids`, `loss_mask`, `lengths`.

    Tensors have the shape (1, tokens); positions begin at 0 in each example, `loss_mask` is true at
    the tokens that are predicted, and `lengths` are the examples' own.
    """
    import torch

    ids = [token for example in examples for token in example.input_ids]
    lengths = tuple(len(example.input_ids) for example in examples)
    positions = torch.cat([torch.arange(length) for length in lengths])
    first = torch.tensor([max(1, example.prompt_length) for example in examples])
    loss = positions >= first.repeat_interleave(torch.tensor(lengths))
    return {
        "input_ids": torch.tensor([ids]).to(device),
        "position_ids": positions[None].to(device),
        "loss_mask": loss[None].to(device),
        "lengths": lengths,
    }


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
