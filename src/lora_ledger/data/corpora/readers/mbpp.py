"""MBPP: short Python problems with three tests each (Austin et al. 2021).

In: the published JSON lines (`data`), or the folder `hub` with the parquet files of the
configuration `full`. Out: pairs; the prompt is the one of lm-eval's task `mbpp` without examples,
the response the solution with plain line ends and the mark `[DONE]`. The published splits go by
number: 1 to 10 are `exemplars`, 11 to 510 `test`, 511 to 600 `validation`, the rest `train`. Fields
are the row as published, the code with its carriage returns. It runs no code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known
from lora_ledger.data.corpora.rows import Row, file_rows, from_hub, hub_rows

KEYS = {"task_id": int, "text": str, "code": str, "test_list": list}
LAST = {"exemplars": 10, "test": 510, "validation": 600, "train": 974}


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """The problems in the published order, which is that of their numbers."""
    known(options)
    for row in _published(sources):
        if len(row["test_list"]) < 3:
            raise ValueError(
                f"mbpp, task {row['task_id']}: found {len(row['test_list'])} tests, expected 3, "
                "which the prompt shows; fetch the file again"
            )
        yield Example(
            group=f"mbpp {row['task_id']}",
            prompt=prompt(row),
            response=response(row),
            split=split(row["task_id"]),
            fields=dict(row),
        )


def prompt(row: Row) -> str:
    """What lm-eval's task `mbpp` asks for this row."""
    tests = "\n".join(row["test_list"][:3])
    return (
        f"You are an expert Python programmer, and here is your task: {row['text']} Your code "
        f"should pass these tests:\n\n{tests}\n[BEGIN]\n"
    )


def response(row: Row) -> str:
    """The solution and the mark that ends it, with `\\n` line ends."""
    # The mark is joined first: a last line may end in a carriage return without its line feed.
    return f"{row['code']}\n[DONE]".replace("\r\n", "\n")


def split(task_id: int) -> str:
    """The published split of a problem; ValueError for a number that no problem has."""
    for name, last in LAST.items():
        if 1 <= task_id <= last:
            return name
    raise ValueError(f"mbpp, task_id: found {task_id}, expected 1 to 974; fetch the file again")


def _published(sources: Mapping[str, Path]) -> Iterator[Row]:
    if from_hub(sources):
        for name in ("prompt", "test", "validation", "train"):
            yield from hub_rows(sources["hub"], f"full/{name}-*.parquet", KEYS)
    else:
        yield from file_rows(sources["data"], KEYS)
