"""The published benchmarks, read from copies of their files in the folder LEDGER_MIRROR.

Counts are the published ones; rows were copied out by hand (`tests/fixtures/rebuilt-rows.yaml`);
what lm-eval makes of a row is asked of lm-eval's own task files.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest
import yaml
from jinja2 import Template
from lm_eval.tasks.winogrande import preprocess_winogrande
from lm_eval.utils import env

from lora_ledger.catalogue import CorpusEntry, HubSource, UrlSource, entries
from lora_ledger.data.corpora import Example, reader
from lora_ledger.data.corpora.selection import select

UPSTREAM = Path(lm_eval.tasks.__file__).parent
BY_HAND = yaml.safe_load(
    (Path(__file__).parents[2] / "fixtures" / "rebuilt-rows.yaml").read_text("utf-8")
)
COUNTS = {
    "gsm8k": {"exemplars": 7_473, "train": 6_705, "validation": 768, "test": 1_319},
    "mbpp": {"exemplars": 10, "train": 374, "validation": 90, "test": 500},
    "hellaswag-klosax": {"test": 10_042},
    "arc-challenge": {"test": 1_172},
    "arc-easy": {"test": 2_376},
    "winogrande": {"test": 1_267},
    "lambada": {"test": 5_153},
    "piqa": {"test": 1_838},
    "openbookqa": {"test": 500},
    "math": {"test": 5_000},
    "math-text": {"test": 5_000},
    "svamp": {"test": 300},
}


def corpus_entry(name: str) -> CorpusEntry:
    found = entries()[name]
    assert isinstance(found, CorpusEntry)
    return found


@cache
def splits(name: str, folder: Path) -> dict[str, list[Example]]:
    """The splits of a corpus as `fetch` makes them."""
    entry = corpus_entry(name)
    files = {k: folder / s.file for k, s in entry.sources.items() if isinstance(s, UrlSource)}
    return select(
        reader(entry.reader)(files, entry.options),
        near_duplicates=bool(entry.options.get("near_duplicates", True)),
        published=[split for split, what in entry.splits.items() if what.as_published],
    )[0]


def raw(name: str, folder: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file, read without the reader."""
    source = corpus_entry(name).sources["data"]
    assert isinstance(source, UrlSource)
    return [json.loads(line) for line in (folder / source.file).read_bytes().splitlines()]


@cache
def template(task: str, key: str) -> tuple[str, Template]:
    """The text at `key` of one of lm-eval's task files, and lm-eval's template of it."""
    text = (UPSTREAM / f"{task}.yaml").read_text("utf-8")
    found = re.search(rf"^{key}: (.*?)(?: #.*)?$", text, re.MULTILINE)
    assert found, f"{task} has no {key}"
    read = yaml.safe_load(found[1])
    return read, env.from_string(read)


def upstream(task: str, key: str, fields: dict[str, Any]) -> str:
    """What the template `key` of one of lm-eval's task files makes of a row."""
    text, made = template(task, key)
    # lm-eval takes the name of a column for the column.
    return str(fields[text]) if text in fields else made.render(**fields)


def test_the_catalogue_pins_the_bytes_of_the_mirror(mirror: Path) -> None:
    sources = {
        source.file: source
        for name in COUNTS
        for source in corpus_entry(name).sources.values()
        if isinstance(source, UrlSource)
    }
    assert len(sources) == 12
    for file, source in sources.items():
        assert hashlib.sha256((mirror / file).read_bytes()).hexdigest() == source.sha256, file
        assert re.search(r"/[0-9a-f]{40}/", source.url), f"{file}: no commit in the address"


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_the_published_ones(mirror: Path, name: str) -> None:
    found = splits(name, mirror)
    assert {split: len(rows) for split, rows in found.items()} == COUNTS[name]
    assert set(found) == set(corpus_entry(name).splits)
    for split, rows in found.items():
        assert len({one.group for one in rows}) == len(rows), f"{split}: a group twice"
        if corpus_entry(name).content == "text":
            assert all(one.text for one in rows)
        else:
            assert all(one.prompt and one.response and not one.text for one in rows)


@pytest.mark.parametrize("name", sorted(set(COUNTS) - {"math-text"}))
def test_published_order_is_that_of_the_file(mirror: Path, name: str) -> None:
    numbers = [int(one.group.split()[-1]) for one in splits(name, mirror)["test"]]
    first = 11 if name == "mbpp" else 1
    assert numbers == list(range(first, first + len(numbers)))


