"""Every way of adapting, 20 steps each: weights that train, speed, memory, loss, what is saved.

In: a model folder and packed data of `prepare` of a `cpt` setting with sequences of 128. Out: a
JSON file and a Markdown table, both written anew after each method; one that stands in the file is
not measured again, so that a run that was cut off goes on. A method trains in a process of its
own, forked before any model was loaded, so that its peak memory is its own; it is saved as a cell,
loaded as an evaluation loads it, and its logits are compared with those of one other process, which
imports transformers and peft alone and reads the saved folder. Peers are not timed: `training.py`
does that.

    python benchmarks/methods.py --model DIR --data DIR --out FILE.json --table FILE.md
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from machine import add_precision, describe, precision

STEPS, LENGTH, VALIDATION = 20, 128, 4
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PAIR = ["q_proj", "v_proj"]


def lora(rate: float = 1e-3, **keys: Any) -> dict[str, Any]:
    return {"kind": "lora", "rank": 8, "dropout": 0.0, "learning_rates": [rate], **keys}


def peft(kind: str, rate: float = 1e-3, **keys: Any) -> dict[str, Any]:
    return {"kind": "peft", "config": {"peft_type": kind, **keys}, "learning_rates": [rate]}


def beside(kind: str, **keys: Any) -> dict[str, Any]:
    return {"kind": kind, "learning_rates": [1e-3], **keys}


METHODS: dict[str, dict[str, Any]] = {
    "full": {"kind": "full", "learning_rates": [1e-4]},
    "full, freeze 0.95": {"kind": "full", "freeze": 0.95, "learning_rates": [1e-4]},
    "full, last 2 blocks": {"kind": "full", "layers": "last-2", "learning_rates": [1e-4]},
    "full-linear": {"kind": "full-linear", "learning_rates": [1e-4]},
    "LoRA": lora(),
    "rsLoRA": lora(rslora=True),
    "LoRA+": lora(1e-4, learning_rate_ratio=16.0),
    "LoRA, B alone": lora(train="b-only"),
    "DoRA": lora(dora=True),
    "PiSSA": lora(1e-4, init="pissa"),
    "middle": lora(1e-4, init="middle"),
    "MiLoRA": lora(1e-4, init="milora"),
    "OLoRA": lora(1e-4, init="olora"),
    "LoRA, orthogonal": lora(init="orthogonal"),
    "BitFit": beside("bitfit"),
    "Houlsby": beside("houlsby", bottleneck=16),
    "Lin": beside("lin", bottleneck=16),
    "Pfeiffer": beside("pfeiffer", bottleneck=16),
    "AdapterDrop": beside("adapter-drop", bottleneck=16, dropped=11),
    "LoRA beside a prompt": beside("lora-prompt", rank=8, dropout=0.0, prompt_tokens=8),
    "LoRA beside prompts of layers": beside(
        "lora-prompt", rank=8, dropout=0.0, prompt_tokens=8, prompt_at="layers"
    ),
    "IA3": peft("IA3", 1e-2),
    "VeRA": peft("VERA", 1e-2, r=64, target_modules=PAIR),
    "AdaLoRA": peft("ADALORA", init_r=8, target_r=4, tinit=5, tfinal=5, target_modules=ALL),
    "OFT": peft("OFT", target_modules=ALL),
    "LN tuning": peft("LN_TUNING"),
    "prefix": peft("PREFIX_TUNING", 1e-2, num_virtual_tokens=8),
    "prompt": peft("PROMPT_TUNING", 1e-2, num_virtual_tokens=8),
    "P-tuning": peft("P_TUNING", num_virtual_tokens=8, encoder_hidden_size=64),
    "adaption prompt": peft("ADAPTION_PROMPT", 1e-2, adapter_len=8, adapter_layers=30),
    "BEFT": peft("BEFT"),
    "C3A": peft("C3A", block_size=64, target_modules=ALL),
    "DeLoRA": peft("DELORA", r=8, target_modules=ALL),
    "GraLoRA": peft("GRALORA", r=8, target_modules=ALL),
    "HiRA": peft("HIRA", r=8, target_modules=ALL),
    "LoHa": peft("LOHA", r=8, target_modules=ALL),
    "LoKr": peft("LOKR", r=8, target_modules=ALL),
    "MiSS": peft("MISS", r=8, target_modules=ALL),
    "RoAd": peft("ROAD", group_size=32, target_modules=ALL),
    "SHiRA": peft("SHIRA", r=8, target_modules=ALL),
    "trainable tokens": peft("TRAINABLE_TOKENS", token_indices=list(range(100, 200))),
    "VB-LoRA": peft("VBLORA", r=4, num_vectors=64, vector_length=64, target_modules=ALL),
    "RandLoRA": peft("RANDLORA", r=32, target_modules=PAIR),
    "FourierFT": peft("FOURIERFT", 1e-2, n_frequency=100, target_modules=PAIR),
    "HRA": peft("HRA", r=4, target_modules=PAIR),
    "BOFT": peft("BOFT", boft_block_size=4, target_modules=PAIR),
}
"""What a study would say of each; of peft's, the families that are tested in depth come first."""
COLUMNS = {
    "method": "method",
    "trainable": "weights that train, counted",
    "closed": "by our formula",
    "peft": "by peft",
    "tokens_per_second": "tokens/s",
    "peak_mb": "peak MB",
    "before": "loss before",
    "after": "loss after",
    "from_base": "largest logit difference from the base at the start",
    "from_peer": "and after training from transformers and peft alone",
}
NOTES = """
Precision of training: {how}. Loss: nats per token of {validation} validation sequences, in fp32.
Tokens/s: loss-bearing tokens per second of processor time, without the first step, on one thread.
Peak memory: resident, libraries included, from loading to the last step. Logits: of one validation
sequence of {length} tokens, in fp32; the model's own lie within ±{largest:.0f}. *By peft*: its
`get_nb_trainable_parameters`; none where peft makes no part of the model. Parts beside the weights
that peft lacks are read by `lora_ledger.methods.load` on the untouched base, in the other process's
place (*).
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path, help="packed data of a cpt setting")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    add_precision(parser)
    args = parser.parse_args()
    if args.peer:
        return peer(args.peer)
    how = precision(args.precision)
    # Imported before the processes are forked, which then share it; no model is.
    import torch

    import lora_ledger.inference.weights
    import lora_ledger.stages.train
    import lora_ledger.training.run
    import lora_ledger.training.saving  # noqa: F401

    machine = describe(1, how)
    torch.set_num_threads(1)
    result: dict[str, Any] = {"machine": machine, "steps": STEPS, "rows": {}, "failed": {}}
    if args.out.is_file():
        known = json.loads(args.out.read_text("utf-8"))
        if known["machine"]["precision"] == how:
            result["rows"] = known["rows"]
    with subprocess.Popen(
        [sys.executable, __file__, "--peer", str(args.model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        for name in (one for one in args.methods if one not in result["rows"]):
            started = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                row = measured(name, args, how, Path(folder))
                if "error" in row:
                    result["failed"][name] = row["error"]
                    print(name, row["error"], file=sys.stderr, flush=True)
                    continue
                said = asked(other, Path(folder)) if row.pop("foreign") else row.pop("own")
                row |= {"from_peer": said, "seconds": round(time.monotonic() - started, 1)}
            result["rows"][name] = row
            print(name, row, file=sys.stderr, flush=True)
            args.out.write_text(json.dumps(result, indent=1) + "\n")
            args.table.write_text(table(result))
        other.stdin.close()  # type: ignore[union-attr]
    return bool(result["failed"])


def measured(name: str, args: argparse.Namespace, how: str, folder: Path) -> dict[str, Any]:
    """One method in a forked process."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def work() -> None:
        try:
            theirs.send(child(name, args, how, folder))
        except Exception:
            theirs.send({"error": traceback.format_exc()})

    process = context.Process(target=work)
    process.start()
    theirs.close()
    try:
        found: dict[str, Any] = ours.recv()
    except EOFError:
        found = {"error": "the process ended without an answer"}
    process.join()
    return found


