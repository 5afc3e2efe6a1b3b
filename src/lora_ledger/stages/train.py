"""Stage `train`: one cell, that is a setting, a method, a budget and a seed.

In: a model folder, packed data, and the learning rate (the study's own, or a `select` record's).
Out, in one folder: `adapter/` or `model/`, `probe.safetensors` and, last, `record.json`. A cell
that diverges has a record only. It evaluates nothing but the validation loss.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from lora_ledger.common.devices import claim_device
from lora_ledger.common.errors import KeyProblem, require
from lora_ledger.records.record import Record, digest_json, read_record
from lora_ledger.scheduling.stage import (
    Names,
    Stage,
    asked_of_training,
    code_of_all_methods,
    of_evaluation,
    training_modules,
)
from lora_ledger.study.file import load
from lora_ledger.study.rates import given_rate, selected_rate
from lora_ledger.study.schema import Study
from lora_ledger.study.training_inputs import decides

from ._main import flag, place, run


def reads(study: Study, names: Names) -> dict[str, Any]:
    """What decides the weights; the rate as `names` has it where it was selected."""
    setting, method = names["setting"], names["method"]
    rate = float(names["rate"]) if "rate" in names else given_rate(study, setting, method)
    return {
        **decides(study, setting, method, names["budget"], int(names["seed"]), rate),
        **asked_of_training(study),
    }


STAGE = Stage("train", ("the first",), reads, of_evaluation, modules=training_modules, torch=True)
FLAGS = (
    flag("study"),
    flag("setting"),
    flag("method"),
    flag("budget"),
    flag("seed", type=int),
    place("model", "model folder"),
    place("data", "packed data of the setting"),
    place("select", "select record that holds the learning rate", required=False),
    place("work", "checkpoints; removed at the end"),
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
        return None if rate is None else selected_rate(study, setting, method, float(rate))
    given = given_rate(study, setting, method)
    if given is None:
        rates = len(study.rates_of(setting, method))
        raise KeyProblem(
            "--select", None, f"the select record of {setting}/{method}, as it has {rates} rates"
        )
    return given


def train(args: argparse.Namespace) -> str:
    """Train and save the cell, unless the same run has left it whole; says what became of it."""
    from lora_ledger.training import saving
    from lora_ledger.training.run import Job, inputs_of, settings_of
    from lora_ledger.training.run import train as run_training

    study = load(args.study)
    require("--setting", args.setting, study.settings, "one of")
    require("--method", args.method, study.methods, "one of")
    require("--budget", args.budget, study.budgets, "one of")
    names = {key: str(getattr(args, key)) for key in ("setting", "method", "budget", "seed")}
    cell = f"{args.setting}/{args.method}/{args.budget}/s{args.seed}"
    chosen = {"select": read_record(args.select).input.model_dump()} if args.select else {}
    rate = rate_of(study, args.setting, args.method, args.select)
    if rate is None:
        saving.clear(args.out)
        _diverged_before(study, names, cell, chosen, args.out)
        return f"{cell}: diverged at every rate that was tried; nothing to train"
    code = STAGE.code(study, names)
    job = Job(
        setting=args.setting,
        method=args.method,
        budget=args.budget,
        seed=args.seed,
        rate=rate,
        model=args.model,
        data=args.data,
        work=args.work,
        starts=args.starts,
        code=code_of_all_methods(study),
    )
    inputs, settings = inputs_of(job), settings_of(study, job)
    plain = {name: one.model_dump() for name, one in inputs.items()}
    there = _present(args.out, study.methods[args.method].artefact, settings, plain, code)
    if there is not None:
        shutil.rmtree(args.work, ignore_errors=True)
        return f"{cell}: {there.status}, as it was"
    saving.clear(args.out)
    fingerprint = digest_json({"inputs": plain, "settings": settings, "code": code})
    claim_device(study.compute.device)
    outcome = run_training(study, job, fingerprint)
    weights = None
    if not outcome.diverged:
        weights = saving.save(study, job, args.out, outcome.model, outcome.validation)
    record = STAGE.record(
        args.out / "record.json",
        study,
        names,
        cell,
        inputs=inputs,
        settings=settings,
        results={**outcome.results, "weights": weights},
        run={**outcome.run, **chosen},
        status="diverged" if outcome.diverged else "complete",
        resolved={"rate": repr(rate)},
    )
    shutil.rmtree(args.work, ignore_errors=True)
    return f"{cell}: {record.status} after {record.results['steps']} steps"


def _diverged_before(
    study: Study, names: Names, cell: str, chosen: dict[str, Any], out: Path
) -> None:
    """The record of a cell whose rates all diverged when they were tried."""
    STAGE.record(
        out / "record.json",
        study,
        names,
        cell,
        inputs={},
        settings={"learning_rate": None},
        results={"steps": 0},
        run=chosen,
        status="diverged",
    )


def _present(
    out: Path, artefact: str, settings: dict[str, Any], inputs: dict[str, Any], code: str
) -> Record | None:
    """The record of the same run, if one is there together with its weights."""
    if not (out / "record.json").is_file():
        return None
    record = read_record(out / "record.json")
    whole = record.status == "diverged" or (out / artefact).is_dir()
    told = {name: one.model_dump() for name, one in record.science.inputs.items()}
    same = (record.science.settings, told, record.run.get("code_digest")) == (
        settings,
        inputs,
        code,
    )
    return record if same and whole else None


if __name__ == "__main__":
    sys.exit(run(STAGE, __doc__, FLAGS, train))
