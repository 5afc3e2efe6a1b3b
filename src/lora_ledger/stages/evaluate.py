"""Stage `evaluate`: all that a cell is asked, by one process that loads its weights once.

In: the study, the model folder, the cell's folder (none for `base`), and what is asked with its
corpus and its files. Out: the files that the stages `generate` and `retain` would have written,
each evaluation with a record of its own. Only times differ, and where two runs ask the same
prompts, as sampled and greedy ones do, what the kernels round: their companion is computed once.
It has no record itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lora_ledger.inference.subject import Subject
from lora_ledger.scheduling import staleness
from lora_ledger.scheduling.stage import Names, Stage
from lora_ledger.study import cells
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study

from ._evaluation import generations, retention
from ._main import flag, place
from ._main import run as run_stage


def each(study: Study, names: Names) -> list[tuple[Stage, dict[str, str]]]:
    """The stage and the names of each evaluation of the cell."""
    cell = names["cell"]
    runs = [{"run": run, "cell": cell} for run in cells.generate_runs(study, cell)]
    tasks = [{"task": task, "cell": cell} for task in cells.retained(study)]
    generate, retain = staleness.stage("generate"), staleness.stage("retain")
    return [*((generate, one) for one in runs), *((retain, one) for one in tasks)]


def reads(study: Study, names: Names) -> dict[str, Any]:
    """What each evaluation reads, by its name."""
    return {_key(stage, one): stage.reads(study, one) for stage, one in each(study, names)}


def machine(study: Study, names: Names) -> dict[str, Any]:
    """What each evaluation rounds by, by its name."""
    return {_key(stage, one): stage.machine(study, one) for stage, one in each(study, names)}


def modules(study: Study, names: Names) -> tuple[str, ...]:
    """The stages whose facts are used."""
    return "stages.generate", "stages.retain"


def _key(stage: Stage, names: Names) -> str:
    return f"{stage.name}/{names.get('run') or names['task']}"


STAGE = Stage("evaluate", ("the first",), reads, machine, modules=modules, torch=True)


def evaluate(
    subject: Subject,
    generate: Sequence[tuple[str, Path, Path, Path]],
    retain: Sequence[tuple[str, Path, Path, Path | None]],
) -> int:
    """Answer each (run, data, out, record) and (task, data, out, items); returns how many.

    Raises what `generate` and `retain` raise; what was written before stays.
    """
    for run, data, out, record in generate:
        generations(staleness.stage("generate"), subject, run, subject.seed, data, out, record)
    for task, data, out, items in retain:
        retention(staleness.stage("retain"), subject, task, data, out, items)
    return len(generate) + len(retain)


FLAGS = (
    flag("study"),
    flag("cell", "the label in the records"),
    place("model", "model folder"),
    place("trained", "the cell's folder; none for base", required=False),
    flag(
        "generate",
        "a run, its corpus, FILE.jsonl.gz and FILE.json; may be repeated",
        nargs=4,
        action="append",
        default=[],
        required=False,
        metavar=("RUN", "DATA", "OUT", "RECORD"),
    ),
    flag(
        "retain",
        "a text or a task, its corpus, FILE.json and, of a task, FILE.csv.gz; may be repeated",
        nargs="+",
        action="append",
        default=[],
        required=False,
        metavar="PART",
    ),
)


def main(args: argparse.Namespace) -> str:
    """Answer all that is asked."""
    wrong = next((parts for parts in args.retain if len(parts) not in (3, 4)), None)
    if wrong:
        raise ValueError(f"--retain: found {' '.join(wrong)}, expected TASK DATA OUT [ITEMS]")
    count = evaluate(
        Subject(load(args.study), args.cell, args.model, args.trained),
        [(run, *map(Path, files)) for run, *files in args.generate],
        [
            (task, Path(data), Path(out), Path(items[0]) if items else None)
            for task, data, out, *items in args.retain
        ],
    )
    return f"{args.cell}: {count} evaluations"


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main))
