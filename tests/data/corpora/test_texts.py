"""Splits that may be trained on, texts and questions of corpora made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_ledger.catalogue import CorpusEntry, entries
from lora_ledger.common.errors import KeyProblem
from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.store import save
from lora_ledger.data.corpora.texts import examples, noise_splits, questions, training_splits


def test_texts_and_questions_of_a_folder(tmp_path: Path) -> None:
    fields: dict[str, object] = {"question": "How many?"}
    pair = Example(group="a", prompt="Question: How many?", response=" 4", fields=fields)
    save({"train": [Example(group="b", text="A page.")], "test": [pair]}, tmp_path)
    found = [text for _, text in examples(tmp_path, ["train", "test"])]
    assert found == ["A page.", "Question: How many?\n 4"]
    assert questions(tmp_path, "test", "question")[1] == ["How many?"]
    assert questions(tmp_path, "test", "prompt")[1] == ["Question: How many?"]
    with pytest.raises(KeyProblem, match=r"metadata\.question: found 'query'.*question"):
        questions(tmp_path, "test", "query")
    with pytest.raises(FileNotFoundError, match="the split 'validation' that the catalogue names"):
        list(examples(tmp_path, ["validation"]))


def entry(**splits: dict[str, Any]) -> CorpusEntry:
    return CorpusEntry.model_validate(
        {
            "type": "corpus",
            "title": "made up",
            "reader": "jsonl",
            "content": "pairs",
            "splits": splits,
            "licence": "CC0-1.0",
            "citation": "none",
        }
    )


def test_which_splits_are_training_and_which_are_noise() -> None:
    train, test = {"role": "train"}, {"role": "test"}
    own = entry(train=train, val={"role": "validation"}, test=test, shots={"role": "exemplars"})
    assert training_splits(own) == noise_splits(own) == ["train", "val"]
    published = entry(shots={"role": "exemplars", "as_published": True}, test=test)
    assert (training_splits(published), noise_splits(published)) == ([], ["shots"])
    handful = entry(shots={"role": "exemplars"}, test=test)
    assert noise_splits(handful) == noise_splits(entry(test=test)) == []


def test_a_copied_item_is_found_whatever_form_its_question_has() -> None:
    """WinoGrande's blank and HellaSwag's activity stand in no text that holds the item."""
    from lora_ledger.data.corpora.readers.hellaswag import rendered
    from lora_ledger.data.corpora.readers.winogrande import _example
    from lora_ledger.data.tasks import describe

    fields = {
        "sentence": "The trophy does not fit into the case because the _ is too big.",
        "option1": "trophy",
        "option2": "case",
        "answer": "1",
    }
    asked = _example("row 1", "test", fields).fields["asked"]
    assert asked == "The trophy does not fit into the case because the trophy is too big."
    row = {
        "activity_label": "Washing dishes",
        "ctx_a": "A man stands at a sink.",
        "ctx_b": "he",
        "endings": ["sings.", "washes a plate.", "sleeps.", "drives off."],
        "label": "1",
        "source_id": "activitynet~v_1",
    }
    assert rendered(row, "row 1")["asked"] == "A man stands at a sink. He"
    assert rendered(row, "row 1")["query"] == "Washing dishes: A man stands at a sink. He"
    for name in ("winogrande", "hellaswag", "hellaswag-klosax"):
        assert describe(name).question == "asked"


def test_noise_is_measured_on_what_was_published_to_train_on() -> None:
    """A validation split alone is no training set: the published train, kept for prompts, is."""
    entry = entries()["arc-challenge-hub"]
    assert isinstance(entry, CorpusEntry)
    assert set(noise_splits(entry)) == {"validation", "exemplars"}
    gsm8k = entries()["gsm8k"]
    assert isinstance(gsm8k, CorpusEntry)
    assert set(noise_splits(gsm8k)) == {"train", "validation"}