def study_of(name: str, how: str) -> Any:
    """The study of one method."""
    from lora_ledger.study.schema import Study

    setting = {
        "corpus": "python-source",
        "regime": "cpt",
        "sequence_length": LENGTH,
        "batch_size": 1,
        "micro_batch_size": 1,
        "validation_examples": VALIDATION,
        "validation_points": 0,
    }
    precisions = {"train": how, "evaluate": "fp32"}
    return Study.model_validate(
        {
            "name": "methods",
            "title": name,
            "model": "smollm2-135m-instruct-q4",
            "compute": {"device": "cpu", "threads": 1, "precision": precisions},
            "seeds": [1],
            "settings": {"code": setting},
            "methods": {"m": METHODS[name]},
            "budgets": {"short": {"steps": STEPS}},
        }
    )


def child(name: str, args: argparse.Namespace, how: str, folder: Path) -> dict[str, Any]:
    """Train, save, load and compare; what stays on disk is for the other process."""
    import torch
    from datasets import load_from_disk

    from lora_ledger.inference.weights import load_cell, load_weights
    from lora_ledger.methods import load
    from lora_ledger.stages.train import train
    from lora_ledger.training import loop
    from lora_ledger.training.run import Job

    # Processor time, which other programs of a busy machine do not lengthen.
    loop.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    study = study_of(name, how)
    method, cell = study.methods["m"], folder / "cell"
    rate = method.learning_rates[0]
    job = Job("code", "m", "short", 1, rate, args.model, args.data, folder / "work")
    record = train(study, job, cell)
    results, run = record.science.results, record.run
    rows = load_from_disk(str(args.data / "validation"))
    ids = torch.tensor([rows[0]["input_ids"]])
    base = load_weights(args.model)
    config = base.config.to_dict()
    plain = logits(base.eval(), ids)
    started = method.apply(base, 1)
    counted = getattr(started, "get_nb_trainable_parameters", None)
    first = logits(started.eval(), ids)
    del started, base
    held, _ = load_cell(args.model, cell, "fp32", "cpu", method)
    ended = logits(held, ids)
    del held
    foreign = not (cell / "adapter" / "method.json").is_file()
    own = None
    if not foreign:
        own = apart(logits(load(load_weights(args.model), cell / "adapter").eval(), ids), ended)
    torch.save({"ids": ids, "logits": ended}, folder / "ours.pt")
    first_nats, last_nats = (sum(results["validation"][key]) for key in ("start", "end"))
    tokens = sum(len(row) - 1 for row in rows[:VALIDATION]["input_ids"])
    return {
        "trainable": results["parameters"]["trainable"],
        "closed": method.trainable_parameters(config),
        "peft": counted()[0] if counted else None,
        "tokens_per_second": run["tokens_per_second"],
        "peak_mb": round(run["peak_memory_bytes"] / 2**20),
        "before": first_nats / tokens,
        "after": last_nats / tokens,
        "from_base": apart(first, plain),
        "largest": float(plain.abs().max()),
        "foreign": foreign,
        "beside": not foreign,
        "own": own,
    }


