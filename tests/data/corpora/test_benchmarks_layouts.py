"""The readers of GSM8K, MBPP, HellaSwag, LAMBADA, MATH, SVAMP and HumanEval on small files.

All texts here were written for the project.
"""

from __future__ import annotations

import bz2
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from lm_eval.tasks.hellaswag.utils import process_docs

from lora_ledger.data.corpora import reader
from lora_ledger.data.corpora.selection import select

from .benchmark_files import Rows, from_file, from_hub, lines

APPLES: Rows = [
    {"question": "Two and two?", "answer": "2+2 = <<2+2=4>>4\n#### 4"},
    {"question": "Half of 9?", "answer": "9/2 = $<<9/2=4.5>>4.5, so <<4+1=5>>5\n#### 5"},
    {"question": "Is 3 < 4?", "answer": "3 < 4 > 2\n#### 1"},
]


def test_gsm8k_is_the_same_by_both_routes(tmp_path: Path) -> None:
    train, test = APPLES, APPLES[2:]
    sources = {
        "train": lines(tmp_path / "a.jsonl", train),
        "test": lines(tmp_path / "b.jsonl", test),
    }
    found = list(reader("gsm8k")(sources, {}))
    hub = {"main/train-00000-of-00001.parquet": train, "main/test-00000-of-00001.parquet": test}
    assert from_hub("gsm8k", tmp_path, hub, near_duplicates=False) == found
    # The sha256 of the groups "train 1" to "train 3" begin with 37a2, 24e5 and f8c8, and 0.9 of
    # 0x10000 is 0xe666.
    assert [(one.group, one.split) for one in found] == [
        ("train 1", "exemplars"),
        ("train 1", "train"),
        ("train 2", "exemplars"),
        ("train 2", "train"),
        ("train 3", "exemplars"),
        ("train 3", "validation"),
        ("test 1", "test"),
    ]
    assert found[2].prompt == "Question: Half of 9?\nAnswer:"
    assert found[2].response == " 9/2 = $4.5, so 5\n#### 5"
    assert found[2].fields == train[1]
    assert found[6].response == " 3 < 4 > 2\n#### 1"
    kept = list(reader("gsm8k")(sources, {"calculator": "keep"}))
    assert kept[2].response == " 9/2 = $<<9/2=4.5>>4.5, so <<4+1=5>>5\n#### 5"
    splits, _ = select(found, published=("exemplars", "test"))
    assert [one.fields for one in splits["exemplars"]] == train
    assert {one.group for one in splits["train"]} == {"train 1", "train 2"}
    assert [one.group for one in splits["validation"]] == ["train 3"]


def program(task_id: int, code: str) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "text": f"Write a function number {task_id}.",
        "code": code,
        "test_list": ["assert f(1) == 1", "assert f(2) == 2", "assert f(3) == 3"],
        "test_setup_code": "",
        "challenge_test_list": ["assert f(0) == 0"],
    }


def test_mbpp_splits_line_ends_and_routes(tmp_path: Path) -> None:
    code = {1: "a\r\n\tb", 10: "a\n b", 11: "a\r", 510: "a\r\n", 511: "a", 600: "b"}
    rows = [program(number, text) for number, text in (code | {601: "c", 974: "d"}).items()]
    found = from_file("mbpp", tmp_path, rows)
    assert [one.split for one in found] == [
        "exemplars", "exemplars", "test", "test", "validation", "validation", "train", "train",
    ]  # fmt: skip
    # A carriage return at the end of the code belongs to the line feed before the mark.
    assert [one.response for one in found[:5]] == [
        "a\n\tb\n[DONE]", "a\n b\n[DONE]", "a\n[DONE]", "a\n\n[DONE]", "a\n[DONE]",
    ]  # fmt: skip
    assert found[0].prompt == (
        "You are an expert Python programmer, and here is your task: Write a function number 1. "
        "Your code should pass these tests:\n\nassert f(1) == 1\nassert f(2) == 2\n"
        "assert f(3) == 3\n[BEGIN]\n"
    )
    assert found[0].fields == rows[0]
    parts = {"prompt": rows[:2], "test": rows[2:4], "validation": rows[4:6], "train": rows[6:]}
    hub = {f"full/{name}-00000-of-00001.parquet": part for name, part in parts.items()}
    assert from_hub("mbpp", tmp_path, hub) == found


