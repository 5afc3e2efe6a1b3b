"""The stage on a corpus and its own test split, and which pairs of `smoke` stop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.store import load as load_rows
from lora_ledger.data.corpora.store import save
from lora_ledger.records.record import Record
from lora_ledger.stages.contaminate import contaminate
from lora_ledger.study import cells, sources


@dataclass
class Pair:
    """A study of the smoke corpora, with their folders."""

    folder: Path
    study: dict[str, Any]

    def measure(self, **changes: Any) -> Record:
        path = self.folder / "study.yaml"
        path.write_text(yaml.safe_dump({**self.study, **changes}), "utf-8")
        data = self.folder / "smoke-words"
        return contaminate(str(path), "smoke-words", "words", data, data, self.folder / "c.json")


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Two training problems; one test problem is the first with another number, one is unlike."""
    asked = {
        "train": "Ada has 3 boxes with 4 shells in each and loses 2 of them. How many are left?",
        "validation": "A bus with 40 seats left the town at nine and met another one at noon.",
        "seen": "Ben has 8 boxes with 9 shells in each and loses 5 of them. How many are left?",
        "new": "Jun reads a book of ninety pages, ten each day. How many days does that take?",
    }

    def example(name: str) -> Example:
        question = asked[name]
        return Example(
            group=name,
            prompt=f"Question: {question}\nAnswer:",
            response=" 4\n#### 4",
            fields={"question": question, "answer": "4"},
        )

    splits = {
        "train": [example("train")],
        "validation": [example("validation")],
        "test": [example("seen"), example("new")],
    }
    save(splits, tmp_path / "smoke-words")
    study = {
        "name": "pair",
        "title": "one pair",
        "model": "tiny-random-llama",
        "seeds": [1],
        "settings": {"math": {"corpus": "smoke-words", "regime": "ift", "tasks": ["words"]}},
        "methods": {"full": {"kind": "full", "learning_rates": [1.0e-3]}},
        "budgets": {"tokens": {"tokens": 100}},
        "evaluation": {"generate": {"words": {"task": "smoke-words"}}},
    }
    return Pair(tmp_path, study)


def test_the_stage_on_a_corpus_and_its_own_test_split(pair: Pair) -> None:
    record = pair.measure()
    (seen,) = [
        row["id"]
        for row in load_rows(pair.folder / "smoke-words", "test")
        if row["fields"]["question"].startswith("Ben")
    ]
    told = record.results
    assert (record.stage, record.cell) == ("contaminate", "smoke-words/words")
    assert told["training"]["splits"] == ["train", "validation"]
    assert told["training"]["examples"] == 2
    assert told["items"] == 2
    # No 13 words stand between two numbers, but the template is the same.
    assert told["measures"]["13-gram"]["ids"] == told["dirty"] == []
    assert told["measures"]["template"]["ids"] == [seen]
    # The corpus is the task's own: what is measured is the noise, and stops nothing.
    assert told["noise"]["measures"] == told["measures"]
    assert told["stops"] == []
    assert record.science.settings["permitted"] is None


def test_a_permission_stands_in_the_record(pair: Pair) -> None:
    reason = "the same template with other numbers, by design"
    permission = {"corpus": "smoke-words", "task": "words", "reason": reason}
    record = pair.measure(contamination=[permission])
    assert record.science.settings["permitted"] == reason
    assert record.id != pair.measure().id


def test_a_split_that_is_missing_is_named(pair: Pair, tmp_path: Path) -> None:
    (pair.folder / "smoke-words" / "validation").rename(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="the split 'validation' that the catalogue names"):
        pair.measure()


def test_which_pairs_of_smoke_stop(tmp_path: Path) -> None:
    """Problems of one template share 13 words wherever a number happens to be the same."""
    from lora_ledger.data.corpora import reader
    from lora_ledger.data.corpora.selection import select
    from lora_ledger.study.file import load

    study = load("smoke")
    for name in sources.corpora(study):
        options = study.corpus_entry(name).options
        save(select(reader("smoke")({}, options), near_duplicates=False)[0], tmp_path / name)
    stopped = {}
    for corpus, run in cells.pairs(study):
        data = tmp_path / cells.task_of(study, run).corpus
        out = tmp_path / "c.json"
        told = contaminate("smoke", corpus, run, tmp_path / corpus, data, out).results
        if told["stops"]:
            stopped[corpus, run] = [stop["measure"] for stop in told["stops"]]
    assert stopped == {("smoke-words", "words"): ["13-gram"]}
