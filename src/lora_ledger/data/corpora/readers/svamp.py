"""SVAMP: one-step word problems with varied wording (Patel et al. 2021), the 300 of the test split.

In: the JSON lines of the Gauntlet (`data`: context, chain_of_thought, answer). Out: problems with
the fields question (what is told and what is asked, which the file has joined), equation and
answer. It does not evaluate the equations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known
from lora_ledger.data.corpora.rows import file_rows

KEYS = {"context": str, "chain_of_thought": str, "answer": str}


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """The problems in the file's order, all in the split `test`; the group is the row's number."""
    known(options)
    for number, row in enumerate(file_rows(sources["data"], KEYS), start=1):
        yield Example(
            group=f"test {number}",
            prompt=f"Question: {row['context']}\nAnswer:",
            response=f" {row['answer']}",
            split="test",
            fields={
                "question": row["context"],
                "equation": row["chain_of_thought"],
                "answer": row["answer"],
            },
        )
