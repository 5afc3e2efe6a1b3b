"""What the stages that evaluate a cell share: one evaluation, from its names to its record.

In: the facts of the stage `generate` or `retain`, a cell, a key of the study's `evaluation` and the
corpus. Out: the files of that evaluation. Whether a process makes one of them or all of a cell's
is the caller's to say, and nothing in a record depends on it but times.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from lora_ledger.common.devices import claim_device
from lora_ledger.common.errors import require
from lora_ledger.data.tasks import describe
from lora_ledger.inference.retention import COLUMNS, measure, resolved
from lora_ledger.inference.subject import Subject
from lora_ledger.records.atomic import csv_gz, jsonl_gz, write_bytes_atomic
from lora_ledger.records.record import Record
from lora_ledger.scheduling.stage import Stage


def generations(
    stage: Stage, subject: Subject, run: str, seed: int, data: Path, out: Path, record: Path
) -> Record:
    """Write the generations `out` and their record; a diverged cell passes its status on.

    Raises KeyProblem for a run that the study lacks, FileNotFoundError for data that is not there.
    """
    evaluation, cell = subject.study.evaluation, subject.cell
    require("--run", run, evaluation.generate, "one of evaluation.generate")
    asked = evaluation.generate[run]
    info = describe(asked.task, asked.corpus)
    names, inputs = {"run": run, "cell": cell}, subject.inputs(data)
    settings = {
        "run": run,
        "seed": seed,
        "task": asdict(info),
        **asked.model_dump(mode="json", exclude={"task", "batch_size", "diversity"}),
        "num_fewshot": info.shots(asked.num_fewshot),
    }
    if subject.diverged:
        write_bytes_atomic(out, jsonl_gz([]))
        return stage.record(
            record,
            subject.study,
            names,
            cell,
            inputs=inputs,
            settings=settings,
            results={},
            status="diverged",
        )
    claim_device(subject.study.compute.device)
    from lora_ledger.inference.generation import complete

    rows, used, results, times = complete(subject, asked, seed, data)
    write_bytes_atomic(out, jsonl_gz(rows))
    return stage.record(
        record,
        subject.study,
        names,
        cell,
        inputs=inputs,
        settings={**settings, **used},
        results=results,
        run=times,
    )


def retention(
    stage: Stage, subject: Subject, task: str, data: Path, out: Path, items: Path | None
) -> Record:
    """Write the record `out` and, where it is asked for, the table `items`; a diverged cell passes
    its status on.

    Raises KeyProblem for a name that the study's evaluation lacks, FileNotFoundError for data that
    is not there.
    """
    settings = resolved(subject.study, task)
    names, inputs = {"task": task, "cell": subject.cell}, subject.inputs(data)
    if subject.diverged:
        if items:
            write_bytes_atomic(items, csv_gz(COLUMNS, []))
        return stage.record(
            out,
            subject.study,
            names,
            subject.cell,
            inputs=inputs,
            settings=settings,
            results={},
            status="diverged",
        )
    claim_device(subject.study.compute.device)
    rows, used, results, times = measure(subject, task, data)
    if items:
        write_bytes_atomic(items, csv_gz(COLUMNS, rows))
    return stage.record(
        out,
        subject.study,
        names,
        subject.cell,
        inputs=inputs,
        settings={**settings, **used},
        results=results,
        run=times,
    )
