"""Stage `trunk`: the run of a longer budget, as far as one branch leaves it.

In: a model folder, packed data, and the record of the cell whose run is left, which has the rate.
Out: a record, and in the branch's own work folder the checkpoint that its training goes on from:
the one that the longer run left, or, where none is there any more, one that is trained to here.
It changes nothing of the longer run and trains no step of a cool-down.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lora_ledger.common.devices import claim_device
from lora_ledger.common.errors import KeyProblem
from lora_ledger.records.record import Record, digest_file, digest_json, read_record
from lora_ledger.scheduling.stage import (
    Stage,
    code_of_all_methods,
    of_a_run,
    of_evaluation,
    training_modules,
)
from lora_ledger.scheduling.staleness import stage
from lora_ledger.study import cells
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study

from ._main import flag, place, run

STAGE = Stage(
    "trunk", ("the first",), of_a_run, of_evaluation, modules=training_modules, torch=True
)
FLAGS = (
    flag("study"),
    flag("cell", "the label of a branch"),
    place("model", "model folder"),
    place("data", "packed data of the setting"),
    place("record", "record of the cell whose run is left"),
    place("leave", "folder for the state where branches leave the run"),
    place("work", "the branch's checkpoints"),
    place("starts", "folder that the study's runs share", required=False),
    place("out", "record to write"),
)


def main(args: argparse.Namespace) -> str:
    """Bring the run to where the branch leaves it, and say what it is there."""
    from lora_ledger.training import checkpoints
    from lora_ledger.training.run import Job, inputs_of, settings_of, train

    study = load(args.study)
    cell = cells.cell(study, args.cell)
    if cell is None or cell.parent is None:
        known = [one.label for found in cells.branches(study).values() for one in found]
        raise KeyProblem("--cell", args.cell, f"a branch: {', '.join(known) or 'there is none'}")
    rate = read_record(args.record).results.get("learning_rate")
    if rate is None:
        return _write(study, cell, args.out, "diverged", {"steps": 0, "tokens": 0}, {})
    job = Job(
        cell.setting,
        cell.method,
        cell.budget,
        cell.seed,
        float(rate),
        args.model,
        args.data,
        args.work,
        args.starts,
        code_of_all_methods(study),
        model_name=cell.model,
        leave=args.leave,
        stop=True,
    )
    inputs, settings = inputs_of(job), settings_of(study, job)
    plain = {name: one.model_dump() for name, one in inputs.items()}
    code = stage("train").code(study, cell.names)
    fingerprint = digest_json({"inputs": plain, "settings": settings, "code": code})
    claim_device(study.compute.device)
    # Another branch's job may be on its way through the step that this one is about.
    with checkpoints.alone(args.leave, wait=True), checkpoints.alone(args.work):
        outcome = train(study, job, fingerprint)
        found = _state(checkpoints.newest(args.work, fingerprint))
    status = "diverged" if outcome.diverged else "complete"
    results = {**found, "learning_rate": job.rate}
    more = {
        "inputs": inputs,
        "settings": settings,
        "resolved": {"rate": repr(job.rate)},
        "run": outcome.run,
    }
    return _write(study, cell, args.out, status, results, more)


def _state(checkpoint: Path | None) -> dict[str, Any]:
    """How far a checkpoint is, and the hash of the weights that train; of none, the beginning."""
    from lora_ledger.training.curves import CURVES, WEIGHTS, Curves

    if checkpoint is None:
        return {"steps": 0, "tokens": 0}
    curves = Curves()
    curves.load(checkpoint / CURVES)
    steps, tokens, _ = curves.loss[-1]
    weights = {"sha256": digest_file(checkpoint / WEIGHTS)}
    return {"steps": steps, "tokens": tokens, "weights": weights}


def _write(
    study: Study, cell: cells.Cell, out: Path, status: Any, results: Any, more: dict[str, Any]
) -> str:
    given: dict[str, Any] = {"inputs": {}, "settings": {}, **more}
    record: Record = STAGE.record(
        out, study, cell.names, cell.label, results=results, status=status, **given
    )
    return f"{cell.label}: leaves {cell.parent} after {record.results['steps']} steps, {status}"


if __name__ == "__main__":
    sys.exit(run(STAGE, __doc__, FLAGS, main))
