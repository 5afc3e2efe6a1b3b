"""Stage `tune`: try one learning rate of a method on the tuning seed and budget.

In: a model folder (of several models the setting's first), packed data and a rate of the grid.
Out: one record as `train` writes it, without weights. It does not choose; `select` does.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.common.devices import claim_device
from lora_ledger.common.errors import require
from lora_ledger.records.record import Record, digest_json
from lora_ledger.scheduling.stage import (
    Names,
    Stage,
    asked_of_training,
    code_of_all_methods,
    of_evaluation,
    training_modules,
)
from lora_ledger.study.file import load
from lora_ledger.study.rates import written
from lora_ledger.study.schema import Study
from lora_ledger.study.training_inputs import decides

from ._main import flag, place, run

if TYPE_CHECKING:
    from lora_ledger.training.run import Job


def tuning_budget(study: Study, setting: str) -> str:
    """The budget at which the rates of a setting are tried."""
    return study.settings[setting].tuning_budget or study.budgets_of(setting)[0]


def reads(study: Study, names: Names) -> dict[str, Any]:
    """What decides the weights, at the tuning budget and seed."""
    setting, budget = names["setting"], tuning_budget(study, names["setting"])
    rate = float(names["rate"])
    return {
        **decides(study, setting, names["method"], budget, study.tuning_seed, rate),
        **asked_of_training(study),
    }


STAGE = Stage("tune", ("the first",), reads, of_evaluation, modules=training_modules, torch=True)
FLAGS = (
    flag("study"),
    flag("setting"),
    flag("method"),
    flag("rate", "a rate of the grid, as in 3e-4", type=float),
    place("model", "model folder"),
    place("data", "packed data of the setting"),
    place("work", "checkpoints; removed at the end"),
    place("starts", "folder that the study's runs share", required=False),
    place("out", "record to write"),
)


def tune(study: Study, job: Job, out: Path) -> Record:
    """Train at one rate and write the record."""
    from lora_ledger.training.run import inputs_of, settings_of
    from lora_ledger.training.run import train as run_training

    names = {"setting": job.setting, "method": job.method, "rate": written(job.rate)}
    code = STAGE.code(study, names)
    job = replace(job, code=code_of_all_methods(study))
    inputs, settings = inputs_of(job), settings_of(study, job)
    plain = {name: one.model_dump() for name, one in inputs.items()}
    fingerprint = digest_json({"inputs": plain, "settings": settings, "code": code})
    claim_device(study.compute.device)
    outcome = run_training(study, job, fingerprint)
    record = STAGE.record(
        out,
        study,
        names,
        f"{job.setting}/{job.method}/{job.budget}/s{job.seed}",
        inputs=inputs,
        settings=settings,
        results=outcome.results,
        run=outcome.run,
        status="diverged" if outcome.diverged else "complete",
    )
    shutil.rmtree(job.work, ignore_errors=True)
    return record


def main(args: argparse.Namespace) -> str:
    """Try the rate."""
    from lora_ledger.training.checkpoints import alone
    from lora_ledger.training.run import Job

    study = load(args.study)
    require("--setting", args.setting, study.settings, "one of")
    require("--method", args.method, study.methods, "one of")
    grid = [written(rate) for rate in study.rates_of(args.setting, args.method)]
    require("--rate", written(args.rate), grid, f"a rate of {args.setting}/{args.method}")
    job = Job(
        args.setting,
        args.method,
        tuning_budget(study, args.setting),
        study.tuning_seed,
        args.rate,
        args.model,
        args.data,
        args.work,
        args.starts,
        model_name=study.models_of(args.setting)[0] if study.several else None,
    )
    with alone(args.work):
        record = tune(study, job, args.out)
    return f"{record.cell} at {args.rate:g}: {record.status}"


if __name__ == "__main__":
    sys.exit(run(STAGE, __doc__, FLAGS, main))
