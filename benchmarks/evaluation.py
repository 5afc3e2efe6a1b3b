"""How fast requests are answered, beside lm-eval's own `hf` back-end, interleaved in one run.

In: a study whose model and corpora have been fetched (`results/<study>/models`, `data`). Each
back-end answers the same rendered requests in a process of its own, on the same folder, precision
and threads; lm-eval's is tried at each batch size on a part of the items, and its best one runs all
of them, in turns with ours. Out: JSON and a Markdown table with medians, spread, the quotient of
medians and the peak of memory. Loading is not timed. It compares no answer; `agreement.py` does.

    python benchmarks/evaluation.py --study benchmarks --out evaluation.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import DTYPES, add_precision, describe, peak_memory_bytes, precision

PEER_BATCHES = (1, 8, 32)


@dataclass(frozen=True)
class Workload:
    """Runs of the study's evaluation, how many items of each, and what is sampled."""

    title: str
    runs: tuple[str, ...]
    items: int
    tried: int
    ours: int
    samples: int = 1
    max_gen_toks: int = 256


WORKLOADS = {
    "gsm8k": Workload("GSM8K, 5-shot", ("gsm8k",), 64, 16, 32),
    "mbpp": Workload("MBPP, 3-shot", ("mbpp",), 64, 16, 64),
    "humaneval": Workload("HumanEval, 10 samples", ("humaneval",), 32, 4, 160, samples=10),
    "choices": Workload(
        "ARC-Challenge and HellaSwag", ("arc-challenge", "hellaswag-klosax"), 200, 50, 32
    ),
}


def requests_of(study: Any, workload: Workload, items: int) -> list[Any]:
    """The rendered requests of the first chosen items of each run."""
    from lora_ledger.data.tasks.loading import build
    from lora_ledger.study import cells

    found = []
    for run in workload.runs:
        info = cells.task_of(study, run)
        kwargs = None
        if run in study.evaluation.generate:
            kwargs = {"do_sample": False, "max_gen_toks": workload.max_gen_toks}
            if workload.samples > 1:
                kwargs |= {"do_sample": True, "temperature": 0.2, "top_p": 0.95, "top_k": 0}
        data = Path("results") / study.name / "data" / info.corpus
        task = build(info.name, data, None, kwargs, corpus=info.corpus)
        for i in task.chosen(None)[:items]:
            found += [one for one in task.instances[i] for _ in range(workload.samples)]
    return found


def back_end(study: Any, who: str, how: str, batch_size: int) -> Any:
    """Ours or lm-eval's over the study's untouched model; both end a text at eos alone."""
    from lora_ledger.inference.weights import load_cell
    from lora_ledger.models.tokens import begin_ids, token_id

    folder = Path("results") / study.name / "models" / study.model
    if who == "hf":
        import torch
        from lm_eval.models.huggingface import HFLM

        torch.manual_seed(1)
        return HFLM(
            pretrained=str(folder),
            tokenizer=str(folder),
            dtype=DTYPES[how],
            device="cpu",
            batch_size=batch_size,
        )
    from lora_ledger.inference.backends.fast import FastModel

    model, tokenizer = load_cell(folder, None, how, "cpu")  # type: ignore[arg-type]
    roles, vocabulary = study.model_entry().tokens, tokenizer.get_vocab()
    return FastModel(
        model,
        tokenizer,
        prefix_id=token_id(vocabulary, "prefix", roles.prefix),
        end_ids=[tokenizer.eos_token_id],
        begin_ids=begin_ids(vocabulary, roles),
        batch_size=batch_size,
    )


