"""HellaSwag's validation rows as a text file of six lines each, preprocessed by its author.

In: the bz2 file `data`: "activity: context", the number of the right ending, four endings. Out:
choices in the file's order with the fields query, choices, gold, label (as upstream's rows have
it), asked (the context without the activity's name) and source: the first 3,243 rows are from
ActivityNet, the others from WikiHow. The texts are taken as they are: unlike lm-eval, the file's
author did not capitalise the sentence that is to be ended.
"""

from __future__ import annotations

import bz2
from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known

LINES = 6
ACTIVITYNET = 3_243


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """The rows, all in the split `test`; ValueError for a file of another layout."""
    known(options)
    path = sources["data"]
    lines = bz2.decompress(path.read_bytes()).decode("utf-8").removesuffix("\n").split("\n")
    if len(lines) % LINES:
        raise ValueError(
            f"{path.name}: found {len(lines)} lines, expected a multiple of {LINES}; "
            "fetch the file again"
        )
    for start in range(0, len(lines), LINES):
        query, label, *choices = lines[start : start + LINES]
        if label not in ("0", "1", "2", "3"):
            raise ValueError(
                f"{path.name}, line {start + 2}: found {label!r}, expected the number of the "
                "right ending, 0 to 3; fetch the file again"
            )
        number = start // LINES + 1
        yield Example(
            group=f"validation {number}",
            prompt=query,
            response=choices[int(label)],
            split="test",
            fields={
                "query": query,
                "asked": query.partition(": ")[2] or query,
                "choices": choices,
                "gold": int(label),
                "label": label,
                "source": "activitynet" if number <= ACTIVITYNET else "wikihow",
            },
        )
