"""Try one learning rate of a method: train on the tuning seed and budget, keep only the record.

In: a model folder, packed data and the rate's place in the grid. Out: one record as `train` writes
it, without weights. It does not choose; `select` does.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from lora_ledger.common.devices import claim_device
from lora_ledger.common.errors import KeyProblem
from lora_ledger.records.record import Record, digest_json, write_record
from lora_ledger.scheduling.digests import code_digest
from lora_ledger.study.file import StudyError, load
from lora_ledger.study.schema import Study
from lora_ledger.training.run import Job, budget_for_tuning, inputs_of, require_name, settings_of
from lora_ledger.training.run import train as run_training


def tune(study: Study, job: Job, out: Path) -> Record:
    """Train at one rate and write the record."""
    inputs, settings = inputs_of(job), settings_of(study, job)
    code = code_digest("stages.tune", (study.methods[job.method].module(),))
    fingerprint = digest_json({"inputs": inputs, "settings": settings, "code": code})
    claim_device(study.compute.device)
    outcome = run_training(study, job, fingerprint)
    record = write_record(
        out,
        stage="tune",
        cell=f"{job.setting}/{job.method}/{job.budget}/s{job.seed}",
        inputs=inputs,
        code=code,
        settings=settings,
        results=outcome.results,
        run=outcome.run,
        status="diverged" if outcome.diverged else "complete",
    )
    shutil.rmtree(job.work, ignore_errors=True)
    return record


def job_of(
    study: Study,
    setting: str,
    method: str,
    index: int,
    model: Path,
    data: Path,
    work: Path,
    starts: Path | None = None,
) -> Job:
    """The run that tries rate number `index` of a grid; raises KeyProblem when there is none."""
    rates = study.rates_of(setting, method)
    if not 0 <= index < len(rates):
        raise KeyProblem("--rate-index", index, f"0 to {len(rates) - 1}, as there are {len(rates)}")
    budget = budget_for_tuning(study, setting)
    rate, seed = rates[index], study.tuning_seed
    return Job(setting, method, budget, seed, rate, model, data, work, starts)


def main() -> int:
    """Command line; 2 for a study or a path that cannot be used."""
    parser = argparse.ArgumentParser(prog="tune", description="Try one learning rate.")
    parser.add_argument("--study", required=True)
    parser.add_argument("--setting", required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--rate-index", required=True, type=int, help="place in the grid, from 0")
    parser.add_argument("--model", required=True, type=Path, help="model folder")
    parser.add_argument("--data", required=True, type=Path, help="packed data of the setting")
    parser.add_argument("--work", required=True, type=Path, help="checkpoints; removed at the end")
    parser.add_argument("--starts", type=Path, help="folder that the study's runs share")
    parser.add_argument("--out", required=True, type=Path, help="record to write")
    args = parser.parse_args()
    try:
        study = load(args.study)
        require_name("setting", args.setting, study.settings)
        require_name("method", args.method, study.methods)
        job = job_of(
            study,
            args.setting,
            args.method,
            args.rate_index,
            args.model,
            args.data,
            args.work,
            args.starts,
        )
        record = tune(study, job, args.out)
    except (StudyError, KeyProblem, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{record.cell} at {job.rate:g}: {record.status}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
