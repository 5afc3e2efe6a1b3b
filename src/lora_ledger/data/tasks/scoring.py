"""Which completions are right: code by the sandbox, word problems by lm-eval.

In: rows of completions and the task's corpus. Out: metrics by problem, reasons, a row of verdicts
for each completion. Code is put together with its tests as the task's judge says, and judged once
the sandbox has been shown to judge rightly; word problems go through lm-eval's own filters and
exact match. It needs no model and no torch, and writes nothing.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.common.startup import loading

from . import TaskInfo

if TYPE_CHECKING:
    from lora_ledger.sandbox.client import Problem

SIZES = (1, 2, 4, 8, 10, 16, 32, 50, 64, 100, 128, 200, 256)
CODE_COLUMNS = ("problem", "id", "sample", "passed", "reason")
WORD_COLUMNS = ("problem", "id", "sample", "strict", "flexible", "extracted")

Rows = list[dict[str, Any]]


def read_generations(path: Path, expected: int | None = None) -> Rows:
    """The rows of a generations file, in their order; ValueError for another number of them."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    if expected is not None and len(rows) != expected:
        raise ValueError(
            f"{path}: found {len(rows)} completions, expected {expected} as its record says; run "
            "the generate stage again"
        )
    return rows


def columns(info: TaskInfo) -> tuple[str, ...]:
    """The columns of the verdicts on a task."""
    return CODE_COLUMNS if info.executes_code else WORD_COLUMNS


def judge_all(
    rows: Rows,
    problems: Sequence[int],
    samples: int,
    folder: Path,
    info: TaskInfo,
    jobs: int,
    level: int,
    proofs: Path | None = None,
) -> tuple[dict[str, Any], Rows, dict[str, Any]]:
    """Results, a row of verdicts for each completion, and how the sandbox ran, where it did.

    `problems` are the places of the problems in the task's order, each with `samples` rows;
    `folder` is the task's corpus. `jobs` judges run at once, confined to `level` at the least; the
    proof that they judge is kept in `proofs` for later calls.
    """
    if info.executes_code:
        return score_code(rows, problems, samples, folder, info, jobs, level, proofs)
    return *score_words(rows, problems, info.name, folder), {}


def by_problem(rows: Rows, problems: Sequence[int], values: Sequence[Any]) -> list[list[Any]]:
    """`values`, one for each row, as a list for each problem."""
    found: dict[int, list[Any]] = {problem: [] for problem in problems}
    for row, value in zip(rows, values, strict=True):
        found[row["problem"]].append(value)
    return [found[problem] for problem in problems]


def all_pass_at_k(passed: Sequence[Sequence[bool]], sizes: Sequence[int]) -> dict[str, list[float]]:
    """pass@k of each problem for each k of `sizes`; ValueError for a k above the samples."""
    from lora_ledger.analysis.statistics import pass_at_k

    return {f"pass@{k}": [pass_at_k(len(one), sum(one), k) for one in passed] for k in sizes}


def judged(judge: str, row: Mapping[str, Any], document: Mapping[str, Any]) -> Problem:
    """A completion with its tests, as the upstream runner of the benchmark puts them together.

    `humaneval` (Chen et al. 2021): prompt + completion is the program; the tests may use the other
    functions of the prompt, which are taken from the prompt as published. `mbpp` (lm-eval): the
    completion alone, which ends before `[DONE]`, then the three asserts that the prompt shows. The
    published code that sets them up runs first, where there is any: of the test problems in number
    367, which no completion can pass in lm-eval, as it leaves that code out.
    """
    from lora_ledger.sandbox.client import Problem

    fields = document["fields"]
    if judge == "humaneval":
        return Problem(
            row["prompt"],
            row["completion"],
            fields["test"],
            fields["entry_point"],
            context=document["prompt"],
        )
    if judge == "mbpp":
        tests = "\n".join(fields["test_list"][:3])
        setup = fields.get("test_setup_code") or ""
        return Problem("", row["completion"], tests, style="mbpp", context=setup)
    raise ValueError(f"judge: found {judge!r}, expected humaneval or mbpp")


