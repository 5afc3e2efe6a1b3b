"""Does lm-eval's own `hf` back-end give what ours gives, item by item?

In: a study whose model and corpora have been fetched (`results/<study>/models`, `data`). Both
back-ends answer the same rendered requests for the first items of each task, over the same folder,
in one precision on the CPU, with the same end of text: fp32 unless `--precision` says otherwise,
since in bf16 the two round apart. Out: for each task how many items agree, every item
that does not, and for texts that part the gap between the two likeliest tokens where they part, as
JSON and as a Markdown table. Prompts are held against upstream's by the tests.

    python benchmarks/agreement.py --study benchmarks --items 100 --texts 20 --out agreement.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from machine import DTYPES, add_precision, precision
from tqdm import tqdm

from lora_ledger.data.tasks.loading import Loaded, build
from lora_ledger.inference.backends.fast import FastModel
from lora_ledger.inference.generation import generation_settings
from lora_ledger.inference.weights import load_cell
from lora_ledger.models.tokens import begin_ids, token_id
from lora_ledger.records.atomic import write_text_atomic
from lora_ledger.study import cells
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study

NATS = 1e-3
"""Largest difference of a summed log-likelihood that counts as equal, in nats."""


def back_ends(study: Study, folder: Path, how: Any, batch_size: int) -> tuple[FastModel, HFLM]:
    """Ours and lm-eval's over one folder; both end a text at the tokenizer's eos alone."""
    model, tokenizer = load_cell(folder, None, how, "cpu")
    roles, vocabulary = study.model_entry().tokens, tokenizer.get_vocab()
    prefix = token_id(vocabulary, "prefix", roles.prefix)
    ours = FastModel(
        model,
        tokenizer,
        prefix_id=prefix,
        end_ids=[tokenizer.eos_token_id],
        begin_ids=begin_ids(vocabulary, roles),
        batch_size=batch_size,
    )
    theirs = HFLM(
        pretrained=str(folder),
        tokenizer=str(folder),
        dtype=DTYPES[how],
        device="cpu",
        batch_size=batch_size,
        prefix_token_id=prefix,
    )
    return ours, theirs


def task_of(study: Study, out: Path, run: str, items: int) -> tuple[Loaded, list[int]]:
    """The task as the stages render it, and the places of its first chosen items."""
    what = study.evaluation.generate.get(run) or study.evaluation.likelihood[run]
    info = cells.task_of(study, run)
    kwargs = generation_settings(what) if run in study.evaluation.generate else None
    folder = out / "data" / info.corpus
    task = build(info.name, folder, what.num_fewshot, kwargs, corpus=info.corpus)
    return task, task.chosen(what.limit)[:items]


def timed(answer: Any, requests: Any) -> tuple[Any, float]:
    started = time.perf_counter()
    found = answer(requests)
    return found, round(time.perf_counter() - started, 1)


def likelihoods(ours: FastModel, theirs: HFLM, task: Loaded, chosen: list[int]) -> Any:
    """Summed log-likelihoods of all requests of the items, and lm-eval's metrics from them."""
    requests = [request for i in chosen for request in task.instances[i]]
    mine, my_seconds = timed(ours.loglikelihood, requests)
    other, other_seconds = timed(theirs.loglikelihood, requests)
    answers = iter(zip(mine, other, strict=True))
    worst, differing = 0.0, []
    for i in chosen:
        document = task.documents[i]
        a, b = zip(*(next(answers) for _ in task.instances[i]), strict=True)
        gap = max(abs(x - y) for (x, _), (y, _) in zip(a, b, strict=True))
        worst = max(worst, gap)
        scores = [task.task.process_results(document, list(one)) for one in (a, b)]
        equal = all(scores[0][key] == scores[1][key] for key in scores[0] if key != "perplexity")
        if gap > NATS or not equal:
            differing.append({"item": document["id"], "ours": a, "theirs": b})
    return {
        "items": len(chosen),
        "requests": len(requests),
        "largest_difference_nats": worst,
        "differing": differing,
        "seconds": {"ours": my_seconds, "theirs": other_seconds},
    }


def texts(ours: FastModel, theirs: HFLM, task: Loaded, chosen: list[int]) -> Any:
    """Greedy texts of the items' prompts, compared as strings."""
    requests = [task.instances[i][0] for i in chosen]
    mine, my_seconds = timed(ours.generate_until, requests)
    other, other_seconds = timed(theirs.generate_until, requests)
    differing = [
        {
            "item": task.documents[i]["id"],
            "ours": a,
            "theirs": b,
            **parting(ours, request.args[0], a, b),
        }
        for i, request, a, b in zip(chosen, requests, mine, other, strict=True)
        if a != b
    ]
    return {
        "items": len(chosen),
        "differing": differing,
        "seconds": {"ours": my_seconds, "theirs": other_seconds},
    }


@torch.inference_mode()
def parting(ours: FastModel, prompt: str, mine: str, other: str) -> dict[str, Any]:
    """Where two completions part, and how far apart the two likeliest tokens are there."""
    start = ours.tok_encode(prompt)
    a, b = (ours.tok_encode(text, add_special_tokens=False) for text in (mine, other))
    place = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    if place is None:
        return {"parts_at": min(len(a), len(b)), "note": "one ends where the other goes on"}
    logits = ours.model(torch.tensor([start + a[:place]])).logits[0, -1]
    top = logits.topk(2)
    return {
        "parts_at": place,
        "top_two_gap": float(top.values[0] - top.values[1]),
        "they_are_the_top_two": {a[place], b[place]} == set(top.indices.tolist()),
    }


def table(found: dict[str, Any]) -> str:
    lines = [
        f"Precision: {found['precision']}.",
        "",
        "| task | items | requests | differing | largest difference, nats |",
        "|---|--:|--:|--:|--:|",
    ]
    for run, one in found["tasks"].items():
        worst = one.get("largest_difference_nats")
        shown = "greedy text" if worst is None else f"{worst:.1e}"
        requests = one.get("requests", one["items"])
        differing = len(one["differing"])
        lines.append(f"| {run} | {one['items']:,} | {requests:,} | {differing} | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", required=True)
    parser.add_argument("--out", required=True, type=Path, help="FILE.json; FILE.md beside it")
    parser.add_argument("--items", type=int, default=100, help="items of a likelihood task")
    parser.add_argument("--texts", type=int, default=20, help="problems of a generation task")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--only", nargs="*", default=[], help="keys of evaluation; default: all")
    add_precision(parser, "fp32")
    args = parser.parse_args()
    study = load(args.study)
    torch.set_num_threads(study.compute.threads)
    out = Path("results") / study.name
    how = precision(args.precision)
    ours, theirs = back_ends(study, out / "models" / study.model, how, args.batch_size)
    found: dict[str, Any] = {"precision": how, "tasks": {}}
    runs = args.only or [*study.evaluation.likelihood, *study.evaluation.generate]
    for run in tqdm(runs, desc="tasks", disable=not sys.stderr.isatty()):
        asked = run in study.evaluation.likelihood
        task, chosen = task_of(study, out, run, args.items if asked else args.texts)
        found["tasks"][run] = (likelihoods if asked else texts)(ours, theirs, task, chosen)
        # Written after each task, so that a run that is stopped loses one at most.
        write_text_atomic(args.out, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        write_text_atomic(args.out.with_suffix(".md"), table(found))
    print(table(found), end="")


if __name__ == "__main__":
    main()