def test_gsm8k(mirror: Path) -> None:
    found = splits("gsm8k", mirror)
    for split, file in (("exemplars", "gsm8k-train.jsonl"), ("test", "gsm8k-test.jsonl")):
        lines = (mirror / file).read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        assert [one.fields for one in found[split]] == rows
        for one, row in zip(found[split], rows, strict=True):
            assert one.prompt == upstream("gsm8k/gsm8k", "doc_to_text", row)
            # The marks, taken out by a walk over the characters.
            kept = "".join(part.rpartition(">>")[2] for part in row["answer"].split("<<"))
            assert one.response == f" {kept}"
            assert re.search(r"\n#### -?[\d.,]+$", one.response)
    assert found["exemplars"][0].response == (
        " Natalia sold 48/2 = 24 clips in May.\n"
        "Natalia sold 48+24 = 72 clips altogether in April and May.\n#### 72"
    )
    trained = {one.group: split for split in ("train", "validation") for one in found[split]}
    assert set(trained) == {f"train {n}" for n in range(1, 7_474)}
    for group, split in trained.items():
        place = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big")
        # 0.9 of 2^64, in whole numbers.
        assert split == ("train" if place * 10 < 9 * 2**64 else "validation")


def test_mbpp(mirror: Path) -> None:
    rows = {row["task_id"]: row for row in raw("mbpp", mirror)}
    ranges = {
        "exemplars": (1, 10),
        "test": (11, 510),
        "validation": (511, 600),
        "train": (601, 974),
    }
    for split, examples in splits("mbpp", mirror).items():
        numbers = sorted(int(str(one.fields["task_id"])) for one in examples)
        first, last = ranges[split]
        assert numbers == list(range(first, last + 1))
        for one in examples:
            row = rows[one.fields["task_id"]]
            assert one.fields == row
            assert one.prompt == upstream("mbpp/mbpp", "doc_to_text", row)
            shot = upstream("mbpp/mbpp", "doc_to_target", {**row, "is_fewshot": True})
            assert one.response == io.StringIO(shot, newline=None).read()
            assert one.response.endswith("\n[DONE]")
    third = splits("mbpp", mirror)["exemplars"][2]
    assert third.response == (
        "import math\ndef is_not_prime(n):\n    result = False\n"
        "    for i in range(2,int(math.sqrt(n)) + 1):\n        if n % i == 0:\n"
        "            result = True\n    return result\n[DONE]"
    )


def test_math_in_both_forms(mirror: Path) -> None:
    rows = raw("math", mirror)
    problems = splits("math", mirror)["test"]
    for one, row in zip(problems, rows, strict=True):
        problem, solution = row["context"], row["chain_of_thought"]
        assert one.prompt == f"Problem:\n{problem}\n\nSolution:"
        assert one.response == f" {solution}"
        assert one.fields["answer"] == row["answer"]
        assert one.fields["problem"] == problem
        assert one.fields["solution"] == solution
    # The published counts of the seven subjects.
    assert Counter(one.fields["category"] for one in problems) == {
        "algebra": 1_187,
        "intermediate_algebra": 903,
        "prealgebra": 871,
        "precalculus": 546,
        "number_theory": 540,
        "geometry": 479,
        "counting_and_probability": 474,
    }
    texts = [one.text for one in splits("math-text", mirror)["test"]]
    expected = [f"{row['context']}\n\n{row['chain_of_thought']}" for row in rows]
    assert sorted(texts) == sorted(expected)
    # A prefix is a sample: no subject takes a third of the first 500, as in the file's order.
    category = dict(zip(expected, (row["category"] for row in rows), strict=True))
    assert max(Counter(category[text] for text in texts[:500]).values()) < 167


def test_svamp_equations_give_the_answers(mirror: Path) -> None:
    for one in splits("svamp", mirror)["test"]:
        equation = str(one.fields["equation"])
        assert re.fullmatch(r"[-+*/(). \d]+", equation)
        assert float(eval(equation)) == float(str(one.fields["answer"])), one
        assert one.prompt == f"Question: {one.fields['question']}\nAnswer:"
        assert one.response == f" {one.fields['answer']}"


def test_hellaswag_klosax(mirror: Path) -> None:
    with bz2.open(mirror / "hellaswag-val.txt.bz2", "rt", encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file]
    rows = splits("hellaswag-klosax", mirror)["test"]
    assert [line for one in rows for line in _six_lines(one)] == lines
    assert all(one.response == _choices(one)[int(str(one.fields["gold"]))] for one in rows)
    assert Counter(one.fields["source"] for one in rows) == {
        "activitynet": 3_243,
        "wikihow": 6_799,
    }
    # A WikiHow row has the category and the title of an article; the labels of the two differ.
    assert all(": How to " in one.prompt for one in rows[3_243:])
    labels = [one.prompt.partition(":")[0] for one in rows]
    assert not set(labels[:3_243]) & set(labels[3_243:])
    assert rows[0].fields == {
        "query": "Roof shingle removal: A man is sitting on a roof. he",
        "asked": "A man is sitting on a roof. he",
        "choices": [
            "is using wrap to wrap a pair of skis.",
            "is ripping level tiles off.",
            "is holding a rubik's cube.",
            "starts pulling up roofing on a roof.",
        ],
        "gold": 3,
        "label": "3",
        "source": "activitynet",
    }


def _choices(one: Example) -> list[str]:
    found = one.fields["choices"]
    assert isinstance(found, list)
    return found


