"""Train one cell: a setting, a method, a budget and a seed.

In: a model folder, packed data, and the learning rate (the study's own, or a `select` record's).
Out, in one folder: `adapter/` or `model/`, `probe.safetensors` (token ids and the logits that the
trained weights give for them, in fp32) and, last, `record.json`. A cell that diverges has a record
only. It evaluates nothing but the validation loss.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from lora_ledger.common.devices import claim_device
from lora_ledger.common.errors import KeyProblem
from lora_ledger.methods import Method
from lora_ledger.records.atomic import new_file, new_folder
from lora_ledger.records.record import Record, digest_file, digest_json, read_record, write_record
from lora_ledger.scheduling.digests import code_digest
from lora_ledger.study.file import StudyError, load
from lora_ledger.study.schema import Study
from lora_ledger.training.batching import Example
from lora_ledger.training.run import Job, inputs_of, require_name, settings_of
from lora_ledger.training.run import train as run_training

PROBE = "probe.safetensors"
PROBE_EXAMPLES, PROBE_LENGTH, PROBE_POSITIONS = 2, 64, 4


def train(study: Study, job: Job, out: Path, select: Path | None = None) -> Record:
    """Train and save a cell; returns its record, the one that is there if it fits already."""
    cell = f"{job.setting}/{job.method}/{job.budget}/s{job.seed}"
    method = study.methods[job.method]
    inputs = inputs_of(job)
    if select is not None:
        inputs["select"] = read_record(select).id
    settings = settings_of(study, job)
    code = code_digest("stages.train", (method.module(),))
    there = _present(method, out, settings, inputs, code)
    if there is not None:
        shutil.rmtree(job.work, ignore_errors=True)
        return there
    out.mkdir(parents=True, exist_ok=True)
    for name in ("record.json", PROBE):
        (out / name).unlink(missing_ok=True)
    for name in ("adapter", "model"):
        shutil.rmtree(out / name, ignore_errors=True)
    for left in out.glob(".saving-*"):
        shutil.rmtree(left)
    fingerprint = digest_json({"inputs": inputs, "settings": settings, "code": code})
    claim_device(study.compute.device)
    outcome = run_training(study, job, fingerprint)
    results = outcome.results
    if outcome.diverged:
        results["weights"] = None
    else:
        results["weights"] = _save(study, job, out, outcome.model, outcome.validation)
    record = write_record(
        out / "record.json",
        stage="train",
        cell=cell,
        inputs=inputs,
        code=code,
        settings=settings,
        results=results,
        run=outcome.run,
        status="diverged" if outcome.diverged else "complete",
    )
    shutil.rmtree(job.work, ignore_errors=True)
    return record


def rate_of(study: Study, setting: str, method: str, select: Path | None) -> float | None:
    """The learning rate: the study's single one, or the selected one times the factor of `at`.

    None when every rate that could have been selected diverged. Raises KeyProblem when there is a
    choice and no record that makes it.
    """
    at = study.methods[method].reference()
    own = study.rates_of(setting, method)
    if select is not None:
        rate = read_record(select).results.get("learning_rate")
        return None if rate is None else float(rate) * (at[0] if at and not own else 1.0)
    if not own and at:
        own = tuple(at[0] * rate for rate in study.rates_of(setting, at[1]))
    if len(own) != 1:
        raise KeyProblem(
            "--select", None, f"the select record of {setting}/{method}, as it has {len(own)} rates"
        )
    return own[0]


def write_without_rate(cell: str, select: Path, out: Path) -> Record:
    """The record of a cell whose rates all diverged when they were tried."""
    return write_record(
        out / "record.json",
        stage="train",
        cell=cell,
        inputs={"select": read_record(select).id},
        code=code_digest("stages.train"),
        settings={"learning_rate": None},
        results={"steps": 0},
        status="diverged",
    )


def _present(
    method: Method,
    out: Path,
    settings: dict[str, Any],
    inputs: dict[str, str],
    code: str,
) -> Record | None:
    """The record of the same run, if one is there together with its weights."""
    if not (out / "record.json").is_file():
        return None
    record = read_record(out / "record.json")
    whole = record.status == "diverged" or (out / method.artefact).is_dir()
    same = (record.science.settings, record.science.inputs, record.science.code) == (
        settings,
        inputs,
        code,
    )
    return record if same and whole else None


def _save(
    study: Study, job: Job, out: Path, model: Any, validation: list[Example]
) -> dict[str, Any]:
    """Write probe and weights; the folder of weights appears whole or not at all."""
    method = study.methods[job.method]
    with new_folder(out / method.artefact) as folder:
        weights = method.save(model, folder, study.model, job.model)
        described = {"sha256": digest_file(weights), "bytes": weights.stat().st_size}
        if validation:
            with new_file(out / PROBE) as probe:
                _write_probe(model, validation, probe)
    return described


def _write_probe(model: Any, validation: list[Example], path: Path) -> None:
    """The first validation examples, cut to equal length, and logits of their last positions."""
    import torch
    from safetensors.torch import save_file

    chosen = validation[:PROBE_EXAMPLES]
    length = min(PROBE_LENGTH, *(len(example.input_ids) for example in chosen), PROBE_LENGTH)
    ids = torch.tensor([example.input_ids[:length] for example in chosen])
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=ids.to(next(model.parameters()).device)).logits
    save_file(
        {"input_ids": ids, "logits": logits[:, -PROBE_POSITIONS:].float().cpu().contiguous()}, path
    )


def main() -> int:
    """Command line; 2 for a study or a path that cannot be used."""
    parser = argparse.ArgumentParser(prog="train", description="Train one cell.")
    parser.add_argument("--study", required=True)
    parser.add_argument("--setting", required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--budget", required=True)
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--model", required=True, type=Path, help="model folder")
    parser.add_argument("--data", required=True, type=Path, help="packed data of the setting")
    parser.add_argument("--select", type=Path, help="select record that holds the learning rate")
    parser.add_argument("--work", required=True, type=Path, help="checkpoints; removed at the end")
    parser.add_argument("--starts", type=Path, help="folder that the study's runs share")
    parser.add_argument("--out", required=True, type=Path, help="folder of the cell")
    args = parser.parse_args()
    try:
        study = load(args.study)
        require_name("setting", args.setting, study.settings)
        require_name("method", args.method, study.methods)
        require_name("budget", args.budget, study.budgets)
        rate = rate_of(study, args.setting, args.method, args.select)
        if rate is None:
            label = f"{args.setting}/{args.method}/{args.budget}/s{args.seed}"
            write_without_rate(label, args.select, args.out)
            print(f"{label}: diverged at every rate that was tried; nothing to train")
            return 0
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
        )
        record = train(study, job, args.out, args.select)
    except (StudyError, KeyProblem, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{record.cell}: {record.status} after {record.results['steps']} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
