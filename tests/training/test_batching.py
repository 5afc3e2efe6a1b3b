"""Order, budget and batches of a run."""

from __future__ import annotations

from collections import Counter

import pytest

from lora_ledger.study.schema import Budget
from lora_ledger.training.batching import Example, Order, collate, in_batches, order_of


def examples(lengths: list[int], prompt: int = 0) -> list[Example]:
    return [Example(list(range(2, 2 + n)), prompt, n) for n in lengths]


def flat(run: Order) -> list[int]:
    return [i for step in run.steps for micro in step for i in micro]


def test_an_epoch_holds_each_example_once_and_the_next_has_another_order() -> None:
    data = examples([10] * 37)
    run = order_of(data, Budget(epochs=2), seed=1, batch_size=8, micro_batch_size=4)
    order = flat(run)
    assert len(order) == 74
    assert Counter(order) == dict.fromkeys(range(37), 2)
    assert [sum(map(len, step)) for step in run.steps] == [8] * 9 + [2]
    assert run.tokens == (72,) * 9 + (18,)
    assert sorted(order[:37]) == list(range(37))
    assert order[:37] != order[37:]


def test_the_order_depends_on_the_seed_only() -> None:
    data = examples([10, 20, 30] * 20)
    one = order_of(data, Budget(epochs=1), 1, 8, 2)
    assert order_of(data, Budget(epochs=1), 1, 8, 2) == one
    assert order_of(data, Budget(epochs=1), 2, 8, 2) != one
    # A longer run begins like a shorter one.
    short = order_of(data, Budget(tokens=500), 1, 8, 2)
    long = order_of(data, Budget(tokens=5000), 1, 8, 2)
    assert 3 <= len(short.steps) < len(long.steps)
    assert long.steps[: len(short.steps)] == short.steps


def test_a_budget_of_examples_takes_as_many_epoch_after_epoch() -> None:
    data = examples([10] * 10)
    run = order_of(data, Budget(examples=25), 1, 4, 2)
    order = flat(run)
    assert [sum(map(len, step)) for step in run.steps] == [4] * 6 + [1]
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10))
    assert order == flat(order_of(data, Budget(epochs=2.5), 1, 4, 2))


def test_a_budget_of_steps_is_that_many_whole_steps() -> None:
    data = examples([10, 30] * 5)
    run = order_of(data, Budget(steps=7), 1, 4, 2)
    assert [sum(map(len, step)) for step in run.steps] == [4] * 7
    assert run.steps == order_of(data, Budget(examples=28), 1, 4, 2).steps
    assert run.examples_of(7) == [i for micro in run.steps[6] for i in micro] == flat(run)[-4:]


def test_a_budget_of_tokens_ends_with_the_step_that_reaches_it() -> None:
    data = examples([32] * 40)
    for tokens, steps in ((1, 1), (4 * 31, 1), (4 * 31 + 1, 2), (100 * 4 * 31, 100)):
        run = order_of(data, Budget(tokens=tokens), 1, 4, 2)
        assert len(run.steps) == steps
        assert run.cumulative(steps) == steps * 4 * 31


def test_a_share_is_the_decimal_that_is_written() -> None:
    """57.5 examples, of which half are rounded up; in binary there are a little fewer."""
    assert 0.575 * 100 < 57.5
    run = order_of(examples([4] * 100), Budget(epochs=0.575), 1, 1, 1)
    assert len(run.steps) == 58


def test_a_budget_that_no_corpus_has_is_refused() -> None:
    with pytest.raises(ValueError, match="found episodes, expected tokens, examples, steps or"):
        order_of(examples([4]), Budget(episodes=8), 1, 1, 1)


def test_steps_depend_on_no_micro_batch_size() -> None:
    lengths = [5 + (i * 37) % 200 for i in range(200)]
    data = examples(lengths)
    runs = [order_of(data, Budget(epochs=1), 3, 16, size) for size in (1, 2, 16)]
    composed = [[sorted(i for m in step for i in m) for step in run.steps] for run in runs]
    assert composed[0] == composed[1] == composed[2]
    assert runs[0].tokens == runs[2].tokens


def test_examples_stand_in_a_row_and_prompts_bear_no_loss() -> None:
    data = [Example([7, 8, 9, 10, 11], 3, 1), Example([0, 0, 5], 0, 1)]
    batch = collate(data)
    assert batch["input_ids"].tolist() == [[7, 8, 9, 10, 11, 0, 0, 5]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2]]
    # Nothing predicts the first token of an example.
    assert batch["loss_mask"].int().tolist() == [[0, 0, 0, 1, 1, 0, 1, 1]]
    assert batch["lengths"] == (5, 3)
    assert [example.loss_tokens for example in data] == [2, 2]


def test_evaluation_covers_all_once() -> None:
    assert in_batches(examples([5, 3, 9, 1, 7]), 8) == [[0, 1], [2], [3, 4]]
    assert in_batches(examples([5, 3, 9, 1, 7]), 1) == [[0], [1], [2], [3], [4]]
    assert in_batches([], 8) == []


def test_data_without_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="without a token that bears loss"):
        order_of(examples([4], prompt=4), Budget(tokens=1), 1, 2, 1)
