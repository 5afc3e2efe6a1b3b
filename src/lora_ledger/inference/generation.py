"""A cell completes the prompts of a task.

In: a cell, a run of the study and the task's corpus. Out: a row for each completion, and with them
the companion: the log-likelihood of each problem's reference given the prompt, computed once for
all runs of a process that ask the same. lm-eval renders the prompts. It scores nothing and writes
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.common.errors import KeyProblem
from lora_ledger.common.startup import loading
from lora_ledger.study.evaluation import TaskRun

from .cuts import count_cut
from .subject import Subject

if TYPE_CHECKING:
    from lora_ledger.data.tasks.loading import Loaded

    from .language_model import LedgerModel

Rows = list[dict[str, Any]]


def generation_settings(run: TaskRun) -> dict[str, object]:
    """The run's keys in the words of lm-eval's `generation_kwargs`."""
    return {
        "do_sample": run.temperature > 0,
        "temperature": run.temperature,
        "top_p": run.top_p,
        "top_k": run.top_k,
        "max_gen_toks": run.max_gen_toks,
    }


def complete(
    subject: Subject, run: TaskRun, seed: int, data: Path
) -> tuple[Rows, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(rows, settings, results, times): `run.samples` rows for each problem, problem by problem.

    `seed` is that of the samples. Raises FileNotFoundError for data or weights that are not there.
    """
    with loading():
        from lora_ledger.data.tasks.loading import build

        started = time.perf_counter()
        task = build(run.task, data, run.num_fewshot, generation_settings(run), run.corpus)
    lm = subject.language_model(
        batch_size=run.batch_size, seed=seed, ends=("separator", "end_of_response")
    )
    chosen = task.chosen(run.limit)
    cut = _cut(task, chosen, run, lm)
    requests = [task.instances[i][0] for i in chosen for _ in range(run.samples)]
    references = [task.documents[i]["response"] for i in chosen]
    reference_ids = [lm.tok_encode(one, add_special_tokens=False) for one in references]
    pairs = [(task.instances[i][0].args[0], task.documents[i]["response"]) for i in chosen]
    known = [subject.companions.get(pair) for pair in pairs]
    loaded = time.perf_counter()
    completions, nats = lm.complete_and_score(
        requests,
        [
            () if there is not None else ids
            for ids, there in zip(reference_ids, known, strict=True)
            for _ in range(run.samples)
        ],
    )
    companion = [
        value if there is None else there
        for value, there in zip(nats[:: run.samples], known, strict=True)
    ]
    subject.companions.update(zip(pairs, companion, strict=True))
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
    tokens = sum(completion.tokens for completion in completions)
    settings = {
        "until": list(requests[0].args[1]["until"]),
        "template": task.task.config.doc_to_text,
        **subject.resolved,
    }
    results = {
        **_asked(task, chosen, run),
        "cut_prompts": cut,
        "cut_completions": sum(completion.finish == "length" for completion in completions),
        "generated_tokens": tokens,
        "companion": {
            "nats": [-value for value in companion],
            "bytes": [len(reference.encode()) for reference in references],
            "tokens": [len(ids) for ids in reference_ids],
        },
    }
    times = {
        "start_seconds": round(loaded - started, 2),
        "generate_seconds": round(seconds, 2),
        "tokens_per_second": round(tokens / seconds, 2) if seconds else None,
        "batch_size": run.batch_size,
        "threads": subject.study.compute.threads,
    }
    return rows, settings, results, times


def _cut(task: Loaded, chosen: Sequence[int], run: TaskRun, lm: LedgerModel) -> int:
    """How many prompts lose their beginning, which lm-eval cuts where the completion needs room.

    Raises KeyProblem where nothing is left for a prompt, or where too many would be cut.
    """
    room = lm.max_length - run.max_gen_toks
    if room < 1:
        raise KeyProblem(
            "max_gen_toks", run.max_gen_toks, f"below {lm.max_length}, the model's window"
        )
    lengths = [len(lm.tok_encode(task.instances[i][0].args[0])) for i in chosen]
    shots = task.task.config.num_fewshot
    return count_cut(
        lengths,
        room,
        "num_fewshot" if shots else "max_gen_toks",
        shots or run.max_gen_toks,
        f"a window of {lm.max_length} leaves beside max_gen_toks",
    )


def _asked(task: Loaded, chosen: Sequence[int], run: TaskRun) -> dict[str, Any]:
    """Which problems were asked, and in which words."""
    from lora_ledger.data.tasks.loading import prompts_digest

    prompts = [task.instances[i][0].args[0] for i in chosen]
    return {
        "problems": chosen,
        "ids": [task.documents[i]["id"] for i in chosen],
        "groups": [task.documents[i]["group"] for i in chosen],
        "samples": run.samples,
        "prompts_sha256": prompts_digest(prompts),
    }
