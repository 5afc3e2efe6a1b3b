"""The weights of a cell that were not kept, trained again before it is asked something more.

In: the study, a trained cell's label, its model, packed data and folder. Out: its weights where
they were, the same to the bit. Nothing else is written: the record stands, and what was answered
from it. A cell that has its weights is left as it is.
"""

from __future__ import annotations

import argparse
import shutil
import sys

from lora_ledger.common.devices import claim_device
from lora_ledger.common.errors import KeyProblem
from lora_ledger.records.atomic import new_folder
from lora_ledger.records.record import digest_file, digest_json, read_record
from lora_ledger.scheduling.stage import code_of_all_methods
from lora_ledger.scheduling.staleness import stage
from lora_ledger.study import cells
from lora_ledger.study.file import load

from ._main import flag, place, run

FLAGS = (
    flag("study"),
    flag("cell", "a trained cell's label"),
    place("model", "model folder"),
    place("data", "packed data of the cell's setting"),
    place("work", "checkpoints; removed at the end"),
    place("starts", "folder that the study's runs share", required=False),
    place("out", "folder of the cell"),
)


def main(args: argparse.Namespace) -> str | None:
    """Train the cell again if its weights are not there; KeyProblem where they come out otherwise,
    as on another kind of processor."""
    study = load(args.study)
    cell = cells.cell(study, args.cell)
    if cell is None:
        raise KeyProblem("--cell", args.cell, "the label of a trained cell of the study")
    record, method = read_record(args.out / "record.json"), study.methods[cell.method]
    if record.status == "diverged" or (args.out / method.artefact).is_dir():
        return None
    from lora_ledger.training.checkpoints import alone
    from lora_ledger.training.run import Job, inputs_of, settings_of, train

    job = Job(
        cell.setting,
        cell.method,
        cell.budget,
        cell.seed,
        float(record.results["learning_rate"]),
        args.model,
        args.data,
        args.work,
        args.starts,
        code_of_all_methods(study),
        cell.model,
    )
    # Evaluations of one cell that start together all ask for its weights: the first one trains.
    with alone(args.work, wait=True):
        if (args.out / method.artefact).is_dir():
            shutil.rmtree(args.work, ignore_errors=True)
            return None
        claim_device(study.compute.device)
        inputs = {name: one.model_dump() for name, one in inputs_of(job).items()}
        code = stage("train").code(study, cell.names)
        known = {"inputs": inputs, "settings": settings_of(study, job), "code": code}
        outcome = train(study, job, digest_json(known))
        with new_folder(args.out / method.artefact) as folder:
            name = cells.model_of(study, cell.label)
            found = digest_file(method.save(outcome.model, folder, name, job.model))
            wanted = record.results["weights"]["sha256"]
            if found != wanted:
                raise ValueError(
                    f"{args.out / method.artefact}: found weights of sha256 {found[:16]}, expected "
                    f"{wanted[:16]} as {args.out / 'record.json'} has them; it was trained on "
                    f"{record.run.get('processor', 'a processor that it does not name')}: to train "
                    "and evaluate the cell anew here, take that record away"
                )
        shutil.rmtree(args.work, ignore_errors=True)
    return f"{cell.label}: trained again, since its weights were not kept"


if __name__ == "__main__":
    sys.exit(run(stage("train"), __doc__, FLAGS, main))