def _six_lines(one: Example) -> list[str]:
    return [str(one.fields["query"]), str(one.fields["gold"]), *_choices(one)]


@pytest.mark.parametrize("name", ["arc-challenge", "arc-easy", "openbookqa"])
def test_letter_questions_are_those_copied_out_by_hand(mirror: Path, name: str) -> None:
    rows = splits(name, mirror)["test"]
    assert len(BY_HAND[name]) == 12
    for expected in BY_HAND[name]:
        text, key = expected["text"], expected["answerKey"]
        stem = "question_stem" if name == "openbookqa" else "question"
        fields = {
            stem: expected[stem],
            "choices": {"text": text, "label": ["A", "B", "C", "D"][: len(text)]},
            "answerKey": key,
        }
        one = rows[expected["row"] - 1]
        assert one.fields == fields
        assert (one.prompt, one.response) == (expected[stem], text[ord(key) - ord("A")])


@pytest.mark.parametrize(("name", "repeats"), [("arc-challenge", 4), ("arc-easy", 7)])
def test_arc_renders_the_questions_of_the_file(mirror: Path, name: str, repeats: int) -> None:
    """Every row, by lm-eval's own templates; only a wrong choice given twice may go."""
    shorter = 0
    for one, row in zip(splits(name, mirror)["test"], raw(name, mirror), strict=True):
        assert upstream("arc/arc_easy", "doc_to_text", one.fields) == f"{row['query']}\nAnswer:"
        texts = yaml.safe_load(json.dumps(one.fields["choices"]))["text"]
        index = int(upstream("arc/arc_easy", "doc_to_target", one.fields))
        assert texts[index] == row["choices"][row["gold"]] == one.response
        assert set(texts) == set(row["choices"])
        assert len(set(texts)) == len(texts)
        assert texts == row["choices"][-len(texts) :]
        shorter += len(texts) < 4
    assert shorter == repeats


def test_winogrande_renders_the_strings_of_the_file(mirror: Path) -> None:
    """Every row, by lm-eval's own functions: both contexts, what follows, and which is right."""
    rows = splits("winogrande", mirror)["test"]
    for one, row in zip(rows, raw("winogrande", mirror), strict=True):
        assert preprocess_winogrande.doc_to_choice(one.fields) == row["context_options"]
        assert preprocess_winogrande.doc_to_target(one.fields) == row["continuation"]
        assert preprocess_winogrande.doc_to_text(one.fields) == row["gold"]
        assert one.response == one.fields[f"option{row['gold'] + 1}"]
        assert str(one.fields["sentence"]).count("_") == 1
        # What the contamination gate looks for: the right context, then what follows.
        asked = str(one.fields["asked"])
        assert asked.startswith(row["context_options"][row["gold"]])
        assert asked.endswith(row["continuation"])
    assert len(BY_HAND["winogrande"]) == 12
    for expected in BY_HAND["winogrande"]:
        found = rows[expected["row"] - 1].fields
        assert {key: found[key] for key in expected if key != "row"} == {
            key: value for key, value in expected.items() if key != "row"
        }


def test_piqa(mirror: Path) -> None:
    rows = splits("piqa", mirror)["test"]
    for one, row in zip(rows, raw("piqa", mirror), strict=True):
        assert upstream("piqa/piqa", "doc_to_text", one.fields) == f"{row['query']}Answer:"
        assert [one.fields["sol1"], one.fields["sol2"]] == row["choices"]
        assert one.response == row["choices"][row["gold"]]
    assert len(BY_HAND["piqa"]) == 12
    for expected in BY_HAND["piqa"]:
        fields = {key: value for key, value in expected.items() if key != "row"}
        assert rows[expected["row"] - 1].fields == fields


def test_openbookqa_renders_the_questions_of_the_file(mirror: Path) -> None:
    for one, row in zip(
        splits("openbookqa", mirror)["test"], raw("openbookqa", mirror), strict=True
    ):
        fields = one.fields
        assert upstream("openbookqa/openbookqa", "doc_to_text", fields) == row["query"]
        assert int(upstream("openbookqa/openbookqa", "doc_to_target", fields)) == row["gold"]
        assert one.response == row["choices"][row["gold"]]


def test_lambada_is_upstreams_file_to_the_byte(mirror: Path) -> None:
    """The passages, written as upstream's JSON lines, have the hash of upstream's file."""
    rows = splits("lambada", mirror)["test"]
    lines = "".join(json.dumps({"text": one.fields["text"]}) + "\n" for one in rows)
    hub = corpus_entry("lambada-hub").sources["hub"]
    assert isinstance(hub, HubSource)
    assert hashlib.sha256(lines.encode()).hexdigest() == hub.sha256["data/lambada_test.jsonl"]
    for one, row in zip(rows, raw("lambada", mirror), strict=True):
        assert upstream("lambada/lambada_openai", "doc_to_text", one.fields) == one.prompt
        assert upstream("lambada/lambada_openai", "doc_to_target", one.fields) == one.response
        assert (one.prompt, one.response) == (row["context"], f" {row['continuation']}")