def solution(judge: str, document: Mapping[str, Any]) -> Problem:
    """The problem with the benchmark's own solution as the completion."""
    code = document["fields"]["code"] if judge == "mbpp" else document["response"]
    return judged(judge, {"prompt": document["prompt"], "completion": code}, document)


def score_code(
    rows: Rows,
    problems: Sequence[int],
    samples: int,
    folder: Path,
    info: TaskInfo,
    jobs: int,
    level: int,
    proofs: Path | None = None,
) -> tuple[dict[str, Any], Rows, dict[str, Any]]:
    """Metrics, reasons and the proof of the judge, the items, and how the sandbox ran.

    Raises SandboxError where the machine confines less than `level`, or where a solution fails or a
    stub or a cheat passes.
    """
    from lora_ledger.data.corpora.store import load as load_rows
    from lora_ledger.sandbox.kept import judging

    documents = load_rows(folder, info.split)
    for row in rows:
        same_document(row, documents[row["problem"]])
    solutions = [solution(info.judge, documents[p]) for p in problems]
    with judging(solutions, jobs, level, proofs) as (sandbox, proof, kept):
        patience = dict(zip(problems, proof.cpu_seconds(), strict=True))
        programs = []
        for row in rows:
            one = judged(info.judge, row, documents[row["problem"]])
            programs.append(replace(one, cpu_seconds=patience[row["problem"]]))
        verdicts = sandbox.judge_all(programs)
    passed = [verdict.passed for verdict in verdicts]
    sizes = [size for size in SIZES if size <= samples]
    items = [
        {**pick(row), "passed": int(ok), "reason": verdict.reason}
        for row, ok, verdict in zip(rows, passed, verdicts, strict=True)
    ]
    found = proof.as_dict()
    del found["confinement"]
    results = {
        "metrics": all_pass_at_k(by_problem(rows, problems, passed), sizes),
        "reasons": dict(sorted(Counter(verdict.reason for verdict in verdicts).items())),
        "proof": found,
    }
    ran = {
        "distinct_programs": len(set(programs)),
        "confinement": sandbox.confinement.as_dict(),
        "proof": "kept" if kept else "made",
        "limits": sandbox.limits.as_dict(),
        "longer_limits": {p: seconds for p, seconds in patience.items() if seconds},
    }
    return results, items, ran


def score_words(
    rows: Rows, problems: Sequence[int], name: str, folder: Path
) -> tuple[dict[str, Any], Rows]:
    """Metrics and reasons, and the items, by lm-eval's filters and `process_results`.

    A problem's value is the mean over its samples.
    """
    with loading():
        from .loading import build

        loaded = build(name, folder, num_fewshot=0)
    task = loaded.task
    instances = []
    for row in rows:
        document = loaded.documents[row["problem"]]
        same_document(row, document)
        instance = task.construct_requests(
            doc=document, ctx=row["prompt"], metadata=(name, row["problem"], 1)
        )
        instance.resps = [row["completion"]]
        instances.append(instance)
    task._instances = instances
    task.apply_filters()
    names = list(instances[0].filtered_resps)
    values = {
        key: [
            float(task.process_results(i.doc, [i.filtered_resps[key]])["exact_match"])
            for i in instances
        ]
        for key in names
    }
    means = {
        key: [sum(one) / len(one) for one in by_problem(rows, problems, found)]
        for key, found in values.items()
    }
    strict, flexible = values["strict-match"], values["flexible-extract"]
    items = [
        {
            **pick(row),
            "strict": int(strict[place]),
            "flexible": int(flexible[place]),
            "extracted": instances[place].filtered_resps["flexible-extract"],
        }
        for place, row in enumerate(rows)
    ]
    passed = sum(map(int, strict))
    return {"metrics": means, "reasons": {"passed": passed, "wrong": len(rows) - passed}}, items


def pick(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("problem", "id", "sample")}


def same_document(row: Mapping[str, Any], document: Mapping[str, Any]) -> None:
    """ValueError when a generation belongs to another document than the corpus now has there."""
    if row["id"] != document["id"]:
        raise ValueError(
            f"--data: problem {row['problem']} is {document['id']!r}, the generations have "
            f"{row['id']!r}; generate again, or give the corpus that they were made from"
        )
