"""GSM-Symbolic word problems with worked solutions, made by the generators of `reasoning-gym`.

In: the wheel, whose generator modules are run from the zip without installing or importing the
package. Out: pairs in GSM8K's layout, prompt `Question: …\\nAnswer:`, response ` …\\n#### n`, with
a split of their own: some templates are only ever tested (`test-unseen`); the others give `train`,
`validation` and `test-seen`, no two items of a template with the same numbers. Every solution is
recomputed and left out when a step does not hold. It does not repair wrong templates. Options:
`draws`, how often each template is drawn.

The templates follow GSM8K's test problems (Mirzadeh et al. 2024): a model trained on them must not
be scored on GSM8K.
"""

from __future__ import annotations

import ast
import hashlib
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.arithmetic import NUMBER, statements
from lora_ledger.data.corpora.checks import known, whole

FOLDER = "reasoning_gym/arithmetic/gsm_symbolic"
DRAWS = 60
UNSEEN_SHARE = 0.2
INSTRUCTION = re.compile(r"\s*Give the (result|answer) as .*$", re.DOTALL)
LONG_FRACTION = re.compile(r"\.\d{4,}")
CURRENCY = frozenset("$€£")

Generator = Callable[[Random, float], dict[str, Any]]


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """The problems that pass every check, by template and draw."""
    known(options, "draws")
    draws = whole(options, "draws", DRAWS, 1)
    yield from problems(sources["reasoning-gym"], draws)[0]


def problems(wheel: Path, draws: int = DRAWS) -> tuple[list[Example], Counter[str]]:
    """All problems that pass, and how many fell to which check (`kept` counts the others)."""
    kept: list[Example] = []
    counts: Counter[str] = Counter()
    for template, generate in generators(wheel).items():
        numbers_seen: set[tuple[str, ...]] = set()
        for draw in range(draws):
            seed = template * 100_000 + draw
            try:
                made = generate(Random(seed), 1.0)
            except (ValueError, ZeroDivisionError, IndexError):
                counts["generator failed"] += 1
                continue
            question = tidy(INSTRUCTION.sub("", made["question"]))
            answer = plain(str(made["answer"]))
            solution, _, stated = made["metadata"]["answer_cot"].rpartition("####")
            solution = tidy(solution)
            reason = fault(question, solution, answer, plain(stated))
            numbers = tuple(NUMBER.findall(question))
            if reason is None and numbers in numbers_seen:
                reason = "same numbers"
            counts[reason or "kept"] += 1
            if reason is None:
                numbers_seen.add(numbers)
                kept.append(_example(template, seed, draw, question, solution, answer))
    return kept, counts


def _example(
    template: int, seed: int, draw: int, question: str, solution: str, answer: str
) -> Example:
    return Example(
        group=f"gsm-symbolic/{template:02d}",
        prompt=f"Question: {question}\nAnswer:",
        response=f" {solution}\n#### {answer}",
        split=split(template, draw),
        fields={
            "question": question,
            "answer": answer,
            "template": f"{template:02d}",
            "seed": seed,
        },
    )


def split(template: int, draw: int) -> str:
    """An unseen template is only tested; of a seen one's draws 2 in 12 are, and 1 validates."""
    mark = hashlib.sha256(f"gsm-symbolic/{template:02d}".encode()).hexdigest()
    if int(mark[:8], 16) / 2**32 < UNSEEN_SHARE:
        return "test-unseen"
    return {0: "validation", 1: "test-seen", 2: "test-seen"}.get(draw % 12, "train")


def generators(wheel: Path) -> dict[int, Generator]:
    """The generator of each template that the package's own data set uses, by its number.

    The modules are run in name spaces of their own; the one import from the package is answered
    with the same file of the zip, which needs only the standard library.
    """
    with zipfile.ZipFile(wheel) as archive:
        texts = {
            name: archive.read(f"{name}.py").decode("utf-8")
            for name in (
                "reasoning_gym/utils",
                f"{FOLDER}/gsm_symbolic",
                f"{FOLDER}/generators_00_49",
                f"{FOLDER}/generators_50_99",
            )
        }
    utilities = _run("utils", ast.parse(texts["reasoning_gym/utils"]), {})
    usable: list[int] = next(
        ast.literal_eval(statement.value)
        for statement in ast.parse(texts[f"{FOLDER}/gsm_symbolic"]).body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "tasks_ok"
    )
    found: dict[int, Generator] = {}
    for name in ("generators_00_49", "generators_50_99"):
        tree = ast.parse(texts[f"{FOLDER}/{name}"])
        tree.body = [
            one
            for one in tree.body
            if not (isinstance(one, ast.ImportFrom) and (one.module or "").startswith("reasoning"))
        ]
        for key, one in _run(name, tree, utilities).items():
            if key.startswith("generate_"):
                found[int(key.removeprefix("generate_"))] = one
    return {number: found[number] for number in sorted(usable)}


def _run(name: str, tree: ast.Module, given: Mapping[str, Any]) -> dict[str, Any]:
    space: dict[str, Any] = {**given, "__name__": f"lora_ledger._{name}"}
    exec(compile(tree, f"<{name}>", "exec"), space)
    return space


def tidy(text: str) -> str:
    """Without blank lines, indentation, and the `.0` of whole numbers that were computed."""
    text = re.sub(r"(?<![\d.,])(\d+)\.0(?!\d)", r"\1", text)
    lines = (re.sub(r"\s+", " ", line).strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def plain(number: str) -> str:
    """A number as GSM8K's filter takes it: no thousands separators, no trailing `.0`."""
    text = number.strip().replace(",", "")
    return re.sub(r"\.0+$", "", text)


def fault(question: str, solution: str, answer: str, stated: str) -> str | None:
    """Why a problem is left out, or None. The checks are on the text alone."""
    if not re.fullmatch(r"\d+(\.\d{1,2})?", answer):
        return "answer is no plain number"
    if stated != answer:
        return "stated answer differs"
    if LONG_FRACTION.search(question) or LONG_FRACTION.search(solution):
        return "unrounded fraction"
    used = CURRENCY & set(solution)
    if used and not used <= CURRENCY & set(question):
        return "another currency"
    found = list(statements(solution))
    checked = [one for one in found if not one.algebraic]
    if not checked:
        return "no statement to check"
    if any(one.left is None or one.right is None for one in checked):
        return "statement not readable"
    if not all(one.holds for one in checked):
        return "statement does not hold"
    numbers = [plain(one) for one in NUMBER.findall(solution.splitlines()[-1])]
    if answer not in numbers:
        return "last line lacks the answer"
    return None
