"""A made-up study, and writers of its records that take the numbers from the test.

For tests of tables, figures and the command line; `made_study` writes what a whole study leaves.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lora_ledger.records.record import Record
from lora_ledger.study.schema import Study
from made_records import write_record

CORPUS = {
    "type": "corpus",
    "title": "made up",
    "reader": "jsonl",
    "sources": {},
    "splits": {"train": {"role": "train"}, "validation": {"role": "validation"}},
    "licence": "CC0-1.0",
    "citation": "none",
}
METHODS = {
    "full": {"kind": "full", "learning_rates": [3e-4]},
    "lora-r2": {"kind": "lora", "rank": 2, "learning_rates": [3e-3]},
    "lora-r8": {"kind": "lora", "rank": 8, "learning_rates": [3e-3]},
    "lora-r32": {"kind": "lora", "rank": 32, "learning_rates": [3e-3]},
}


def study(**changes: Any) -> Study:
    """Four settings and a repair control on the dequantised stand-in."""
    raw: dict[str, Any] = {
        "name": "made-up",
        "title": "numbers made up for tests",
        "model": "smollm2-135m-instruct-q4",
        "seeds": [1],
        "catalogue": {
            "texts": {**CORPUS, "content": "text"},
            "pairs": {**CORPUS, "content": "pairs"},
        },
        "settings": {
            "code-cpt": {"corpus": "texts", "regime": "cpt", "tasks": ["humaneval"]},
            "math-cpt": {"corpus": "texts", "regime": "cpt", "tasks": ["gsm"]},
            "code-ift": {"corpus": "pairs", "regime": "ift", "tasks": ["humaneval"]},
            "math-ift": {"corpus": "pairs", "regime": "ift", "tasks": ["gsm"]},
            "repair": {
                "corpus": "texts",
                "regime": "cpt",
                "role": "control",
                "methods": ["full", "lora-r8"],
            },
        },
        "methods": METHODS,
        "budgets": {"short": {"tokens": 12000}},
        "evaluation": {
            "generate": {
                "humaneval": {
                    "task": "humaneval",
                    "limit": 20,
                    "samples": 4,
                    "temperature": 0.2,
                    "top_p": 0.95,
                    "diversity": True,
                },
                "gsm": {"task": "gsm-symbolic", "limit": 50},
            },
            "texts": {"general": {"corpus": "texts"}},
            "likelihood": {"facts": {"task": "factbook-facts", "limit": 100}},
            "allow_code_execution": True,
            "bootstrap": 200,
        },
    }
    return Study.model_validate({**raw, **changes})


def write(path: Path, stage: str, cell: str, results: Any, **more: Any) -> Record:
    """A record without inputs; `more` may hold names, settings, run and status."""
    given: dict[str, Any] = {"names": {"cell": cell}, "settings": {}, "run": {}, **more}
    return write_record(
        path, stage=stage, version=1, cell=cell, inputs={}, asks={}, results=results, **given
    )


def train(
    path: Path,
    cell: str,
    start: list[float],
    end: list[float],
    size: list[int],
    rate: float = 3e-4,
) -> Record:
    """A complete training record; losses in nats, summed over each block."""
    return write(
        path,
        "train",
        cell,
        {
            "steps": 3,
            "tokens": 12000,
            "tokens_seen": 12288,
            "examples": 24,
            "learning_rate": rate,
            "loss_curve": [[1, 4096, 2.0]],
            "validation": {
                "tokens": [s // 4 for s in size],
                "bytes": size,
                "start": start,
                "end": end,
                "curve": [],
            },
            "parameters": {"trainable": 134515008, "total": 134515008},
            "weights": {"sha256": "0" * 64, "bytes": 538 * 2**20},
            "flops_per_token": 8.1e8,
        },
        run={
            "tokens_per_second": 151.3,
            "peak_memory_bytes": 3 * 2**30,
            "wall_seconds": 95.0,
        },
    )


def diverged(path: Path, stage: str, cell: str, run: str = "") -> Record:
    """What a stage leaves of a diverged cell; a training record keeps what it had reached."""
    results = {"steps": 2, "tokens": 8192, "learning_rate": 3e-3} if stage == "train" else {}
    return write(path, stage, cell, results, status="diverged", names={"run": run, "cell": cell})


def retain(
    folder: Path, cell: str, nats: list[float], size: list[int], acc: list[int], ce: list[float]
) -> list[Path]:
    """The records of one text and of one task of four choices."""
    names = [f"d{i}" for i in range(len(nats))]
    facts = {
        "kind": "choices",
        "items": [f"q{i}" for i in range(len(acc))],
        "gold": [i % 4 for i in range(len(acc))],
        "acc": acc,
        "acc_norm": acc,
        "cross_entropy": ce,
    }
    text = {"kind": "text", "documents": names, "nats": nats, "bytes": size, "tokens": size}
    return answered(folder, cell, {"general": text, "facts": facts})


def choices(
    acc: list[int], options: int = 4, norm: list[int] | None = None, **more: Any
) -> dict[str, Any]:
    """A task of several choices; `acc` is also the accuracy by loss per token."""
    n = len(acc)
    found = {
        "kind": "choices",
        "items": [f"q{i}" for i in range(n)],
        "groups": [f"g{i}" for i in range(n)],
        "options": [options] * n,
        "gold": [0] * n,
        "acc": acc,
        "acc_token": acc,
        "cross_entropy": [math.log(options)] * n,
    }
    return {**found, **({"acc_norm": norm} if norm else {}), **more}


def continuation(acc: list[int], nats: list[float], size: list[int]) -> dict[str, Any]:
    """A task of one continuation."""
    n = len(acc)
    return {
        "kind": "continuation",
        "items": [f"q{i}" for i in range(n)],
        "groups": [f"g{i}" for i in range(n)],
        "acc": acc,
        "nats": nats,
        "bytes": size,
        "tokens": [1] * n,
    }


def answered(
    folder: Path,
    cell: str,
    tasks: dict[str, dict[str, Any]],
    said: dict[str, tuple[int, str]] | None = None,
) -> list[Path]:
    """A retain record of each text or task; `said`: few-shot count, and what the rows are of
    upstream's."""
    paths = []
    for name, results in tasks.items():
        settings: dict[str, Any] = {}
        if said and name in said:
            shots, equals = said[name]
            settings = {"num_fewshot": shots, "task": {"name": name, "equals": equals}}
        paths.append(folder / name / f"{cell}.json")
        names = {"task": name, "cell": cell}
        write(paths[-1], "retain", cell, results, settings=settings, names=names)
    return paths


