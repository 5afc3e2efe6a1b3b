"""Stage `diversity`: how many different completions a cell writes for a problem.

In: the generations of one cell and task, and the verdict on each from `score`.
Out: a record with the counts of distinct completions and distinct-n (`analysis.diversity`).
It runs no generated code and compares no cells; `tabulate` does the latter.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lora_ledger.analysis.diversity import count, read_samples
from lora_ledger.common.errors import require
from lora_ledger.records.record import Record, read_record
from lora_ledger.scheduling.stage import Names, Stage, lean
from lora_ledger.study import cells
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study

from ._main import flag, place
from ._main import run as run_stage


def reads(study: Study, names: Names) -> dict[str, Any]:
    """The run and its task file."""
    run = study.evaluation.generate[names["run"]]
    return {"run": lean(run, "diversity"), "task": cells.task_of(study, names["run"]).digest}


STAGE = Stage("diversity", ("the first",), reads)


def run(
    study: Study | None,
    *,
    cell: str,
    name: str,
    generations: Path,
    generate_record: Path,
    score_items: Path,
    score_record: Path,
    out: Path,
) -> Record:
    """Count and write the record; a diverged cell passes its status on with empty results."""
    upstream = [read_record(generate_record), read_record(score_record)]
    inputs = {"generate": upstream[0].input, "score": upstream[1].input}
    settings: dict[str, Any] = {"name": name}
    results: dict[str, Any] = {}
    diverged = any(record.status == "diverged" for record in upstream)
    if not diverged:
        task = upstream[1].science.settings.get("task", {})
        problems, column = read_samples(
            generations, score_items, joined=task.get("judge") != "mbpp"
        )
        python = column == "passed"
        settings |= {"verdict": column, "identity": "python" if python else "words"}
        results = count(problems, python=python)
    return STAGE.record(
        out,
        study,
        {"run": name, "cell": cell},
        cell,
        inputs=inputs,
        settings=settings,
        results=results,
        status="diverged" if diverged else "complete",
    )


FLAGS = (
    flag("study"),
    flag("cell", "the cell's label"),
    flag("run", "a key of evaluation.generate"),
    place("generations", "FILE.jsonl.gz"),
    place("generate-record", "FILE.json"),
    place("score-items", "FILE.csv.gz"),
    place("score-record", "FILE.json"),
    place("out", "record to write"),
)


def main(args: argparse.Namespace) -> None:
    """Count the variety of one cell's completions."""
    study = load(args.study)
    require("--run", args.run, study.evaluation.generate, "one of the study's runs")
    run(
        study,
        cell=args.cell,
        name=args.run,
        generations=args.generations,
        generate_record=args.generate_record,
        score_items=args.score_items,
        score_record=args.score_record,
        out=args.out,
    )


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main))
