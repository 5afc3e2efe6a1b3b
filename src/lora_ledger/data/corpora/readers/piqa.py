"""PIQA: which of two solutions reaches a goal of everyday life (Bisk et al. 2020).

In: the JSON lines of the Gauntlet (`data`: query, choices, gold; the validation split), or the
folder `hub` with the data set's parquet files. Out: choices with upstream's fields goal, sol1, sol2
and label, in the split `test`; the hub's train split is `exemplars`. From the file, the goal is the
query without "Question: " and the line end that its author put around it. It does not clean the
texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known
from lora_ledger.data.corpora.rows import Row, file_rows, from_hub, gold, split_rows

FILE_KEYS = {"query": str, "choices": list, "gold": int}
HUB_KEYS = {"goal": str, "sol1": str, "sol2": str, "label": int}
PATTERNS = {"exemplars": "piqa_train*.parquet", "test": "piqa_validation*.parquet"}
BEFORE, AFTER = "Question: ", "\n"


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """The goals in the published order; the group is the published split and the row."""
    known(options)
    if from_hub(sources):
        for split, number, row in split_rows(sources["hub"], PATTERNS, HUB_KEYS):
            name = "train" if split == "exemplars" else "validation"
            yield _example(f"{name} {number}", split, {key: row[key] for key in HUB_KEYS})
    else:
        for number, row in enumerate(file_rows(sources["data"], FILE_KEYS), start=1):
            yield _example(f"validation {number}", "test", rebuilt(row, f"piqa, row {number}"))


def rebuilt(row: Row, place: str) -> Row:
    """Upstream's fields from a row of the Gauntlet; ValueError for a row of another layout."""
    query, choices = row["query"], row["choices"]
    if not (query.startswith(BEFORE) and query.endswith(AFTER)) or len(choices) != 2:
        raise ValueError(
            f"{place}: found the query {query!r} with {len(choices)} choices, expected "
            f"{BEFORE!r}, a goal and a line end, with 2 choices; fetch the file again"
        )
    return {
        "goal": query[len(BEFORE) : -len(AFTER)],
        "sol1": choices[0],
        "sol2": choices[1],
        "label": row["gold"],
    }


def _example(group: str, split: str, fields: Row) -> Example:
    solutions = (fields["sol1"], fields["sol2"])
    return Example(
        group=group,
        prompt=fields["goal"],
        response=solutions[gold(solutions, fields["label"], f"piqa, {group}")],
        split=split,
        fields=fields,
    )
