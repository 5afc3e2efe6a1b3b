"""What `retention` measures, against arithmetic by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from lora_ledger.common.errors import KeyProblem
from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.store import save
from lora_ledger.inference.retention import cross_entropy, held_out, lowest_loss, measure_items
from lora_ledger.study.evaluation import LikelihoodTask


def test_cross_entropy_by_hand() -> None:
    assert cross_entropy([-1.0, -1.0], 0) == pytest.approx(math.log(2))
    assert cross_entropy([-1000.0, -1001.0], 1) == pytest.approx(math.log(1 + math.e))


class Fixed:
    """A language model that says what the test gives for each continuation (or context)."""

    max_length = 64

    def __init__(self, sums: dict[str, float], tokens: dict[str, int], by: int = 1) -> None:
        self.sums, self.tokens, self.by = sums, tokens, by

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        return [(self.sums[r.args[self.by]], False) for r in requests]

    def encode(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        return [0], [1] * self.tokens[(context, continuation)[self.by]]


@pytest.mark.parametrize(
    ("sums", "tokens", "acc", "acc_norm", "acc_token", "loss"),
    [
        # Sums: a. Per character -3/1, -4/4, -12/10: b. Per token -3/1, -4/1, -12/8: c.
        ((-3.0, -4.0, -12.0), (1, 1, 8), 0, 0, 1, math.log(math.exp(9) + math.exp(8) + 1)),
        # Sums: c. Per character -6/1, -2.4/4, -2/10: c. Per token -6/4, -2.4/1, -2/1: a.
        ((-6.0, -2.4, -2.0), (4, 1, 1), 1, 1, 0, math.log(1 + math.exp(-4) + math.exp(-0.4))),
        # Sums: b. Per character -5/1, -1/4, -2/10: c. Per token -5/2, -1/1, -2/2: b and c are
        # level, and the first of them counts.
        ((-5.0, -1.0, -2.0), (2, 1, 2), 0, 1, 0, math.log(math.exp(-3) + math.exp(1) + 1)),
    ],
)
def test_accuracies_by_hand(
    sums: tuple[float, ...], tokens: tuple[int, ...], acc: int, acc_norm: int, acc_token: int,
    loss: float, tmp_path: Path,
) -> None:  # fmt: skip
    """The right one is c, of ten characters; a has one and b four."""
    choices = ["A", "Bern", "Copenhagen"]
    item = Example(group="g", prompt="Q?", fields={"choices": choices, "gold": 2})
    save({"test": [item]}, tmp_path)
    sent = [f" {choice}" for choice in choices]
    lm: Any = Fixed(dict(zip(sent, sums, strict=True)), dict(zip(sent, tokens, strict=True)))
    found, rows = measure_items(lm, "x", tmp_path, LikelihoodTask(task="smoke-facts"))
    keys = ("acc", "acc_norm", "acc_token", "gold", "options")
    assert [found[key] for key in keys] == [[acc], [acc_norm], [acc_token], [2], [3]]
    assert found["cross_entropy"] == [pytest.approx(loss, abs=1e-12)]
    assert [(r["loglikelihood"], r["tokens"], r["characters"], r["gold"]) for r in rows] == [
        (sums[0], tokens[0], 1, 0), (sums[1], tokens[1], 4, 0), (sums[2], tokens[2], 10, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "sums", "acc", "loss"),
    [
        ("1", (-2.0, -3.0), 1, math.log(1 + math.exp(-1))),
        ("2", (-2.0, -3.0), 0, math.log(1 + math.exp(1))),
        ("2", (-2.5, -0.5), 1, math.log(1 + math.exp(-2))),
    ],
)
def test_choices_that_are_contexts_by_hand(
    answer: str, sums: tuple[float, float], acc: int, loss: float, tmp_path: Path
) -> None:
    fields = {
        "sentence": "Ann beat Benjamin as _ ran fäster.", "option1": "Ann", "option2": "Benjamin",
        "answer": answer,
    }  # fmt: skip
    save({"test": [Example(group="g", prompt="Q?", fields=fields)]}, tmp_path)
    contexts = ["Ann beat Benjamin as Ann", "Ann beat Benjamin as Benjamin"]
    lm: Any = Fixed(dict(zip(contexts, sums, strict=True)), dict.fromkeys(contexts, 3), by=0)
    found, rows = measure_items(lm, "x", tmp_path, LikelihoodTask(task="winogrande"))
    assert "acc_norm" not in found
    assert (found["acc"], found["acc_token"], found["gold"]) == ([acc], [acc], [int(answer) - 1])
    assert found["cross_entropy"] == [pytest.approx(loss, abs=1e-12)]
    # Columns are of the one continuation "ran fäster." and not of the contexts.
    assert [(r["tokens"], r["characters"], r["bytes"]) for r in rows] == [(3, 11, 12)] * 2
    assert [r["gold"] for r in rows] == [int(answer == "1"), int(answer == "2")]


def test_lowest_loss_by_hand() -> None:
    assert lowest_loss([-4.0, -3.0], [2, 1]) == 0
    assert lowest_loss([-4.0, -3.0], [1, 1]) == 1
    assert lowest_loss([-1.0, -0.5, -0.25], [4, 2, 1]) == 0


def test_held_out_cuts_at_whole_characters() -> None:
    rows = [{"id": "a", "group": "g", "text": "x" * 1023}, {"id": "b", "group": "h", "text": "é!"}]
    assert held_out(rows, 1) == [("a", "g", "x" * 1023)]
    assert held_out([{"id": "b", "group": "h", "text": "é" * 513}], 1) == [("b", "h", "é" * 512)]


@pytest.mark.parametrize(
    ("long", "tokens", "refused"),
    [(1, 64, ""), (2, 64, "2 of 8 items have more than the 64"), (1, 65, "fit into the model's")],
)
def test_what_the_window_cuts_is_counted_and_refused_where_it_is_much(
    long: int, tokens: int, refused: str, tmp_path: Path
) -> None:
    """A context of two tokens and 64 of a continuation, the last of which is not fed: one too many
    for a window of 64."""
    items = [
        Example(group="g", prompt=f"Q{i}?", fields={"choices": ["AC"[i < long], "B"], "gold": 0})
        for i in range(8)
    ]
    save({"test": items}, tmp_path)
    lm: Any = Fixed({" A": -1.0, " B": -2.0, " C": -3.0}, {" A": 1, " B": 1, " C": tokens})
    lm.encode = lambda context, text: ([0, 0], [1] * lm.tokens[text])
    what = LikelihoodTask(task="smoke-facts")
    if refused:
        with pytest.raises(KeyProblem, match=refused):
            measure_items(lm, "x", tmp_path, what)
    else:
        assert measure_items(lm, "x", tmp_path, what)[0]["cut_contexts"] == 1
