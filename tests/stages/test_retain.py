"""Held-out text and multiple choice on the random model, against plain forward passes."""

from __future__ import annotations

import csv
import gzip
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_ledger.common.errors import KeyProblem
from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.store import save
from lora_ledger.inference.weights import load_tokenizer, load_weights
from lora_ledger.records.record import Record, write_record
from lora_ledger.stages.retain import (
    cross_entropy,
    held_out,
    lowest_loss,
    measure_items,
    named_folder,
    retain,
)
from lora_ledger.study.evaluation import LikelihoodTask
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study

SMOKE = Path(__file__).parents[2] / "config" / "smoke.yaml"
TEXTS = ["The river is long; " * 9, "Über " * 30, "x" * 1700, "never read"]


def facts() -> list[Example]:
    return [
        Example(
            group=f"g{i}",
            prompt=f"Question: What is the capital of land {i}?\nAnswer:",
            fields={"choices": [f"Town {i}", "a", f"Villeneuve-{i}", "Öst"], "gold": i % 4},
        )
        for i in range(12)
    ]


@pytest.fixture(scope="module")
def measured(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Record, list[dict[str, str]]]:
    study = load(str(SMOKE))
    out = tmp_path_factory.mktemp("retain")
    save({"test": [Example(group=str(i), text=t) for i, t in enumerate(TEXTS)]}, out / "text")
    save({"test": facts()}, out / "facts")
    record = retain(
        study, "base", tiny_model, None, {"general": out / "text"}, {"facts": out / "facts"},
        out / "r.json", out / "r.csv.gz",
    )  # fmt: skip
    table = gzip.decompress((out / "r.csv.gz").read_bytes()).decode().splitlines()
    return record, list(csv.DictReader(table))


def nats(model: Any, context: list[int], ids: list[int]) -> float:
    with torch.no_grad():
        logits = model(torch.tensor([context + ids])).logits[0].double().log_softmax(-1)
    return -sum(float(logits[len(context) + i - 1, t]) for i, t in enumerate(ids))


def test_texts(measured: tuple[Record, list[dict[str, str]]], tiny_model: Path) -> None:
    """Two kilobytes: two documents and the beginning of the third, in windows of 64 tokens."""
    found = measured[0].results["texts"]["general"]
    model, tokenizer = load_weights(tiny_model).eval(), load_tokenizer(tiny_model)
    sizes = [len(text.encode()) for text in TEXTS[:2]]
    assert found["bytes"] == [*sizes, 2048 - sum(sizes)]
    for place, text in enumerate(TEXTS[:3]):
        ids = tokenizer.encode(text.encode()[: found["bytes"][place]].decode())
        expected = 0.0
        for start in range(0, len(ids), 64):
            part = ids[start : start + 64]
            # The last window is shorter than the others and reaches back.
            context = [0, *ids][max(0, start + len(part) - 64) : start + 1]
            expected += nats(model, context, part)
        assert found["nats"][place] == pytest.approx(expected, rel=1e-5)
        assert found["tokens"][place] == len(ids)


def test_groups_and_options_are_recorded(measured: tuple[Record, list[dict[str, str]]]) -> None:
    results = measured[0].results
    assert results["texts"]["general"]["groups"] == ["0", "1", "2"]
    facts = results["choices"]["facts"]
    assert set(facts["groups"]) == {f"g{i}" for i in range(12)}
    assert facts["options"] == [4] * 12
    assert facts["kind"] == "choices"
    settings = measured[0].science.settings["choices"]["facts"]
    assert (settings["num_fewshot"], settings["task"]["name"]) == (0, "smoke-facts")


def test_choices(measured: tuple[Record, list[dict[str, str]]], tiny_model: Path) -> None:
    record, rows = measured
    found = record.results["choices"]["facts"]
    model, tokenizer = load_weights(tiny_model).eval(), load_tokenizer(tiny_model)
    assert len(rows) == 48
    examples = {e.prompt: e for e in facts()}
    by_gold: dict[int, int] = {}
    for place, (gold, item) in enumerate(zip(found["gold"], found["items"], strict=True)):
        mine = rows[4 * place : 4 * place + 4]
        assert {row["item"] for row in mine} == {item}
        assert [int(row["gold"]) for row in mine] == [int(j == gold) for j in range(4)]
        number = int(next(row for row in mine if row["choice"] == "2")["characters"])
        example = next(
            e
            for e in examples.values()
            if e.fields["gold"] == gold and matches(model, tokenizer, e, mine)
        )
        choices = example.fields["choices"]
        assert isinstance(choices, list)
        assert number == len(choices[2])
        assert [int(row["bytes"]) for row in mine] == [len(c.encode()) for c in choices]
        sums = [float(row["loglikelihood"]) for row in mine]
        assert found["acc"][place] == int(max(range(4), key=sums.__getitem__) == gold)
        per = [s / len(c) for s, c in zip(sums, choices, strict=True)]
        assert found["acc_norm"][place] == int(max(range(4), key=per.__getitem__) == gold)
        each = [s / int(row["tokens"]) for s, row in zip(sums, mine, strict=True)]
        assert found["acc_token"][place] == int(max(range(4), key=each.__getitem__) == gold)
        expected = -math.log(math.exp(sums[gold]) / sum(math.exp(s) for s in sums))
        assert found["cross_entropy"][place] == pytest.approx(expected, abs=1e-9)
        by_gold[gold] = by_gold.get(gold, 0) + 1
    assert by_gold == {0: 3, 1: 3, 2: 3, 3: 3}


def matches(model: Any, tokenizer: Any, example: Example, rows: list[dict[str, str]]) -> bool:
    """Whether the rows' log-likelihoods are those of the example's choices."""
    prompt = tokenizer.encode(example.prompt)
    choices = example.fields["choices"]
    assert isinstance(choices, list)
    return all(
        math.isclose(
            -nats(model, prompt, tokenizer.encode(f" {c}")),
            float(row["loglikelihood"]),
            abs_tol=1e-4,
        )
        for c, row in zip(choices, rows, strict=True)
    )


def test_cross_entropy_by_hand() -> None:
    assert cross_entropy([-1.0, -1.0], 0) == pytest.approx(math.log(2))
    assert cross_entropy([-1000.0, -1001.0], 1) == pytest.approx(math.log(1 + math.e))


class Fixed:
    """A language model that says what the test gives for each continuation (or context)."""

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


def test_a_diverged_cell_passes_its_status_on(tmp_path: Path) -> None:
    write_record(
        tmp_path / "cell" / "record.json", stage="train", cell="c", inputs={}, code="", settings={},
        results={}, status="diverged",
    )  # fmt: skip
    model = tmp_path / "model"
    model.mkdir()
    record = retain(
        load(str(SMOKE)), "c", model, tmp_path / "cell", {}, {}, tmp_path / "r.json",
        tmp_path / "r.csv.gz",
    )  # fmt: skip
    assert (record.status, record.results) == ("diverged", {})


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    study: Study = load(str(SMOKE))
    with pytest.raises(KeyProblem, match="did you mean 'general'"):
        retain(study, "c", tmp_path, None, {"genral": tmp_path}, {}, tmp_path, tmp_path)


def test_named_folder() -> None:
    assert named_folder("a=b/c=d") == ("a", Path("b/c=d"))
