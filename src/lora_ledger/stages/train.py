"""Stage `train`: one cell, that is a setting, a method, a budget and a seed.

In: a model folder, packed data, and the learning rate (the study's own, or a `select` record's).
Out, in one folder: `adapter/` or `model/`, `probe.safetensors` and, last, `record.json`. A cell
that diverges has a record only. It evaluates nothing but the validation loss.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.common.devices import claim_device
from lora_ledger.common.errors import KeyProblem, require
from lora_ledger.records.record import Record, digest_json, read_record
from lora_ledger.scheduling.stage import (
    Stage,
    code_of_all_methods,
    of_a_run,
    of_evaluation,
    training_modules,
)
from lora_ledger.study import cells, rates
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study

from ._main import flag, place, run

if TYPE_CHECKING:
    from lora_ledger.training.run import Job


STAGE = Stage(
    "train", ("the first",), of_a_run, of_evaluation, modules=training_modules, torch=True
)
FLAGS = (
    flag("study"),
    flag("setting"),
    flag("method"),
    flag("budget"),
    flag("seed", type=int),
    flag("rate", "as it stands in the cell's path, where a grid is reported", required=False),
    flag("model-name", "one of models, where the study has several", required=False),
    place("model", "model folder"),
    place("data", "packed data of the setting"),
    place("select", "select record that holds the learning rate", required=False),
    place("trunk", "record of the trunk that a branch goes on from", required=False),
    place("work", "checkpoints; removed at the end"),
    place("leave", "folder for the state where branches leave this run", required=False),
    place("starts", "folder that the study's runs share", required=False),
    place("out", "folder of the cell"),
)


def rate_of(study: Study, setting: str, method: str, select: Path | None) -> float | None:
    """The learning rate: the study's single one, or the selected one times the factor of `at`.

    None when every rate that could have been selected diverged. Raises KeyProblem when there is a
    choice and no record that makes it.
    """
    if select is not None:
        rate = read_record(select).results.get("learning_rate")
        return None if rate is None else rates.selected_rate(study, setting, method, float(rate))
    given = rates.given_rate(study, setting, method)
    if given is None:
        count = len(rates.grid(study, setting, method))
        raise KeyProblem(
            "--select", None, f"the select record of {setting}/{method}, as it has {count} rates"
        )
    return given


def train(
    study: Study, job: Job, out: Path, select: Path | None = None, trunk: Path | None = None
) -> Record:
    """Train and save a cell; returns its record, the one that is there if it fits already.

    A branch whose trunk left no checkpoint in its work folder is trained from the first step, to
    the same bits.
    """
    from lora_ledger.training import saving
    from lora_ledger.training.run import inputs_of, settings_of
    from lora_ledger.training.run import train as run_training

    cell = cell_of(study, job)
    code = STAGE.code(study, cell.names)
    job = replace(job, code=code_of_all_methods(study))
    inputs, settings = inputs_of(job), settings_of(study, job)
    plain = {name: one.model_dump() for name, one in inputs.items()}
    there = _present(study, job, out, settings, plain, code)
    if there is not None:
        shutil.rmtree(job.work, ignore_errors=True)
        return there
    saving.clear(out)
    fingerprint = digest_json({"inputs": plain, "settings": settings, "code": code})
    claim_device(study.compute.device)
    outcome = run_training(study, job, fingerprint)
    weights = None
    if outcome.diverged:
        saving.empty(study, job, out)
    else:
        weights = saving.save(study, job, out, outcome.model, outcome.validation)
    record = STAGE.record(
        out / "record.json",
        study,
        cell.names,
        cell.label,
        inputs=inputs,
        settings=settings,
        results={**outcome.results, "weights": weights},
        run={**outcome.run, **_chosen_by(select), **_branched_off(trunk, outcome.run, cell)},
        status="diverged" if outcome.diverged else "complete",
        resolved={"rate": repr(job.rate)},
    )
    shutil.rmtree(job.work, ignore_errors=True)
    return record


def cell_of(study: Study, job: Any) -> cells.Cell:
    """The cell that a job, or a command line, names; KeyProblem for a rate that is not reported, or
    a model that it does not stand on."""
    reported = rates.reported(study, job.setting, job.method)
    rate = None if reported == (None,) else float(job.rate or 0)
    if rate not in reported:
        listed = ", ".join(rates.written(one) for one in reported if one is not None)
        raise KeyProblem("--rate", job.rate, f"one of {listed}, since the grid is reported")
    if study.several:
        known = study.models_at(job.setting, job.seed)
        require("--model-name", str(job.model_name), known, f"a model of {job.setting}")
    model = job.model_name if study.several else None
    return cells.cell_of(study, job.setting, job.method, job.budget, job.seed, model, rate)


def _chosen_by(select: Path | None) -> dict[str, Any]:
    """The selection that the rate comes from: of the run, as the rate alone decides the weights."""
    return {"select": read_record(select).input.model_dump()} if select else {}


def _branched_off(trunk: Path | None, run: Mapping[str, Any], cell: cells.Cell) -> dict[str, Any]:
    """What a branch did not train itself: of the run, as it decides no bit."""
    if trunk is None:
        return {}
    record = read_record(trunk)
    steps = record.results["steps"]
    if record.status == "diverged" or not steps or run.get("went_on_at", 0) < steps:
        return {}
    taken = {"cell": cell.parent, "steps": steps, "tokens": record.results["tokens"]}
    return {"trunk": {**taken, "record": record.input.model_dump()}}


def _present(
    study: Study, job: Job, out: Path, settings: dict[str, Any], inputs: dict[str, Any], code: str
) -> Record | None:
    """The record of the same run, if one is there, with its weights where they are kept."""
    if not (out / "record.json").is_file():
        return None
    record = read_record(out / "record.json")
    kept = (out / study.methods[job.method].artefact).is_dir()
    whole = record.status == "diverged" or kept or not study.keep_weights
    told = {name: one.model_dump() for name, one in record.science.inputs.items()}
    same = (record.science.settings, told, record.run.get("code_digest")) == (
        settings,
        inputs,
        code,
    )
    return record if same and whole else None


def main(args: argparse.Namespace) -> str:
    """Train the cell, or write that every rate diverged when they were tried."""
    from lora_ledger.training.checkpoints import alone
    from lora_ledger.training.run import Job
    from lora_ledger.training.saving import clear

    study = load(args.study)
    require("--setting", args.setting, study.settings, "one of")
    require("--method", args.method, study.methods, "one of")
    require("--budget", args.budget, study.budgets, "one of")
    cell = cell_of(study, args)
    rate = cell.rate or rate_of(study, args.setting, args.method, args.select)
    if rate is None:
        clear(args.out)
        (args.out / study.methods[args.method].artefact).mkdir()
        STAGE.record(
            args.out / "record.json",
            study,
            cell.names,
            cell.label,
            inputs={},
            settings={"learning_rate": None},
            results={"steps": 0},
            run=_chosen_by(args.select),
            status="diverged",
        )
        return f"{cell.label}: diverged at every rate that was tried; nothing to train"
    job = Job(
        args.setting,
        args.method,
        args.budget,
        args.seed,
        rate,
        args.model,
        args.data,
        args.work,
        args.starts,
        model_name=args.model_name,
        leave=args.leave,
    )
    with alone(args.work):
        record = train(study, job, args.out, args.select, args.trunk)
    return f"{record.cell}: {record.status} after {record.results['steps']} steps"


if __name__ == "__main__":
    sys.exit(run(STAGE, __doc__, FLAGS, main))
