"""Held-out text and multiple choice on the random model, against plain forward passes."""

from __future__ import annotations

import csv
import gzip
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import factories
from lora_ledger.common.errors import KeyProblem
from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.store import save
from lora_ledger.inference.weights import load_tokenizer, load_weights
from lora_ledger.records.record import Record
from lora_ledger.stages.retain import retain
from lora_ledger.study.file import load

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
def text(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Record:
    out = tmp_path_factory.mktemp("text")
    save({"test": [Example(group=str(i), text=t) for i, t in enumerate(TEXTS)]}, out / "data")
    study = load(str(SMOKE))
    return retain(study, "general", "base", tiny_model, None, out / "data", out / "r.json")


@pytest.fixture(scope="module")
def task(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Record, list[dict[str, str]]]:
    out = tmp_path_factory.mktemp("task")
    save({"test": facts()}, out / "data")
    record = retain(
        load(str(SMOKE)), "facts", "base", tiny_model, None, out / "data", out / "r.json",
        out / "r.csv.gz",
    )  # fmt: skip
    table = gzip.decompress((out / "r.csv.gz").read_bytes()).decode().splitlines()
    return record, list(csv.DictReader(table))


def nats(model: Any, context: list[int], ids: list[int]) -> float:
    with torch.no_grad():
        logits = model(torch.tensor([context + ids])).logits[0].double().log_softmax(-1)
    return -sum(float(logits[len(context) + i - 1, t]) for i, t in enumerate(ids))


def test_texts(text: Record, tiny_model: Path) -> None:
    """Two kilobytes: two documents and the beginning of the third, in windows of 64 tokens."""
    found = text.results
    model, tokenizer = load_weights(tiny_model).eval(), load_tokenizer(tiny_model)
    sizes = [len(one.encode()) for one in TEXTS[:2]]
    assert found["bytes"] == [*sizes, 2048 - sum(sizes)]
    for place, one in enumerate(TEXTS[:3]):
        ids = tokenizer.encode(one.encode()[: found["bytes"][place]].decode())
        expected = 0.0
        for start in range(0, len(ids), 64):
            part = ids[start : start + 64]
            # The last window is shorter than the others and reaches back.
            context = [0, *ids][max(0, start + len(part) - 64) : start + 1]
            expected += nats(model, context, part)
        assert found["nats"][place] == pytest.approx(expected, rel=1e-5)
        assert found["tokens"][place] == len(ids)


def test_a_record_says_what_it_is_of(
    text: Record, task: tuple[Record, list[dict[str, str]]]
) -> None:
    assert (text.names, text.cell) == ({"task": "general", "cell": "base"}, "base")
    assert (text.results["kind"], text.results["groups"]) == ("text", ["0", "1", "2"])
    assert text.science.settings["kilobytes"] == 2
    found, settings = task[0].results, task[0].science.settings
    assert set(found["groups"]) == {f"g{i}" for i in range(12)}
    assert (found["kind"], found["options"]) == ("choices", [4] * 12)
    assert (settings["num_fewshot"], settings["task"]["name"]) == (0, "smoke-facts")
    assert text.asked != task[0].asked


def test_choices(task: tuple[Record, list[dict[str, str]]], tiny_model: Path) -> None:
    record, rows = task
    found = record.results
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


def test_a_diverged_cell_passes_its_status_on(tmp_path: Path) -> None:
    factories.diverged(tmp_path / "cell" / "record.json", "train", "repair/lora-olora/tokens/s1")
    for name in ("model", "data"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    record = retain(
        load(str(SMOKE)), "facts", "repair/lora-olora/tokens/s1", tmp_path / "model",
        tmp_path / "cell", tmp_path / "data", tmp_path / "r.json", tmp_path / "r.csv.gz",
    )  # fmt: skip
    assert (record.status, record.results) == ("diverged", {})
    assert len(gzip.decompress((tmp_path / "r.csv.gz").read_bytes()).splitlines()) == 1


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="did you mean 'general'"):
        retain(load(str(SMOKE)), "genral", "base", tmp_path, None, tmp_path, tmp_path)
