"""How many different completions there are for a problem, and how many of them pass.

In: completions with their verdicts. Out: for each problem and class (all, passing, failing) how
often each distinct completion occurred, so that any rarefaction can be computed from it; and
distinct-n. It runs no generated code and compares no cells.
"""

from __future__ import annotations

import ast
import csv
import gzip
import json
import re
import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLASSES = ("all", "passing", "failing")
VERDICTS = ("passed", "strict", "flexible")
_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Sample:
    """One completion of one problem and whether it passed."""

    prompt: str
    completion: str
    passed: bool


def syntax_key(prompt: str, completion: str) -> tuple[bool, str]:
    """(parses, identity) of a program, blind to comments, docstrings and white space.

    The identity is the dumped syntax tree of prompt + completion without docstrings; where that is
    no Python, the tokens of the completion with comments cut.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(prompt + completion)
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                _drop_docstring(node)
        return True, ast.dump(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False, text_key(re.sub(r"#[^\n]*", "", completion))


def _drop_docstring(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> None:
    first = node.body[0] if node.body else None
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        node.body = node.body[1:]


def text_key(text: str) -> str:
    """Words and marks, one space apart."""
    return " ".join(_TOKEN.findall(text))


def multiplicities(keys: Iterable[Hashable]) -> list[int]:
    """How often each distinct key occurs, the most frequent first."""
    return sorted(Counter(keys).values(), reverse=True)


def distinct_n(texts: Sequence[str], n: int) -> float | None:
    """Distinct word n-grams over all word n-grams of the texts (Li et al. 2016, section 5.3).

    Words are what white space separates; None when no text is n words long.
    """
    grams: list[tuple[str, ...]] = []
    for text in texts:
        words = text.split()
        grams += [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def count(problems: dict[int, list[Sample]], *, python: bool) -> dict[str, Any]:
    """The record's results; `problems` maps the index in the task's order to its samples.

    `exact` are unique strings among the samples, as Biderman et al. 2024 count them (section 4.5).
    Raises ValueError when problems differ in their number of samples.
    """
    sizes = {len(samples) for samples in problems.values()}
    if len(sizes) > 1:
        raise ValueError(f"diversity: found {sorted(sizes)} samples a problem, expected one number")
    n = sizes.pop() if sizes else 0
    classes: dict[str, dict[str, list[list[int]]]] = {
        name: {"exact": [], "syntax": []} for name in CLASSES
    }
    unparsable = []
    for samples in problems.values():
        keys = [
            syntax_key(s.prompt, s.completion) if python else (True, text_key(s.completion))
            for s in samples
        ]
        unparsable.append(sum(not parses for parses, _ in keys))
        for name, chosen in classes.items():
            members = [
                i for i, s in enumerate(samples) if name == "all" or s.passed == (name == "passing")
            ]
            chosen["exact"].append(multiplicities(samples[i].completion for i in members))
            chosen["syntax"].append(multiplicities(keys[i] for i in members))
    return {
        "problems": list(problems),
        "samples": n,
        "classes": classes,
        "unparsable": unparsable,
        "distinct_n": {
            str(size): [distinct_n([s.completion for s in ss], size) for ss in problems.values()]
            for size in (1, 2, 3)
        },
    }


def read_samples(
    generations: Path, items: Path, *, joined: bool = True
) -> tuple[dict[int, list[Sample]], str]:
    """Completions joined with their verdicts, and the column that held the verdict.

    `joined`: a completion goes on where its prompt ends, as HumanEval's do; otherwise it is a
    program by itself, and the prompt is left out.
    Raises ValueError naming the file when a completion has no verdict or the reverse.
    """
    with gzip.open(items, "rt", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        column = next((name for name in VERDICTS if name in (reader.fieldnames or [])), None)
        if column is None:
            raise ValueError(
                f"{items}: found the columns {reader.fieldnames}, expected one of "
                f"{', '.join(VERDICTS)}; score the generations again"
            )
        verdicts = {
            (int(row["problem"]), int(row["sample"])): _truth(row[column], items) for row in reader
        }
    problems: dict[int, dict[int, Sample]] = {}
    with gzip.open(generations, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            key = (row["problem"], row["sample"])
            if key not in verdicts:
                raise ValueError(
                    f"{items}: found no verdict on problem, sample {key} of "
                    f"{generations}; score these generations again"
                )
            prompt = row["prompt"] if joined else ""
            sample = Sample(prompt, row["completion"], verdicts.pop(key))
            problems.setdefault(key[0], {})[key[1]] = sample
    if verdicts:
        raise ValueError(
            f"{items}: found verdicts on {len(verdicts)} samples that are not in "
            f"{generations}, such as {min(verdicts)}; score these generations again"
        )
    return {i: [found[j] for j in sorted(found)] for i, found in problems.items()}, column


def _truth(text: str, where: Path) -> bool:
    known = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    if text.strip().lower() not in known:
        raise ValueError(f"{where}: found the verdict {text!r}, expected 0, 1, true or false")
    return known[text.strip().lower()]
