"""Training speed and memory against plain `Trainer` and TRL's `SFTTrainer`, as ratios in one run.

In: a model folder, and packed data of `prepare` (`--data cpt=DIR ift=DIR`). Out: a JSON file and a
Markdown table beside it: medians, spread, ratios to the fastest peer, peak memory, share of the
measured peak of matrix products. Each competitor is a process of its own, so that its peak memory
is its own; rounds are interleaved and each begins with another competitor. All see the same batches
of the same model in the same order, with AdamW and in one precision. Tokens are real ones, never
padding. The first step is reported apart. A peer that is not installed is left out, and the table
says so.

    python benchmarks/training.py --model DIR --data cpt=DIR ift=DIR --out FILE.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from machine import add_precision, describe, peak_gflops, peak_memory_bytes, precision

PEERS = {
    "trainer": "transformers Trainer, no checkpointing",
    "sft": "TRL SFTTrainer as it comes (gradient checkpointing)",
    "sft-plain": "TRL SFTTrainer, no checkpointing",
}
OURS = {"ours": "lora-ledger", "ours-checkpointing": "lora-ledger, gradient_checkpointing: true"}
MODES = {
    "full-cpt": ("full", "cpt", 4),
    "lora-r8-cpt": ("lora-r8", "cpt", 4),
    "lora-r32-cpt": ("lora-r32", "cpt", 4),
    "full-ift": ("full", "ift", 8),
    "lora-r8-ift": ("lora-r8", "ift", 8),
}
RATE = 1e-5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, nargs="+", metavar="REGIME=DIR")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    parser.add_argument("--only", nargs="+", choices=[*PEERS, *OURS], help="competitors")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="measured, after the first one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.0)
    add_precision(parser)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args, args.modes[0], args.child)))
        return 0
    args.precision = precision(args.precision)
    trl = importlib.util.find_spec("trl") is not None
    names = [n for n in [*PEERS, *OURS] if trl or not n.startswith("sft")]
    names = [n for n in names if not args.only or n in args.only]
    result: dict[str, Any] = {
        "machine": describe(args.threads, args.precision),
        "missing": [] if trl else ["trl"],
        "steps": args.steps,
        "dropout": args.dropout,
        "peak_gflops": [],
        "runs": {},
    }
    for mode in args.modes:
        result["peak_gflops"].append(ask(args, mode, "peak")["gflops"])
        runs: dict[str, list[Any]] = {name: [] for name in names}
        for number in range(args.rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                runs[name].append(ask(args, mode, name))
                print(mode, name, runs[name][-1], file=sys.stderr, flush=True)
        result["runs"][mode] = runs
        args.out.write_text(json.dumps(result, indent=1) + "\n")
        args.out.with_suffix(".md").write_text(table(result))
    print(table(result))
    return 0


def ask(args: argparse.Namespace, mode: str, name: str) -> Any:
    """Run one competitor in a process of its own."""
    command = [sys.executable, __file__, "--model", args.model, "--data", *args.data]
    command += ["--out", os.devnull, "--modes", mode, "--child", name, "--steps", str(args.steps)]
    command += ["--threads", str(args.threads), "--dropout", str(args.dropout)]
    command += ["--precision", args.precision]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(args.threads)}
    with tempfile.TemporaryFile("w+") as log:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=log)
        if done.returncode:
            log.seek(0)
            raise SystemExit(f"{mode} {name}: exit {done.returncode}\n{log.read()[-4000:]}")
    return json.loads(done.stdout.decode().strip().splitlines()[-1])


def child(args: argparse.Namespace, mode: str, name: str) -> dict[str, Any]:
    """Train for the first step and the measured ones; seconds and tokens of each, peak memory."""
    import torch

    torch.set_num_threads(args.threads)
    if name == "peak":
        return {"gflops": peak_gflops(args.precision)}
    from datasets import load_from_disk
    from transformers import AutoModelForCausalLM, TrainerCallback

    from lora_ledger.methods.full import FullMethod
    from lora_ledger.methods.lora import LoraMethod
    from lora_ledger.training.batching import read_examples

    kind, regime, batch = MODES[mode]
    data = dict(pair.split("=", 1) for pair in args.data)
    examples = read_examples(load_from_disk(f"{data[regime]}/train"), batch * (args.steps + 1))
    method: Any = FullMethod(kind="full", learning_rates=(RATE,))
    if kind != "full":
        rank = int(kind.removeprefix("lora-r"))
        method = LoraMethod(kind="lora", rank=rank, dropout=args.dropout, learning_rates=(RATE,))
    model = AutoModelForCausalLM.from_pretrained(
        args.model, dtype=torch.float32, attn_implementation="sdpa"
    )
    config = model.config.to_dict()
    flops = method.flops_per_token(config, max(len(e.input_ids) for e in examples))
    model.config.use_cache = False
    model = method.apply(model, 0)
    batches = [examples[i : i + batch] for i in range(0, len(examples), batch)]
    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

        on_step_end = on_train_begin

    with tempfile.TemporaryDirectory() as work:
        if name in OURS:
            checkpointing = name == "ours-checkpointing"
            trainer = ours(model, examples, batch, checkpointing, args.precision, Path(work))
        else:
            trainer = peer(name, model, examples, batch, args.precision, work)
        trainer.add_callback(Clock())
        trainer.train()
    if name in OURS:
        losses = [loss for _, _, loss in trainer.curves.loss]
    else:
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "seconds": [end - start for start, end in pairwise(ends)],
        "tokens": [sum(len(e.input_ids) for e in b) for b in batches],
        "peak_memory_mb": round(peak_memory_bytes() / 2**20),
        "flops_per_token": flops,
        "losses": losses,
    }


def ours(
    model: Any, examples: list[Any], batch: int, checkpointing: bool, how: str, work: Path
) -> Any:
    from lora_ledger.methods.full import FullMethod
    from lora_ledger.methods.recipe import Optimiser, Schedule
    from lora_ledger.training.batching import Order
    from lora_ledger.training.curves import Curves
    from lora_ledger.training.loop import CellTrainer, Run
    from lora_ledger.training.regimes import regime

    order = [tuple(range(i, i + batch)) for i in range(0, len(examples), batch)]
    tokens = tuple(sum(examples[i].loss_tokens for i in indices) for indices in order)
    run = Run(
        # What packs differs between regimes; what trains does not.
        regime=regime("cpt"),
        order=Order(tuple((indices,) for indices in order), tokens),
        train=examples,
        validation=[],
        optimiser=Optimiser(),
        schedule=Schedule(name="constant", warmup=0),
        rate=RATE,
        clip=1.0,
        seed=0,
        validations=0,
        batch_size=batch,
        micro_batch_size=batch,
        device="cpu",
        precision=how,
        evaluate_precision=how,
        checkpointing=checkpointing,
        checkpoint_steps=10**6,
        work=work,
        fingerprint="",
        # What trains is set by now; a method tells the loop its weights alone.
        method=FullMethod(kind="full", learning_rates=(RATE,)),
    )
    return CellTrainer(model, run, Curves())


def peer(name: str, model: Any, examples: list[Any], batch: int, how: str, work: str) -> Any:
    """Their classes with their own defaults, but for precision, batch, order and saving."""
    common = {
        "output_dir": work,
        "per_device_train_batch_size": batch,
        "max_steps": len(examples) // batch,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "bf16": how == "bf16",
        "use_cpu": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "train_sampling_strategy": "sequential",
    }
    if name == "trainer":
        from transformers import Trainer, TrainingArguments

        return Trainer(
            model=model,
            args=TrainingArguments(remove_unused_columns=False, **common),
            train_dataset=examples,
            data_collator=padded,
        )
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    if name == "sft-plain":
        common["activation_checkpointing"] = False
    rows = [
        {
            "input_ids": e.input_ids,
            "labels": [-100] * e.prompt_length + e.input_ids[e.prompt_length :],
        }
        for e in examples
    ]
    return SFTTrainer(
        model=model,
        args=SFTConfig(dataset_kwargs={"skip_prepare_dataset": True}, max_length=None, **common),
        train_dataset=Dataset.from_list(rows),
    )


def padded(examples: list[Any]) -> dict[str, Any]:
    """Right-padded, with labels at the response: what transformers' own collators make."""
    import torch

    longest = max(len(e.input_ids) for e in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, e in enumerate(examples):
        length = len(e.input_ids)
        ids[row, :length] = torch.tensor(e.input_ids)
        mask[row, :length] = 1
        labels[row, e.prompt_length : length] = ids[row, e.prompt_length : length]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def table(result: dict[str, Any]) -> str:
    """Medians over rounds, with the lowest and highest; ratios to the fastest peer."""
    peak = statistics.median(result["peak_gflops"])
    lines = [
        f"Threads: {result['machine']['threads']}. {result['machine']['precision']} product of "
        f"2048: {peak:.0f} GFLOP/s.",
        f"LoRA dropout: {result['dropout']:g}. Missing: {', '.join(result['missing']) or 'none'}.",
        "",
        "| mode | who | tokens/s (range) | × fastest peer | first step s | peak MB "
        "| × Trainer's memory | share of peak |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for mode, runs in result["runs"].items():
        speeds = {
            name: [sum(r["tokens"][1:]) / sum(r["seconds"][1:]) for r in rounds]
            for name, rounds in runs.items()
        }
        of = {name: statistics.median(values) for name, values in speeds.items()}
        best = max((of[name] for name in of if name in PEERS), default=float("nan"))
        memory = {n: statistics.median(r["peak_memory_mb"] for r in rs) for n, rs in runs.items()}
        plain = memory.get("trainer", float("nan"))
        for name, rounds in runs.items():
            low, high = min(speeds[name]), max(speeds[name])
            first = statistics.median(r["seconds"][0] for r in rounds)
            # Lengths differ in instruction tuning, and the closed form is of full sequences.
            share = of[name] * rounds[0]["flops_per_token"] / 1e9 / peak
            shown = f"{share:.0%}" if mode.endswith("cpt") else "–"
            lines.append(
                f"| {mode} | {(PEERS | OURS)[name]} | {of[name]:.0f} ({low:.0f}–{high:.0f}) "
                f"| {of[name] / best:.2f} | {first:.1f} | {memory[name]:.0f} "
                f"| {memory[name] / plain:.2f} | {shown} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
