"""What the benchmarks' readers share: the files that they take, and what they say of others.

All texts here were written for the project.
"""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path

import pytest

from lora_ledger.catalogue import CorpusEntry, HubSource, entries
from lora_ledger.data.corpora import reader

from .benchmark_files import from_hub, lines

APPLES = [{"question": "Two and two?", "answer": "4"}]


def test_parts_of_a_split_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    rows = [{"goal": str(n), "sol1": "a", "sol2": "b", "label": 0} for n in range(3)]
    files = {
        "piqa_train.parquet": rows[:1],
        "piqa_validation-00001.parquet": rows[2:],
        "piqa_validation-00000.parquet": rows[:2],
    }
    found = from_hub("piqa", tmp_path, files)[1:]
    assert [(one.group, one.prompt) for one in found] == [
        ("validation 1", "0"),
        ("validation 2", "1"),
        ("validation 3", "2"),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "rows.jsonl, line 2: not JSON .*expected one JSON object on each line"),
        ([1], "line 2: found list, expected an object"),
        ({"query": "a"}, "line 2: no key 'choices', found query; expected query, choices, gold"),
        ({"query": 3, "choices": [], "gold": 0}, "key 'query': found int, expected str"),
        ({"query": "Q", "choices": ["a"], "gold": True}, "key 'gold': found bool, expected int"),
    ],
)
def test_a_row_of_another_layout_is_named(tmp_path: Path, row: object, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    good = json.dumps({"query": "Question: a", "choices": ["x", "y"], "gold": 0})
    path.write_text(f"{good}\n{row if isinstance(row, str) else json.dumps(row)}\n", "utf-8")
    with pytest.raises(ValueError, match=message):
        list(reader("arc")({"data": path}, {}))


def test_sources_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", APPLES)
    with pytest.raises(ValueError, match="sources: found data, expected test, train or hub"):
        list(reader("gsm8k")({"data": path}, {}))
    with pytest.raises(ValueError, match="sources: found none, expected data or hub"):
        list(reader("arc")({}, {}))
    with pytest.raises(FileNotFoundError, match=r"found other/x\.parquet, expected a file that"):
        from_hub("mbpp", tmp_path, {"other/x.parquet": APPLES})
    with pytest.raises(ValueError, match="calculator: found 'off', expected one of strip, keep"):
        list(reader("gsm8k")({"train": path, "test": path}, {"calculator": "off"}))
    with pytest.raises(ValueError, match=r"found 'subsets'.* did you mean 'subset'"):
        list(reader("arc")({"data": path}, {"subsets": "x"}))


FILES = {
    "gsm8k-hub": "main/train-00000-of-00001.parquet main/test-00000-of-00001.parquet",
    "hellaswag": "data/validation-00000-of-00001.parquet",
    "winogrande-hub": "winogrande_xl/train-00000-of-00001.parquet "
    "winogrande_xl/validation-00000-of-00001.parquet",
    "piqa-hub": "piqa_train.parquet piqa_validation.parquet",
    "lambada-hub": "data/lambada_test.jsonl",
    "human-eval-hub": "openai_humaneval/test-00000-of-00001.parquet",
    **{
        name: " ".join(f"{folder}/{part}-00000-of-00001.parquet" for part in parts)
        for name, folder, parts in (
            ("mbpp-hub", "full", ("prompt", "test", "validation", "train")),
            ("openbookqa-hub", "main", ("train", "validation", "test")),
            ("arc-challenge-hub", "ARC-Challenge", ("train", "validation", "test")),
            ("arc-easy-hub", "ARC-Easy", ("train", "validation", "test")),
        )
    },
}
OTHER_FILES = (
    "README.md", "data/train-00000-of-00001.parquet", "data/lambada_test_de.jsonl",
    "socratic/test-00000-of-00001.parquet", "sanitized/test-00000-of-00001.parquet",
    "additional/test-00000-of-00001.parquet", "winogrande_xs/train-00000-of-00001.parquet",
    "winogrande_xl/test-00000-of-00001.parquet", "piqa_test.parquet",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_hub_entries_take_the_files_of_the_repository_and_no_others(name: str) -> None:
    entry = entries()[name]
    assert isinstance(entry, CorpusEntry)
    source = entry.sources["hub"]
    assert isinstance(source, HubSource)
    there = [*FILES[name].split(), *OTHER_FILES]
    taken = [
        path for pattern in source.files for path in there if fnmatch.fnmatchcase(path, pattern)
    ]
    assert taken == FILES[name].split()
    # `exemplars` stand in prompts as published, and so does what is scored.
    published = {split for split, what in entry.splits.items() if what.as_published}
    assert published == {"exemplars", "test"} & set(entry.splits)
    assert all((what.role == "test") == (split == "test") for split, what in entry.splits.items())
