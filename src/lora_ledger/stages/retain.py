"""Stage `retain`: how well a cell still predicts a general text, or answers a task of likelihoods.

In: the study, the name of a text or a task, the model folder, the cell's folder (none for `base`)
and the corpus. Out: a record with what each document or item came to and, of a task, a table of
everything that was scored. What is measured how is `inference.retention`; it compares nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lora_ledger.inference.subject import Subject
from lora_ledger.records.record import Record
from lora_ledger.scheduling.stage import (
    Names,
    Stage,
    asked_of_evaluation,
    lean,
    of_evaluation,
)
from lora_ledger.study import cells
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study

from ._evaluation import retention
from ._main import flag, place
from ._main import run as run_stage


def reads(study: Study, names: Names) -> dict[str, Any]:
    """The text, or the task and its file; the tokens' roles."""
    task, evaluation = names["task"], study.evaluation
    if task in evaluation.texts:
        asked: dict[str, Any] = {"text": lean(evaluation.texts[task])}
    elif task in evaluation.prompts:
        digest = cells.task_of(study, task).digest
        asked = {"prompts": lean(evaluation.prompts[task]), "task": digest}
    elif task in evaluation.memorised:
        asked = {"memorised": lean(evaluation.memorised[task])}
    else:
        digest = cells.task_of(study, task).digest
        asked = {"choices": lean(evaluation.likelihood[task]), "task": digest}
    return {
        **asked,
        "tokens": lean(cells.tokens(study, names["cell"])),
        **asked_of_evaluation(study, names["cell"]),
    }


def machine(study: Study, names: Names) -> dict[str, Any]:
    """What rounds otherwise: device, threads, and how much is computed at once."""
    return {**of_evaluation(study, names), "batch_size": study.evaluation.batch_size}


STAGE = Stage("retain", ("the first",), reads, machine, torch=True)


def retain(
    study: Study,
    task: str,
    cell: str,
    model_dir: Path,
    trained: Path | None,
    data: Path,
    out: Path,
    items: Path | None = None,
) -> Record:
    """Write the record `out` and, where it is asked for, the table `items`; see `_evaluation`."""
    return retention(STAGE, Subject(study, cell, model_dir, trained), task, data, out, items)


FLAGS = (
    flag("study"),
    flag("task", "a key of evaluation.texts, likelihood, prompts or memorised"),
    flag("cell", "the label in the record"),
    place("model", "model folder"),
    place("trained", "the cell's folder; none for base", required=False),
    place("data", "the corpus"),
    place("out", "FILE.json"),
    place("items", "FILE.csv.gz, of a task", required=False),
)


def main(args: argparse.Namespace) -> str:
    """Measure one text or one task and say how many contexts were cut."""
    results = retain(
        load(args.study),
        args.task,
        args.cell,
        args.model,
        args.trained,
        args.data,
        args.out,
        args.items,
    ).results
    cut, every = results.get("cut_contexts", 0), len(results.get("items", ()))
    return f"{args.task} of {args.cell}: {cut} of {every} items lost the beginning of their context"


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main))