def contaminated(
    path: Path, corpus: str, run: str, n: int, dirty: list[str], reason: str | None = None
) -> Record:
    """What `contaminate` leaves of a corpus and a run of `n` items; a dirty item stops the pair."""
    stop = {"measure": "verbatim", "share": len(dirty) / n, "limit": 0.0, "why": "", "items": []}
    results = {"items": n, "dirty": dirty, "noise": None, "stops": [stop] if dirty else []}
    return write(path, "contaminate", f"{corpus}/{run}", results, settings={"permitted": reason})


def score(
    path: Path,
    cell: str,
    metrics: dict[str, list[float]],
    nats: list[float],
    size: list[int],
    run: str = "humaneval",
) -> Record:
    n = len(nats)
    return write(
        path,
        "score",
        cell,
        {
            "problems": list(range(n)),
            "ids": [f"p{i}" for i in range(n)],
            "samples": 4,
            "metrics": metrics,
            "companion": {"nats": nats, "bytes": size, "tokens": size},
            "reasons": {},
        },
        names={"run": run, "cell": cell},
    )


def diversity(
    path: Path, cell: str, classes: dict[str, list[list[int]]], run: str = "humaneval"
) -> Record:
    """`classes`: the multiplicities of `all`, `passing`, `failing`; syntax merges all into one."""
    n = len(classes["all"])
    kinds = {
        name: {"exact": counts, "syntax": [[sum(c)] if c else [] for c in counts]}
        for name, counts in classes.items()
    }
    return write(
        path,
        "diversity",
        cell,
        {
            "problems": list(range(n)),
            "samples": sum(classes["all"][0]),
            "classes": kinds,
            "unparsable": [0] * n,
            "distinct_n": {str(k): [0.25 * k] * n for k in (1, 2, 3)},
        },
        names={"run": run, "cell": cell},
    )
