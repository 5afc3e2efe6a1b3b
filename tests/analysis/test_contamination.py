"""Verdicts at their limits, results worked out by hand, and two facts about GSM8K."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from lora_ledger.analysis.contamination import look, measure, results, verdict
from lora_ledger.analysis.overlap import GRAM, Overlap, plain, tokens
from lora_ledger.data.corpora.selection import content, identifier

TWELVE = "In some far land the eight small birds sang until the ninth"


def words(text: str) -> list[str]:
    return [plain(word) for word in tokens(text)]


SHARES = {"verbatim": Fraction(0), "13-gram": Fraction(0), "template": Fraction(0)}


@pytest.mark.parametrize(
    ("changes", "noise", "stopped"),
    [
        ({}, None, []),
        ({"verbatim": Fraction(1, 5000)}, None, ["verbatim"]),
        ({"13-gram": Fraction(13, 1300)}, None, []),
        ({"13-gram": Fraction(14, 1300)}, None, ["13-gram"]),
        ({"template": Fraction(1)}, None, []),
        ({"template": Fraction(13, 1300)}, Fraction(0), []),
        ({"template": Fraction(14, 1300)}, Fraction(0), ["template"]),
        ({"template": Fraction(15, 1317)}, Fraction(3, 1317), []),
        ({"template": Fraction(16, 1317)}, Fraction(3, 1317), ["template"]),
        ({"13-gram": None, "template": None}, Fraction(0), []),
        (
            {"verbatim": Fraction(1), "13-gram": Fraction(1), "template": Fraction(1)},
            Fraction(1, 10),
            ["verbatim", "13-gram", "template"],
        ),
    ],
)
def test_verdict_at_the_limits(
    changes: dict[str, Fraction | None], noise: Fraction | None, stopped: list[str]
) -> None:
    assert [stop[0] for stop in verdict({**SHARES, **changes}, noise)] == stopped


def test_results_name_items_examples_and_reasons() -> None:
    ids = [f"q{i}" for i in range(100)]
    # 14 words, of which both runs of 13 hold the two that are the item's own.
    tail = TWELVE.removeprefix("In ")
    asked = [f"item {chr(97 + i // 10) * 2} {chr(97 + i % 10) * 2} {tail}" for i in range(100)]
    training = [("t0", asked[7]), ("t1", f"{asked[9]}!"), ("t2", " ".join(words(asked[11])[1:]))]
    told = results(look(ids, asked, training), asked, look(ids, asked, [("n", asked[50])]))
    assert told["items"] == 100
    # `t2` lacks the first word: 13 words of 14 in a row.
    assert told["measures"]["verbatim"]["ids"] == ["q7", "q9"]
    assert told["measures"]["13-gram"]["ids"] == told["dirty"] == ["q7", "q9", "q11"]
    assert told["measures"]["13-gram"]["share"] == 0.03
    assert [(one["item"], one["measure"], one["example"]) for one in told["excerpts"]] == [
        ("q7", "verbatim", "t0"),
        ("q9", "verbatim", "t1"),
        ("q11", "13-gram", "t2"),
    ]
    assert told["noise"]["measures"]["template"]["share"] == 0.01
    # Template: 3 of 100 is not above five times 1 of 100.
    assert [(one["measure"], one["share"], one["limit"]) for one in told["stops"]] == [
        ("verbatim", 0.02, 0.0),
        ("13-gram", 0.03, 0.01),
    ]
    assert told["stops"][1]["items"][2] == {"id": "q11", "question": asked[11][:80]}


def test_noise_is_that_of_the_training_text_where_both_are_the_same() -> None:
    """And no noise is known where the task was published with nothing to train on."""
    asked = [f"item {letter} {TWELVE}" for letter in "abc"]
    training, own = [("t", asked[0])], [("n", asked[1]), ("m", "Nothing of the kind.")]
    told = {
        name: measure(["a", "b", "c"], asked, training, given, same=same)[0]["noise"]
        for name, given, same in (("own", own, False), ("none", None, False), ("same", own, True))
    }
    assert told["none"] is None
    assert (told["own"]["examples"], told["same"]["examples"]) == (2, 1)
    assert told["own"]["measures"]["verbatim"]["ids"] == ["b"]
    assert told["same"]["measures"]["verbatim"]["ids"] == ["a"]


def gsm8k(mirror: Path, split: str) -> list[dict[str, str]]:
    lines = (mirror / f"gsm8k-{split}.jsonl").read_text("utf-8").rstrip("\n").split("\n")
    return [json.loads(line) for line in lines]


def gsm8k_found(mirror: Path, training: list[tuple[str, str]]) -> tuple[Overlap, list[str]]:
    asked = [row["question"] for row in gsm8k(mirror, "test")]
    return look([f"test-{i}" for i in range(len(asked))], asked, training), asked


def published_train(mirror: Path) -> list[tuple[str, str]]:
    return [
        (f"train-{i}", f"{row['question']}\n{row['answer']}")
        for i, row in enumerate(gsm8k(mirror, "train"))
    ]


@pytest.mark.slow
def test_gsm8k_train_is_clean_and_what_is_made_of_its_test_split_is_not(
    mirror: Path, wheel: Callable[[str], Path]
) -> None:
    noise, asked = gsm8k_found(mirror, published_train(mirror))
    told = results(noise, asked, noise)
    assert (told["items"], told["training"]["examples"]) == (1319, 7473)
    assert told["stops"] == []
    # A plain search for the same: no question stands whole, and three share 13 words in a row.
    text = [" ".join(["", *words(one), ""]) for _, one in published_train(mirror)]
    runs = {
        tuple(row[k : k + GRAM]) for row in map(str.split, text) for k in range(len(row) - GRAM + 1)
    }
    plainly = [
        f"test-{i}"
        for i, question in enumerate(asked)
        if any(tuple(words(question)[k : k + GRAM]) in runs for k in range(len(words(question))))
    ]
    assert told["measures"]["13-gram"]["ids"] == plainly
    assert len(plainly) == 3
    everything = "\n".join(text)
    assert not any(" ".join(["", *words(question), ""]) in everything for question in asked)

    from lora_ledger.data.corpora.readers.gsm_symbolic import read

    training = [
        (identifier(one), content(one))
        for one in read({"reasoning-gym": wheel("reasoning-gym")}, {})
        if one.split in ("train", "validation")
    ]
    found, asked = gsm8k_found(mirror, training)
    told = results(found, asked, noise)
    assert [stop["measure"] for stop in told["stops"]] == ["13-gram", "template"]
    # 63 templates are seen in training, each made from one test problem.
    assert 30 < told["measures"]["13-gram"]["hits"] <= told["measures"]["template"]["hits"] <= 63