def logits(model: Any, ids: Any) -> Any:
    """Of a text, without those of trainable positions before it."""
    import torch

    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits[0, -ids.shape[1] :].float()


def apart(one: Any, other: Any) -> float:
    return float((one - other).abs().max())


def asked(other: Any, folder: Path) -> float:
    """The largest difference that the process without this project finds."""
    other.stdin.write(f"{folder}\n")
    other.stdin.flush()
    return float(other.stdout.readline())


def peer(base: Path) -> int:
    """transformers and peft alone: load what was saved, and say how far its logits are."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert "lora_ledger" not in sys.modules
    torch.set_num_threads(1)
    for line in sys.stdin:
        folder = Path(line.strip())
        ours, adapter = torch.load(folder / "ours.pt"), folder / "cell/adapter"
        whole = base if adapter.is_dir() else folder / "cell/model"
        model = AutoModelForCausalLM.from_pretrained(whole, dtype=torch.float32)
        if adapter.is_dir():
            model = PeftModel.from_pretrained(model, adapter)
        print(apart(logits(model.eval(), ours["ids"]), ours["logits"]), flush=True)
        del model
    return 0


def table(result: dict[str, Any]) -> str:
    """The Markdown document."""
    machine, rows = result["machine"], result["rows"]
    how = f"{machine['processor']}, {machine['threads']} thread"
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in ("torch", "peft"))
    lines = [
        "# Every method, measured",
        "",
        f"`benchmarks/methods.py`: SmolLM2-135M, {STEPS} steps of one sequence of {LENGTH} tokens",
        f"of `code-cpt` each, n = 1; {how}; {versions}.",
        "The methods' keys stand in the script; LoRAs are of rank 8 on all linear modules.",
        "",
        "| " + " | ".join(COLUMNS.values()) + " |",
        "|---" * len(COLUMNS) + "|",
    ]
    for name, row in ((one, rows[one]) for one in METHODS if one in rows):
        cells = [name, *(written(row, key) for key in list(COLUMNS)[1:])]
        lines.append("| " + " | ".join(cells) + " |")
    largest = max(row["largest"] for row in rows.values())
    notes = NOTES.format(
        how=machine["precision"], validation=VALIDATION, length=LENGTH, largest=largest
    )
    return "\n".join(lines) + "\n" + notes


def written(row: dict[str, Any], key: str) -> str:
    value = row[key]
    if value is None:
        return "–"
    if key in ("trainable", "closed", "peft", "peak_mb"):
        return f"{value:,}"
    if key in ("from_base", "from_peer"):
        mark = " *" if key == "from_peer" and row["beside"] else ""
        return f"{value:.1e}{mark}" if value else f"0{mark}"
    return f"{value:.0f}" if key == "tokens_per_second" else f"{value:.4f}"


if __name__ == "__main__":
    sys.exit(main())