SCENES: Rows = [
    {
        "ind": 24,
        "activity_label": "Folding paper",
        "ctx_a": "A child sits at a table with a sheet of paper.",
        "ctx_b": "the CHILD",
        "ctx": "A child sits at a table with a sheet of paper. the CHILD",
        "split": "val",
        "split_type": "indomain",
        "endings": ["folds it  twice.", " eats soup. ", "[laughs] flies away.", "sleeps."],
        "source_id": "activitynet~v_made-up",
        "label": "0",
    },
    {
        "ind": 7,
        "activity_label": "Home and Garden",
        "ctx_a": "[header] How to sharpen a pencil [title] Find a knife. [step] Hold it still.",
        "ctx_b": "",
        "ctx": "[header] How to sharpen a pencil [title] Find a knife. [step] Hold it still.",
        "split": "val",
        "split_type": "zeroshot",
        "endings": ["[substeps] Cut.", "Wait [title] Sing. [step] Loudly.", "Run.", "Ask."],
        "source_id": "wikihow~1",
        "label": "3",
    },
    {
        "ind": 8,
        "activity_label": "Skating",
        "ctx_a": "Two people lace their boots. ",
        "ctx_b": "élise",
        "ctx": "Two people lace their boots. élise",
        "split": "val",
        "split_type": "indomain",
        "endings": ["glides off.", "melts.", "reads.", "barks."],
        "source_id": "activitynet~v_made-up-too",
        "label": "2",
    },
]


def test_hellaswag_is_what_lm_eval_makes_of_it(tmp_path: Path) -> None:
    official = [{**row, "label": int(row["label"])} for row in SCENES]
    found = from_file("hellaswag", tmp_path, official)
    upstream = process_docs(Dataset.from_list(SCENES)).to_list()
    for one, row in zip(found, upstream, strict=True):
        assert {key: one.fields[key] for key in row} == row
        assert set(one.fields) == {*row, "source", "asked"}
        assert row["query"].partition(": ")[2] == one.fields["asked"]
        assert (one.prompt, one.response) == (row["query"], row["choices"][row["gold"]])
    # And by hand: the start of a sentence is capitalised, the rest of it is not.
    assert found[0].prompt == (
        "Folding paper: A child sits at a table with a sheet of paper. The child"
    )
    assert found[0].fields["choices"] == [
        "folds it twice.",
        "eats soup.",
        " flies away.",
        "sleeps.",
    ]
    assert found[1].prompt == (
        "Home and Garden: How to sharpen a pencil. Find a knife. Hold it still."
    )
    assert [one.fields["source"] for one in found] == ["activitynet", "wikihow", "activitynet"]
    assert from_hub("hellaswag", tmp_path, {"data/validation-0.parquet": SCENES}) == found
    with pytest.raises(ValueError, match=r"row 1, label: found ''.*use the validation split"):
        from_file("hellaswag", tmp_path, [{**SCENES[0], "label": ""}])


