"""GSM8K: grade-school word problems with worked answers (Cobbe et al. 2021).

In: the published JSON lines (`train` and `test`), or the folder `hub` with the data set's parquet
files. Out: pairs, prompt `Question: …\\nAnswer:`, response ` …\\n#### n`. The published train split
comes twice: whole and in order as `exemplars`, from which few-shot examples are drawn, and as
`train` and `validation`, 90 to 10 by the hash of the row's number. It does not check the answers.
Options: `calculator`, `strip` (the default) or `keep`, for the marks `<<48/2=24>>` in responses;
the field `answer` always has them, as upstream's rows do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known, one_of
from lora_ledger.data.corpora.rows import Row, file_rows, from_hub, hub_rows
from lora_ledger.data.corpora.selection import side

KEYS = {"question": str, "answer": str}
SHARES: Mapping[str, float] = MappingProxyType({"train": 0.9, "validation": 0.1})
MARKS = re.compile(r"<<[^<>]*>>")


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """Every row of train, twice, and then of test; the group is the split and the row's number."""
    known(options, "calculator")
    marks = one_of(options, "calculator", ("strip", "keep"), "strip")
    for number, row in enumerate(_published(sources, "train"), start=1):
        example = _example(row, f"train {number}", "exemplars", marks == "keep")
        yield example
        yield replace(example, split=side(example.group, SHARES))
    for number, row in enumerate(_published(sources, "test"), start=1):
        yield _example(row, f"test {number}", "test", marks == "keep")


def _published(sources: Mapping[str, Path], split: str) -> Iterator[Row]:
    if from_hub(sources, "train", "test"):
        return hub_rows(sources["hub"], f"main/{split}-*.parquet", KEYS)
    return file_rows(sources[split], KEYS)


def _example(row: Row, group: str, split: str, keep: bool) -> Example:
    answer = row["answer"] if keep else MARKS.sub("", row["answer"])
    return Example(
        group=group,
        prompt=f"Question: {row['question']}\nAnswer:",
        response=f" {answer}",
        split=split,
        fields={key: row[key] for key in KEYS},
    )
