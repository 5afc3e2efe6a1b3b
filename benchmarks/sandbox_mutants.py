"""Completions that look like a small model's: HumanEval's solutions with some edits.

In: problems with solutions, a seed. Out: the same problems with edited completions: operators and
constants changed, names exchanged, lines dropped, doubled or cut off. Some still pass, most are
wrong, some raise, a few do not end. It runs nothing.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from lora_ledger.sandbox.client import Problem

SWAPS = {
    "+": "-", "-": "+", "*": "+", "//": "/", "%": "//", "<": "<=", "<=": "<", ">": ">=", ">=": ">",
    "==": "!=", "!=": "==", "True": "False", "False": "True", "and": "or", "or": "and",
    "min": "max",
    "max": "min", "+=": "-=", "-=": "+=", "append": "insert", "not": "", "range": "len",
}  # fmt: skip
TOKEN = re.compile(r"\w+|[<>=!+*/%-]+=?|\s+|.", re.DOTALL)


def mutate(text: str, rng: random.Random) -> str:
    """One edit."""
    lines = text.splitlines(keepends=True)
    kind = rng.random()
    if kind < 0.15 and len(lines) > 1:
        del lines[rng.randrange(len(lines))]
        return "".join(lines)
    if kind < 0.22 and lines:
        place = rng.randrange(len(lines))
        lines.insert(place, lines[rng.randrange(len(lines))])
        return "".join(lines)
    if kind < 0.26:
        return text[: rng.randrange(1, len(text) + 1)]
    tokens = TOKEN.findall(text)
    known = [i for i, t in enumerate(tokens) if t in SWAPS or t.isdigit()]
    words = [i for i, t in enumerate(tokens) if t.isidentifier()]
    if known and (kind < 0.85 or len(words) < 2):
        place = rng.choice(known)
        token = tokens[place]
        tokens[place] = SWAPS.get(token) or (
            str(int(token) + rng.choice((-1, 1, 2))) if token.isdigit() else ""
        )
    elif len(words) > 1:
        place, other = rng.sample(words, 2)
        tokens[place] = tokens[other]
    return "".join(tokens)


def mutants(
    solutions: Sequence[Problem], count: int, seed: int = 0, most: int = 3
) -> list[Problem]:
    """`count` problems, one to `most` edits each, none twice the same text."""
    rng = random.Random(seed)
    found = []
    for place in range(count):
        problem = solutions[place % len(solutions)]
        text = problem.completion
        for _ in range(rng.randrange(1, most + 1)):
            text = mutate(text, rng) or "    pass\n"
        found.append(replace(problem, completion=f"{text}\n# {place}\n"))
    return found
