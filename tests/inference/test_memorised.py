"""Continuations of training examples: where texts are cut, and what a model comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lora_ledger.common.errors import KeyProblem
from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.store import save
from lora_ledger.inference.decoding import Completion
from lora_ledger.inference.memorised import examples, of_examples
from lora_ledger.inference.weights import load_tokenizer, load_weights
from lora_ledger.stages.retain import retain
from lora_ledger.study.evaluation import Memorised
from lora_ledger.study.schema import Study
from tiny_study import STUDY

ROWS = [
    Example(group="a", text="one two\n three  four five six"),
    Example(group="b", text="too short"),
    Example(group="c", text="1 2 3 4"),
]
WHAT = Memorised(corpus="texts", examples=5, prefix=2, words=2)


def test_texts_are_cut_at_words(tmp_path: Path) -> None:
    rows = [{"id": i, "group": r.group, "text": r.text, "prompt": "", "response": ""} for i, r in
            enumerate(ROWS)]  # fmt: skip
    found = {group: (prompt, after) for _, group, prompt, after in examples(rows, WHAT)}
    assert found == {"a": ("one two", "\n three  four"), "c": ("1 2", " 3 4")}
    assert len(examples(rows, WHAT.model_copy(update={"examples": 1}))) == 1
    pair = {"id": 1, "group": "p", "text": "", "prompt": "Q?\nA:", "response": " it is so, yes"}
    assert examples([pair], WHAT) == [("1", "p", "Q?\nA:", " it is")]


class Speaker:
    """Says what the test gives for each prompt."""

    max_length = 50

    def __init__(self, said: dict[str, str]) -> None:
        self.said = said

    def tok_encode(self, text: str, **_: Any) -> list[int]:
        return [1] * len(text)

    def complete(self, requests: list[Any]) -> list[Completion]:
        assert [r.args[1]["max_gen_toks"] for r in requests] == [
            {"one two": 13, "1 2": 4}[r.args[0]] for r in requests
        ]
        return [Completion(self.said[r.args[0]], 1, "length") for r in requests]


def test_verbatim_and_similarity_by_hand(tmp_path: Path) -> None:
    """The first is verbatim and goes a letter beyond; of the second's four one is off."""
    save({"train": ROWS}, tmp_path)
    lm: Any = Speaker({"one two": "\n three  four!", "1 2": " 3 5"})
    found = of_examples(lm, tmp_path, WHAT)
    assert dict(zip(found["groups"], found["verbatim"], strict=True)) == {"a": 1, "c": 0}
    alike = dict(zip(found["groups"], found["similarity"], strict=True))
    assert alike == pytest.approx({"a": 1 - 1 / 14, "c": 0.75}, abs=1e-6)
    assert (found["kind"], found["cut_contexts"]) == ("memorised", 0)


def test_examples_that_are_all_too_short_are_refused(tmp_path: Path) -> None:
    save({"train": ROWS}, tmp_path)
    lm: Any = Speaker({})
    with pytest.raises(KeyProblem, match="fewer words"):
        of_examples(lm, tmp_path, WHAT.model_copy(update={"prefix": 50}))


@pytest.mark.parametrize("backend", ["fast", "plain"])
def test_greedy_continuations_of_the_model(backend: str, tiny_model: Path, tmp_path: Path) -> None:
    """A text that is the model's own greedy continuation is verbatim; another is not."""
    model, tokenizer = load_weights(tiny_model).eval(), load_tokenizer(tiny_model)
    own = ""
    for first in "abcdefghijklmnopqrstuvwxyz":
        ids = tokenizer.encode(f"{first} b")
        start = len(ids)
        for _ in range(12):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        after = tokenizer.decode(ids[start:])
        if tokenizer.encode(after) == ids[start:] and after.startswith(" ") and after.split():
            own = f"{first} b{after}"
            break
    texts = [own] if own else []
    save({"train": [Example(group=str(i), text=t) for i, t in enumerate([*texts, "x y z w"])]},
         tmp_path / "data")  # fmt: skip
    where = {**STUDY["compute"], "backend": backend}
    evaluation = {"memorised": {"recall": {"corpus": "texts", "prefix": 2, "words": 1}}}
    study = Study.model_validate({**STUDY, "compute": where, "evaluation": evaluation})
    found = retain(
        study, "recall", "base", tiny_model, None, tmp_path / "data", tmp_path / "r.json"
    ).results
    by_group = dict(zip(found["groups"], found["verbatim"], strict=True))
    assert by_group[str(len(texts))] == 0
    if own:
        assert by_group["0"] == 1


def test_a_corpus_that_nothing_is_trained_on_is_refused() -> None:
    with pytest.raises(ValueError, match=r"evaluation.memorised.recall.corpus"):
        Study.model_validate({**STUDY, "evaluation": {"memorised": {"recall": {"corpus": "x"}}}})
