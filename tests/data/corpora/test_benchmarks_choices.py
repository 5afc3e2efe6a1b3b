"""The readers of ARC, WinoGrande, PIQA and OpenBookQA on small files of both layouts.

All texts here were written for the project.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .benchmark_files import from_file, from_hub


def test_arc_by_both_routes(tmp_path: Path) -> None:
    found = from_file(
        "arc",
        tmp_path,
        [
            {
                "query": "Question: Which is hot?",
                "choices": ["ice", "fire", "fog", "sea"],
                "gold": 1,
            },
            {"query": "Question: The water will", "choices": ["fall", "rise", "fall"], "gold": 1},
        ],
        subset="ARC-Easy",
    )
    assert [one.fields for one in found] == [
        {
            "question": "Which is hot?",
            "choices": {"text": ["ice", "fire", "fog", "sea"], "label": ["A", "B", "C", "D"]},
            "answerKey": "B",
        },
        {
            "question": "The water will",
            "choices": {"text": ["rise", "fall"], "label": ["A", "B"]},
            "answerKey": "A",
        },
    ]
    assert [(one.group, one.split, one.prompt, one.response) for one in found] == [
        ("test 1", "test", "Which is hot?", "fire"),
        ("test 2", "test", "The water will", "rise"),
    ]

    def published(name: str, labels: list[str], key: str) -> dict[str, Any]:
        texts = ["one", "two", "three", "four", "five"][: len(labels)]
        return {
            "id": name,
            "question": "How many?",
            "choices": {"text": texts, "label": labels},
            "answerKey": key,
        }

    files = {
        "ARC-Easy/train-00000-of-00001.parquet": [published("a_1", ["A", "B", "C"], "C")],
        "ARC-Easy/validation-00000-of-00001.parquet": [published("b_2", list("ABCDE"), "E")],
        "ARC-Easy/test-00000-of-00001.parquet": [published("c_3", ["1", "2", "3", "4"], "2")],
        "ARC-Challenge/test-00000-of-00001.parquet": [published("other", ["A", "B"], "A")],
    }
    rows = from_hub("arc", tmp_path, files, subset="ARC-Easy")
    assert [(one.group, one.split, one.response) for one in rows] == [
        ("a_1", "exemplars", "three"),
        ("b_2", "validation", "five"),
        ("c_3", "test", "two"),
    ]
    assert rows[2].fields == {
        "question": "How many?",
        "choices": {"text": ["one", "two", "three", "four"], "label": ["1", "2", "3", "4"]},
        "answerKey": "2",
    }
    with pytest.raises(ValueError, match="subset: found None, expected one of ARC-Challenge"):
        from_hub("arc", tmp_path, {})
    with pytest.raises(ValueError, match="row 1, query: found 'Which is hot"):
        from_file("arc", tmp_path, [{"query": "Which is hot?", "choices": ["a", "b"], "gold": 0}])
    with pytest.raises(ValueError, match=r"arc, row 1: the index .* is 4, expected 0 to 1"):
        from_file("arc", tmp_path, [{"query": "Question: ?", "choices": ["a", "b"], "gold": 4}])


@pytest.mark.parametrize(
    ("contexts", "continuation", "sentence", "options"),
    [
        (["The cat and the car met as the cat", "The cat and the car met as the car"],
         "slept.", "The cat and the car met as the _ slept.", ("cat", "car")),
        (["Ann sang, so Ann", "Ann sang, so Anna"], "'s ears hurt.",
         "Ann sang, so _'s ears hurt.", ("Ann", "Anna")),
        (["He liked  the sea", "He liked  the red hill"], ".", "He liked  the _.",
         ("sea", "red hill")),
        (["Bo", "Al"], "left.", "_ left.", ("Bo", "Al")),
    ],
)  # fmt: skip
def test_winogrande_rebuilds_the_sentence(
    tmp_path: Path, contexts: list[str], continuation: str, sentence: str, options: tuple[str, str]
) -> None:
    row = {"context_options": contexts, "continuation": continuation, "gold": 1}
    (one,) = from_file("winogrande", tmp_path, [row])
    assert one.fields == {
        "sentence": sentence,
        "option1": options[0],
        "option2": options[1],
        "answer": "2",
        "asked": sentence.replace("_", options[1]),
    }
    assert (one.prompt, one.response, one.split) == (sentence, options[1], "test")


def test_winogrande_from_the_hub_and_what_it_refuses(tmp_path: Path) -> None:
    def row(answer: str) -> dict[str, Any]:
        return {"sentence": "A _ b.", "option1": "x", "option2": "y", "answer": answer}

    files = {
        "winogrande_xl/train-00000-of-00001.parquet": [row("1"), row("2")],
        "winogrande_xl/validation-00000-of-00001.parquet": [row("2")],
    }
    rows = from_hub("winogrande", tmp_path, files)
    assert [(one.group, one.split, one.response) for one in rows] == [
        ("train 1", "exemplars", "x"),
        ("train 2", "exemplars", "y"),
        ("validation 1", "test", "y"),
    ]
    assert rows[2].fields == {**row("2"), "asked": rows[2].fields["asked"]}
    files["winogrande_xl/validation-00000-of-00001.parquet"] = [row("")]
    with pytest.raises(ValueError, match=r"validation 1: found the answer ''.* that has labels"):
        from_hub("winogrande", tmp_path, files)
    blank = {"context_options": ["a_b", "a_c"], "continuation": "d.", "gold": 0}
    with pytest.raises(ValueError, match="expected two texts without '_'"):
        from_file("winogrande", tmp_path, [blank])


def test_piqa_by_both_routes(tmp_path: Path) -> None:
    gauntlet = {"query": "Question: open a  jar \n", "choices": ["twist", "sing"], "gold": 0}
    row = {"goal": "open a  jar ", "sol1": "twist", "sol2": "sing", "label": 0}
    (one,) = from_file("piqa", tmp_path, [gauntlet])
    assert one.fields == row
    assert (one.prompt, one.response) == ("open a  jar ", "twist")
    other = {**row, "label": 1}
    files = {"piqa_train.parquet": [other], "piqa_validation.parquet": [row]}
    assert from_hub("piqa", tmp_path, files)[1] == one
    assert [(x.split, x.response) for x in from_hub("piqa", tmp_path, files)] == [
        ("exemplars", "sing"),
        ("test", "twist"),
    ]
    with pytest.raises(ValueError, match=r"piqa, row 1: found the query 'open'"):
        from_file("piqa", tmp_path, [{**gauntlet, "query": "open"}])


def test_openbookqa_by_both_routes(tmp_path: Path) -> None:
    gauntlet = {"query": "Rain is", "choices": ["dry", "wet", "loud", "old"], "gold": 1}
    (one,) = from_file("openbookqa", tmp_path, [gauntlet])
    fields = {
        "question_stem": "Rain is",
        "choices": {"text": ["dry", "wet", "loud", "old"], "label": ["A", "B", "C", "D"]},
        "answerKey": "B",
    }
    assert one.fields == fields
    assert (one.prompt, one.response) == ("Rain is", "wet")
    files = {
        f"main/{name}-00000-of-00001.parquet": [{"id": f"7-{number}", **fields}]
        for number, name in enumerate(("train", "validation", "test"))
    }
    found = from_hub("openbookqa", tmp_path, files)
    assert [(x.split, x.group, x.fields) for x in found] == [
        ("exemplars", "7-0", fields),
        ("validation", "7-1", fields),
        ("test", "7-2", fields),
    ]
