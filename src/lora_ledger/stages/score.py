"""Stage `score`: which completions are right.

In: the study, a generations file with its record, and the task's corpus.
Out: a record with every metric by problem, and a table with a row a completion. Who judges how is
`data.tasks.scoring`. It needs no model and no torch, and generates nothing.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lora_ledger.common.errors import KeyProblem, require
from lora_ledger.data.tasks import describe, scoring
from lora_ledger.records.atomic import csv_gz, write_bytes_atomic
from lora_ledger.records.record import Record, read_record
from lora_ledger.sandbox.client import SandboxError
from lora_ledger.scheduling.stage import Names, Stage, lean
from lora_ledger.study import cells
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study

from ._main import flag, place
from ._main import run as run_stage


def reads(study: Study, names: Names) -> dict[str, Any]:
    """The run and its task file."""
    run = study.evaluation.generate[names["run"]]
    return {"run": lean(run, "diversity"), "task": cells.task_of(study, names["run"]).digest}


STAGE = Stage(
    "score",
    (
        "the first",
        "the judge takes an object's truth and items, and processor time of all threads",
        "what equals a mapping or a set arrives as one; an object has no method its class lacks",
    ),
    reads,
)


def score(
    study: Study,
    run_name: str,
    cell: str,
    generations: Path,
    generate_record: Path,
    data: Path,
    out: Path,
    items: Path,
    jobs: int,
    work: Path | None = None,
) -> Record:
    """Write the record `out` and the table `items`; a diverged cell passes its status on.

    The proof that the judge judges is kept in `work`, for the other jobs of this machine.

    Raises KeyProblem for a run that the study lacks, or where code would have to run and the
    study does not consent.
    """
    require("--run", run_name, study.evaluation.generate, "one of evaluation.generate")
    run = study.evaluation.generate[run_name]
    info = describe(run.task, run.corpus)
    if info.executes_code and not study.evaluation.allow_code_execution:
        raise KeyProblem(
            "evaluation.allow_code_execution",
            False,
            f"true, since {run_name} runs generated code in a confined process",
        )
    generated = read_record(generate_record)
    corpus_record = data / "record.json"
    names = {"run": run_name, "cell": cell}
    common: dict[str, Any] = {
        "inputs": {
            "generate": generated.input,
            **({"data": read_record(corpus_record).input} if corpus_record.is_file() else {}),
        },
        "settings": {
            "run": run_name,
            "task": asdict(info),
            "samples": run.samples,
            "num_fewshot": info.shots(run.num_fewshot),
        },
    }
    if generated.status == "diverged":
        write_bytes_atomic(items, csv_gz(scoring.columns(info), []))
        return STAGE.record(out, study, names, cell, **common, results={}, status="diverged")
    started = time.perf_counter()
    problems, samples = generated.results["problems"], generated.results["samples"]
    rows = scoring.read_generations(generations, len(problems) * samples)
    results, table, ran = scoring.judge_all(
        rows, problems, samples, data, info, jobs, study.evaluation.sandbox_level, work
    )
    write_bytes_atomic(items, csv_gz(scoring.columns(info), table))
    kept = {
        key: generated.results[key] for key in ("problems", "ids", "groups", "samples", "companion")
    }
    return STAGE.record(
        out,
        study,
        names,
        cell,
        **common,
        results={**kept, **results},
        run={"score_seconds": round(time.perf_counter() - started, 2), "sandbox": ran},
    )


FLAGS = (
    flag("study"),
    flag("run", "a key of evaluation.generate"),
    flag("cell", "the label in the record"),
    place("generations", "FILE.jsonl.gz"),
    place("record", "the record of generate"),
    place("data", "the task's corpus"),
    place("out", "FILE.json"),
    place("items", "FILE.csv.gz"),
    flag("jobs", "confined processes at once", type=int, default=1, required=False),
    place("work", "the proofs of the judge that the study's jobs share", required=False),
)


def main(args: argparse.Namespace) -> None:
    """Score the generations."""
    # So that judges are ended and the sandbox's folder goes, as at any other end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    score(
        load(args.study),
        args.run,
        args.cell,
        args.generations,
        args.record,
        args.data,
        args.out,
        args.items,
        args.jobs,
        args.work,
    )


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main, expected=SandboxError))
