"""MATH: competition problems with solutions in LaTeX (Hendrycks et al. 2021), the test split only.

In: the JSON lines of the Gauntlet (`data`: context, chain_of_thought, answer, category). Out: with
the option `as: problems`, the default, problems with the fields problem, solution, answer and
category, the prompt as lm-eval's `minerva_math` words it; with `as: text`, documents of problem and
solution, held out to measure likelihoods. It does not compare answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known, one_of
from lora_ledger.data.corpora.rows import file_rows

KEYS = {"context": str, "chain_of_thought": str, "answer": str, "category": str}


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """One example for each row, all in the split `test`; the group is the row's number."""
    known(options, "as")
    kind = one_of(options, "as", ("problems", "text"), "problems")
    for number, row in enumerate(file_rows(sources["data"], KEYS), start=1):
        problem, solution = row["context"], row["chain_of_thought"]
        if kind == "text":
            yield Example(group=f"test {number}", text=f"{problem}\n\n{solution}", split="test")
            continue
        yield Example(
            group=f"test {number}",
            prompt=f"Problem:\n{problem}\n\nSolution:",
            response=f" {solution}",
            split="test",
            fields={
                "problem": problem,
                "solution": solution,
                "answer": row["answer"],
                "category": row["category"],
            },
        )
