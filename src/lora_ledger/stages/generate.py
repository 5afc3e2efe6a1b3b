"""Stage `generate`: a cell completes the prompts of a task.

In: the study, the model folder, the cell's folder (none for `base`) and the task's corpus.
Out: one row a completion as gzipped JSON lines, and a record with the companion: the
log-likelihood of each problem's reference given the prompt. lm-eval renders the prompts.
It scores nothing and runs no generated code.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lora_ledger.common.devices import claim_device
from lora_ledger.common.errors import require
from lora_ledger.common.startup import loading
from lora_ledger.data.tasks import describe
from lora_ledger.records.atomic import write_bytes_atomic
from lora_ledger.records.record import Record, identity, status_of
from lora_ledger.scheduling.stage import (
    Names,
    Stage,
    asked_of_evaluation,
    lean,
    of_evaluation,
)
from lora_ledger.study import cells
from lora_ledger.study.evaluation import TaskRun
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study

from ._main import flag, place
from ._main import run as run_stage


def generation_settings(run: TaskRun) -> dict[str, object]:
    """The run's keys in the words of lm-eval's `generation_kwargs`."""
    return {
        "do_sample": run.temperature > 0,
        "temperature": run.temperature,
        "top_p": run.top_p,
        "top_k": run.top_k,
        "max_gen_toks": run.max_gen_toks,
    }


def reads(study: Study, names: Names) -> dict[str, Any]:
    """The run, its task file, the tokens' roles, the seed of the samples."""
    run = study.evaluation.generate[names["run"]]
    found = cells.cell(study, names["cell"])
    return {
        "run": lean(run, "diversity", "batch_size"),
        "task": cells.task_of(study, names["run"]).digest,
        "tokens": lean(cells.tokens(study, names["cell"])),
        "seed": found.seed if found else study.seeds[0],
        **asked_of_evaluation(study),
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
    """Write the generations `out` and their record; a diverged cell passes its status on.

    Raises KeyProblem for a run that the study lacks, FileNotFoundError for data that is not there.
    """
    require("--run", run_name, study.evaluation.generate, "one of evaluation.generate")
    run = study.evaluation.generate[run_name]
    info = describe(run.task, run.corpus)
    names = {"run": run_name, "cell": cell}
    common: dict[str, Any] = {
        "inputs": {
            "model": identity(model_dir),
            "data": identity(data),
            **({"train": identity(trained)} if trained else {}),
        },
    }
    settings: dict[str, Any] = {
        "run": run_name,
        "seed": seed,
        "task": asdict(info),
        **run.model_dump(mode="json", exclude={"task", "batch_size", "diversity"}),
        "num_fewshot": info.shots(run.num_fewshot),
    }
    if status_of(trained) == "diverged":
        write_bytes_atomic(out, rows_gz([]))
        return STAGE.record(
            record, study, names, cell, **common, settings=settings, results={}, status="diverged"
        )

    claim_device(study.compute.device)
    with loading():
        from lora_ledger.data.tasks.loading import build, prompts_digest
        from lora_ledger.inference.build import language_model

        started = time.perf_counter()
        task = build(run.task, data, run.num_fewshot, generation_settings(run), run.corpus)
    lm, where = language_model(
        study,
        cell,
        model_dir,
        trained,
        batch_size=run.batch_size,
        seed=seed,
        ends=("separator", "end_of_response"),
    )
    chosen = task.chosen(run.limit)
    requests = [task.instances[i][0] for i in chosen for _ in range(run.samples)]
    references = [task.documents[i]["response"] for i in chosen]
    reference_ids = [lm.tok_encode(one, add_special_tokens=False) for one in references]
    loaded = time.perf_counter()
    completions, nats = lm.complete_and_score(
        requests, [ids for ids in reference_ids for _ in range(run.samples)]
    )
    seconds = time.perf_counter() - loaded
    rows = [
        {
            "problem": request.doc_id,
            "id": request.doc["id"],
            "sample": place % run.samples,
            "prompt": request.args[0],
            "completion": completion.text,
            "tokens": completion.tokens,
            "finish": completion.finish,
        }
        for place, (request, completion) in enumerate(zip(requests, completions, strict=True))
    ]
    write_bytes_atomic(out, rows_gz(rows))
    prompts = [task.instances[i][0].args[0] for i in chosen]
    tokens = sum(completion.tokens for completion in completions)
    # lm-eval has it so: a prompt that leaves no room for the completion loses its beginning.
    room = lm.max_length - run.max_gen_toks
    return STAGE.record(
        record,
        study,
        names,
        cell,
        **common,
        settings={
            **settings,
            "until": list(requests[0].args[1]["until"]),
            "template": task.task.config.doc_to_text,
            **where,
            "tokens": cells.tokens(study, cell).model_dump(),
        },
        results={
            "problems": chosen,
            "ids": [task.documents[i]["id"] for i in chosen],
            "groups": [task.documents[i]["group"] for i in chosen],
            "samples": run.samples,
            "prompts_sha256": prompts_digest(prompts),
            "cut_prompts": sum(len(lm.tok_encode(prompt)) > room for prompt in prompts),
            "generated_tokens": tokens,
            "companion": {
                "nats": [-value for value in nats[:: run.samples]],
                "bytes": [len(reference.encode()) for reference in references],
                "tokens": [len(ids) for ids in reference_ids],
            },
        },
        run={
            "start_seconds": round(loaded - started, 2),
            "generate_seconds": round(seconds, 2),
            "tokens_per_second": round(tokens / seconds, 2) if seconds else None,
            "batch_size": run.batch_size,
            "threads": study.compute.threads,
        },
    )


def rows_gz(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as gzipped JSON lines, the same bytes whenever they are written."""
    lines = (json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows)
    return gzip.compress("".join(lines).encode(), mtime=0)


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


def main(args: argparse.Namespace) -> None:
    """Complete the prompts."""
    generate(
        load(args.study),
        args.run,
        args.cell,
        args.seed,
        args.model,
        args.trained,
        args.data,
        args.out,
        args.record,
    )


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main))
