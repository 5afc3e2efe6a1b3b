"""Stage `generate`: a cell completes the prompts of a task.

In: the study, the model folder, the cell's folder (none for `base`) and the task's corpus.
Out: one row a completion as gzipped JSON lines, and a record with the companion: the
log-likelihood of each problem's reference given the prompt. lm-eval renders the prompts.
It scores nothing and runs no generated code.
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

from ._evaluation import generations
from ._main import flag, place
from ._main import run as run_stage


def reads(study: Study, names: Names) -> dict[str, Any]:
    """The run, its task file, the tokens' roles, the seed of the samples."""
    run = study.evaluation.generate[names["run"]]
    found = cells.weights_of(study, names["cell"])
    return {
        "run": lean(run, "diversity", "batch_size"),
        "task": cells.task_of(study, names["run"]).digest,
        "tokens": lean(cells.tokens(study, names["cell"])),
        "seed": found.seed if found else study.seeds[0],
        **asked_of_evaluation(study, names["cell"]),
    }


def machine(study: Study, names: Names) -> dict[str, Any]:
    """What rounds otherwise: device, threads, and how much is computed at once."""
    batch = study.evaluation.generate[names["run"]].batch_size
    return {**of_evaluation(study, names), "batch_size": batch}


STAGE = Stage("generate", ("the first",), reads, machine, torch=True)


def generate(
    study: Study,
    run_name: str,
    cell: str,
    seed: int,
    model_dir: Path,
    trained: Path | None,
    data: Path,
    out: Path,
    record: Path,
) -> Record:
    """Write the generations `out` and their record; see `_evaluation`."""
    subject = Subject(study, cell, model_dir, trained)
    return generations(STAGE, subject, run_name, seed, data, out, record)


FLAGS = (
    flag("study"),
    flag("run", "a key of evaluation.generate"),
    flag("cell", "the label in the record"),
    flag("seed", "the seed of the samples", type=int),
    place("model", "model folder"),
    place("trained", "the cell's folder; none for base", required=False),
    place("data", "the task's corpus"),
    place("out", "FILE.jsonl.gz"),
    place("record", "FILE.json"),
)


def main(args: argparse.Namespace) -> str:
    """Complete the prompts and say how many were cut."""
    results = generate(
        load(args.study),
        args.run,
        args.cell,
        args.seed,
        args.model,
        args.trained,
        args.data,
        args.out,
        args.record,
    ).results
    cut, every = results.get("cut_prompts", 0), len(results.get("problems", ()))
    long, all_of_them = results.get("cut_completions", 0), every * results.get("samples", 1)
    return (
        f"{args.run} of {args.cell}: {cut} of {every} prompts lost their beginning, "
        f"{long} of {all_of_them} completions were cut at max_gen_toks"
    )


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main))