def test_hellaswag_as_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "scenes.txt.bz2"
    text = (
        "Folding paper: A child sits. the child\n2\na\n b\u2028b\nc\nd\nSkating: x\n0\ne\nf\n\nh\n"
    )
    path.write_bytes(bz2.compress(text.encode()))
    first, second = reader("hellaswag_klosax")({"data": path}, {})
    assert first.prompt == "Folding paper: A child sits. the child"
    assert first.fields == {
        "query": first.prompt,
        "asked": "A child sits. the child",
        "choices": ["a", " b\u2028b", "c", "d"],
        "gold": 2,
        "label": "2",
        "source": "activitynet",
    }
    assert (first.response, first.group, second.group) == ("c", "validation 1", "validation 2")
    assert second.fields["choices"] == ["e", "f", "", "h"]
    for broken, message in (
        ("a\n0\nb\nc\nd\n", "found 5 lines, expected a multiple of 6"),
        ("a\n4\nb\nc\nd\ne\n", "line 2: found '4', expected the number of the right ending"),
    ):
        path.write_bytes(bz2.compress(broken.encode()))
        with pytest.raises(ValueError, match=message):
            list(reader("hellaswag_klosax")({"data": path}, {}))


def test_lambada_by_both_routes(tmp_path: Path) -> None:
    rows = [
        {"context": "She  said, \u201cno\u201d\nand meant", "continuation": "\u201cyes\u201d"},
        {"context": "It was", "continuation": "of\n\nStone"},
    ]
    found = from_file("lambada", tmp_path, rows)
    texts = ["She  said, \u201cno\u201d\nand meant \u201cyes\u201d", "It was of\n\nStone"]
    assert [one.fields for one in found] == [{"text": text} for text in texts]
    assert [(one.prompt, one.response) for one in found] == [
        ("She  said, \u201cno\u201d\nand meant", " \u201cyes\u201d"),
        ("It was", " of\n\nStone"),
    ]
    hub = {
        "data/lambada_test.jsonl": [{"text": text} for text in texts],
        "data/lambada_test_de.jsonl": [{"text": "Etwas anderes"}],
    }
    assert from_hub("lambada", tmp_path, hub) == found
    with pytest.raises(ValueError, match="lambada, row 1: found 'word', expected a text and"):
        from_hub("lambada", tmp_path, {"data/lambada_test.jsonl": [{"text": "word"}]})


def test_math_and_svamp(tmp_path: Path) -> None:
    row = {
        "context": "What is $1+1$?",
        "chain_of_thought": "It is $\\boxed{2}$.",
        "answer": "2",
        "category": "algebra",
    }
    (problem,) = from_file("math_problems", tmp_path, [row])
    assert problem.prompt == "Problem:\nWhat is $1+1$?\n\nSolution:"
    assert problem.response == " It is $\\boxed{2}$."
    assert problem.fields == {
        "problem": "What is $1+1$?",
        "solution": "It is $\\boxed{2}$.",
        "answer": "2",
        "category": "algebra",
    }
    (text,) = from_file("math_problems", tmp_path, [row], **{"as": "text"})
    assert text.text == "What is $1+1$?\n\nIt is $\\boxed{2}$."
    assert (text.prompt, text.fields, text.split) == ("", {}, "test")
    with pytest.raises(ValueError, match="as: found 'prose', expected one of problems, text"):
        from_file("math_problems", tmp_path, [row], **{"as": "prose"})
    (word,) = from_file("svamp", tmp_path, [row])
    assert (word.prompt, word.response) == ("Question: What is $1+1$?\nAnswer:", " 2")
    assert word.fields == {
        "question": "What is $1+1$?",
        "equation": "It is $\\boxed{2}$.",
        "answer": "2",
    }


def test_human_eval_from_the_hub(tmp_path: Path) -> None:
    row = {
        "task_id": "HumanEval/0",
        "prompt": "def f():\n",
        "canonical_solution": "    return 1\n",
        "test": "def check(c):\n    assert c() == 1\n",
        "entry_point": "f",
    }
    file = "openai_humaneval/test-00000-of-00001.parquet"
    (one,) = from_hub("human_eval", tmp_path, {file: [row]})
    assert (one.group, one.prompt, one.response, one.split) == (
        "HumanEval/0",
        "def f():\n",
        "    return 1\n",
        "test",
    )
    assert one.fields == {key: row[key] for key in ("task_id", "test", "entry_point")}
