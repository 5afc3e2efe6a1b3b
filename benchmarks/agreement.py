"""Does lm-eval's own `hf` back-end give what our stages recorded, item by item?

In: a study whose untouched model has been evaluated (`results/<study>`, its stages `generate` and
`retain` of the cell `base`), in fp32. Out: for each task how many items agree, every item that does
not, and for texts that part the gap between the two likeliest tokens where they part, as JSON and
as a Markdown table. Both sides get the same rendered requests; prompts are compared by the tests.

    python benchmarks/agreement.py --study benchmarks --out agreement.json
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from tqdm import tqdm

from lora_ledger import plan
from lora_ledger.generate import generation_settings
from lora_ledger.records import write_text_atomic
from lora_ledger.study import Study
from lora_ledger.study_file import load
from lora_ledger.tasks.loading import Loaded, build

NATS = 1e-3
"""Largest difference of a summed log-likelihood that counts as equal, in nats."""


def peer(study: Study, model: Path, batch_size: int) -> HFLM:
    """lm-eval's back-end over the same folder, in fp32 on the CPU."""
    return HFLM(
        pretrained=str(model),
        tokenizer=str(model),
        dtype="float32",
        device="cpu",
        batch_size=batch_size,
        prefix_token_id=_prefix(study, model),
    )


def _prefix(study: Study, model: Path) -> int:
    from lora_ledger.inference.loading import load_tokenizer

    vocabulary: dict[str, int] = load_tokenizer(model).get_vocab()
    return vocabulary[study.model_entry().tokens.prefix]


def task_of(study: Study, out: Path, run: str, items: int | None) -> tuple[Loaded, list[int]]:
    """The task as the stage rendered it, and the places of its first chosen items."""
    what = study.evaluation.generate.get(run) or study.evaluation.choices[run]
    info = plan.task_of(study, run)
    kwargs = generation_settings(what) if run in study.evaluation.generate else None
    task = build(
        info.name, out / "data" / info.corpus, what.num_fewshot, kwargs, corpus=info.corpus
    )
    return task, task.chosen(what.limit)[:items]


def likelihoods(lm: HFLM, task: Loaded, chosen: list[int], rows: list[dict[str, str]]) -> Any:
    """Compare `retain`'s rows of one task with the peer's log-likelihoods."""
    mine: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        mine[row["item"]].append(float(row["loglikelihood"]))
    requests = [request for i in chosen for request in task.instances[i]]
    answers = iter(lm.loglikelihood(requests, disable_tqdm=False))
    worst, differing, right = 0.0, [], 0
    for i in chosen:
        document = task.documents[i]
        results = [next(answers) for _ in task.instances[i]]
        theirs = [nats for nats, _ in results]
        ours = mine[document["id"]]
        gap = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        worst = max(worst, gap)
        picks = [max(range(len(v)), key=v.__getitem__) for v in (ours, theirs)]
        right += int(task.task.process_results(document, results)["acc"])
        if gap > NATS or picks[0] != picks[1]:
            differing.append({"item": document["id"], "ours": ours, "theirs": theirs})
    return {
        "items": len(chosen),
        "requests": len(requests),
        "largest_difference_nats": worst,
        "differing": differing,
        "accuracy_of_the_peer": right / len(chosen),
    }


def texts(lm: HFLM, task: Loaded, chosen: list[int], rows: list[dict[str, Any]]) -> Any:
    """Compare `generate`'s rows of one task (one greedy sample a problem) with the peer's."""
    requests = [task.instances[i][0] for i in chosen]
    answers = lm.generate_until(requests, disable_tqdm=False)
    mine = {row["id"]: row["completion"] for row in rows}
    differing = []
    for i, request, theirs in zip(chosen, requests, answers, strict=True):
        ours = mine[task.documents[i]["id"]]
        if ours != theirs:
            differing.append(
                {
                    "item": task.documents[i]["id"],
                    "ours": ours,
                    "theirs": theirs,
                    **parting(lm, request.args[0], ours, theirs),
                }
            )
    return {"items": len(chosen), "differing": differing}


@torch.inference_mode()
def parting(lm: HFLM, prompt: str, ours: str, theirs: str) -> dict[str, Any]:
    """Where two completions part, and how far apart the two likeliest tokens are there."""
    start = lm.tok_encode(prompt)
    a, b = lm.tok_encode(ours), lm.tok_encode(theirs)
    place = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    if place is None:
        return {"parts_at": min(len(a), len(b)), "note": "one ends where the other goes on"}
    logits = lm.model(torch.tensor([start + a[:place]])).logits[0, -1]
    top = logits.topk(2)
    return {
        "parts_at": place,
        "top_two_gap": float(top.values[0] - top.values[1]),
        "they_are_the_top_two": {a[place], b[place]} == set(top.indices.tolist()),
    }


def compare(
    study: Study, out: Path, batch_size: int, only: list[str], limit: int | None
) -> dict[str, Any]:
    model = out / "models" / study.model
    lm = peer(study, model, batch_size)
    with gzip.open(out / "retain/base.items.csv.gz", "rt", encoding="utf-8") as file:
        items = list(csv.DictReader(file))
    found: dict[str, Any] = {}
    runs = only or [*study.evaluation.choices, *study.evaluation.generate]
    for run in tqdm(runs, desc="tasks", disable=not sys.stderr.isatty()):
        task, chosen = task_of(study, out, run, limit)
        started = time.perf_counter()
        if run in study.evaluation.choices:
            mine = [row for row in items if row["task"] == run]
            found[run] = likelihoods(lm, task, chosen, mine)
        else:
            with gzip.open(out / f"generate/{run}/base.jsonl.gz", "rt", encoding="utf-8") as file:
                found[run] = texts(lm, task, chosen, [json.loads(line) for line in file])
        found[run]["peer_seconds"] = round(time.perf_counter() - started, 1)
    return found


def table(found: dict[str, Any]) -> str:
    lines = ["| task | items | differing | largest difference, nats |", "|---|--:|--:|--:|"]
    for run, one in found.items():
        worst = one.get("largest_difference_nats")
        shown = "text" if worst is None else f"{worst:.1e}"
        lines.append(f"| {run} | {one['items']:,} | {len(one['differing'])} | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", required=True)
    parser.add_argument("--out", required=True, type=Path, help="FILE.json; FILE.md beside it")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--items", type=int, help="the first items of each task; default: all")
    parser.add_argument("--only", nargs="*", default=[], help="keys of evaluation; default: all")
    args = parser.parse_args()
    study = load(args.study)
    torch.set_num_threads(study.compute.threads)
    found = compare(study, Path("results") / study.name, args.batch_size, args.only, args.items)
    write_text_atomic(args.out, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    write_text_atomic(args.out.with_suffix(".md"), table(found))
    print(table(found), end="")


if __name__ == "__main__":
    main()