def child(args: argparse.Namespace) -> None:
    """Answer one workload once; the last line of the output is what it took."""
    import torch

    from lora_ledger.study.file import load

    torch.set_num_threads(args.threads)
    study, workload = load(args.study), WORKLOADS[args.child]
    requests = requests_of(study, workload, args.items)
    lm = back_end(study, args.who, args.precision, args.batch_size)
    answer = lm.loglikelihood if requests[0].request_type == "loglikelihood" else lm.generate_until
    answer(requests[:1])
    started = time.perf_counter()
    answers = answer(requests)
    seconds = time.perf_counter() - started
    texts = [text for text in answers if isinstance(text, str)]
    tokens = sum(len(lm.tokenizer.encode(text, add_special_tokens=False)) for text in texts)
    peak = peak_memory_bytes()
    print(json.dumps({"seconds": seconds, "tokens_kept": tokens, "peak_memory_bytes": peak}))


def measure(args: argparse.Namespace, name: str, who: str, batch: int, items: int) -> Any:
    command = [
        *(sys.executable, __file__, "--study", args.study, "--child", name, "--who", who),
        *("--items", str(items), "--batch-size", str(batch), "--threads", str(args.threads)),
        *("--precision", args.precision),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}, {who}: exit {done.returncode}\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: {who} at batch {batch}, {items} items: {found['seconds']:.1f} s", flush=True)
    return found


def compare(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """The best batch size of the peer on a part, then all items in turns."""
    workload = WORKLOADS[name]
    tried = {}
    if not args.peer_batch:
        tried = {n: measure(args, name, "hf", n, workload.tried)["seconds"] for n in PEER_BATCHES}
    best = args.peer_batch or min(tried, key=lambda n: tried[n])
    count = args.items or workload.items
    rounds: dict[str, list[Any]] = {"ours": [], "hf": []}
    for _ in range(args.rounds):
        rounds["hf"].append(measure(args, name, "hf", best, count))
        rounds["ours"].append(measure(args, name, "ours", workload.ours, count))
    items = count * len(workload.runs)
    return {
        "title": workload.title,
        "items": items,
        "samples": workload.samples,
        "peer_batch_sizes": {str(n): seconds for n, seconds in tried.items()},
        "peer_batch_size": best,
        "our_batch_size": workload.ours,
        "rounds": rounds,
    }


def table(found: dict[str, Any]) -> str:
    lines = [
        f"Threads: {found['machine']['threads']}. Precision: {found['machine']['precision']}.",
        "",
        "| requests | items | lm-eval hf, its best batch | items/s | ours | quotient | memory |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for one in found["workloads"].values():
        speed, spread, peak = {}, {}, {}
        for who, rounds in one["rounds"].items():
            rates = [one["items"] / r["seconds"] for r in rounds]
            speed[who], spread[who] = statistics.median(rates), f"{min(rates):.2f}–{max(rates):.2f}"
            peak[who] = statistics.median(r["peak_memory_bytes"] for r in rounds)
        lines.append(
            f"| {one['title']} | {one['items']} | {one['peer_batch_size']} | "
            f"{speed['hf']:.2f} ({spread['hf']}) | {speed['ours']:.2f} ({spread['ours']}) | "
            f"**{speed['ours'] / speed['hf']:.2f}** | {peak['ours'] / peak['hf']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", default="benchmarks")
    parser.add_argument("--out", type=Path, help="FILE.json; FILE.md beside it")
    parser.add_argument("--only", nargs="*", choices=WORKLOADS, default=[])
    parser.add_argument("--items", type=int, default=0, help="items of each run; default: as named")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--peer-batch", type=int, help="known best one; default: each is tried")
    parser.add_argument("--threads", type=int, default=2)
    add_precision(parser)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--who", choices=["ours", "hf"], help=argparse.SUPPRESS)
    parser.add_argument("--batch-size", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args)
        return
    if args.out is None:
        parser.error("--out is needed")
    args.precision = precision(args.precision)
    found: dict[str, Any] = {"machine": describe(args.threads, args.precision), "workloads": {}}
    for name in args.only or WORKLOADS:
        found["workloads"][name] = compare(args, name)
        # Written after each, so that a run that is stopped loses one at most.
        args.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        args.out.with_suffix(".md").write_text(table(found), "utf-8")
    print(table(found), end="")


if __name__ == "__main__":
    main()
