"""Hu et al.'s tables, tested again: LoRA against full and the baselines, ranks, matrices.

In: their published values, and tinker-cookbook's sweep for ranks. Out: `Finding`s on LB claims.
Units are models times tasks; a baseline counts with its best size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from .finding import Finding, apart, described, signs, slope
from .published import Tables, Value

B, TINKER = "hu-2021", "tinker-cookbook"
NLG: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("Table 3", "e2e", {}),
    ("Table 13", "dart", {}),
    ("Table 14", "webnlg", {"categories": "all"}),
)


def against_full(t: Tables) -> Iterator[Finding]:
    """LB1: LoRA less full by task, and what the average of GLUE rests on."""
    score = {
        method: {v.setting: v.value for v in t.many(B, metric="glue task score", method=method)}
        for method in ("full", "lora")
    }
    glue = {task: score["lora"][task] - full for task, full in score["full"].items()}
    yield signs("LB1", "RoBERTa-base: LoRA less full", "tasks of GLUE", glue)
    rest = [value for task, value in glue.items() if task != "rte"]
    figure = f"{np.mean(list(glue.values())):+.2f} with RTE, {np.mean(rest):+.2f} without"
    asked = "RoBERTa-base: mean gain, with the task whose LoRA starts from MNLI and without"
    yield described("LB1", asked, "8 and 7 tasks", figure)
    bleu = {key: found["lora"] - found["full"] for key, found in _bleu(t).items()}
    yield signs("LB1", "GPT-2: BLEU of LoRA less full", "models times tasks", bleu)
    gpt3 = _gpt3(t)
    every = {**glue, **bleu, **{k: v["lora"] - v["full"] for k, v in gpt3.items()}}
    yield signs("LB1", "all of these and GPT-3 (4.7M)", "models times tasks", every)


def flat_in_rank(t: Tables) -> Iterator[Finding]:
    """LB2: scores over log2 rank, each rank a run of its own."""
    for metric in ("wikisql accuracy", "mnli-m accuracy"):
        for modules in ("q", "q,v", "q,k,v,o"):
            rows = t.many(B, table="Table 6", metric=metric, modules=modules)
            yield _by_rank(f"GPT-3, {modules}: {metric}", rows)
    for metric in ("validation loss", "bleu"):
        yield _by_rank(f"GPT-2 medium, E2E: {metric}", t.many(B, table="Table 18", metric=metric))
    for model in ("llama-3.2-1b", "llama-3.2-3b", "llama-3.1-8b"):
        rows = t.many(TINKER, metric="test loss", model=model)
        asked = f"tinker-cookbook, {model}, Tulu 3: test loss"
        yield _by_rank(asked, [row for row in rows if row.rank])


def spread_over_matrices(t: Tables) -> Iterator[Finding]:
    """LB3: several matrices less the best single one, beside the stated spread over seeds."""
    for metric, spread in (("wikisql accuracy", 0.5), ("mnli-m accuracy", 0.1)):
        rows = {v.variant["modules"]: v.value for v in t.many(B, table="Table 5", metric=metric)}
        single = max(rows[name] for name in "qkvo")
        for several in ("q,k", "q,v", "q,k,v,o"):
            asked = f"{metric}: {several} less the best single matrix"
            yield apart("LB3", asked, rows[several] - single, spread, claimed=1)


def amplification(t: Tables) -> Iterator[Finding]:
    """LB5: the factor beside what a random subspace would give."""
    for rank in (4, 64):
        change = t.one(B, table="Table 7", metric="norm of the change", rank=rank)
        inside, chance = (
            t.one(B, table="Table 7", metric=f"norm of W in {where}", rank=rank)
            for where in ("the subspace of the change", "a random subspace")
        )
        figure = f"{change / inside:.1f}; W there is {inside / chance:.1f} times a random subspace"
        yield described("LB5", f"rank {rank}: amplification factor", "one matrix", figure)


def few_examples(t: Tables) -> Iterator[Finding]:
    """LB8: LoRA less full at each size, beside the stated spread."""
    for size in (100, 1000, 10000, 392000):
        lora, full = (
            t.one(B, table="Table 16", method=method, budget=f"{size} examples")
            for method in ("lora", "full")
        )
        yield apart("LB8", f"MNLI, {size:,} examples: LoRA less full", lora - full, 0.3, claimed=1)


def baselines(t: Tables) -> Iterator[Finding]:
    """LB10: LoRA less the best size of each baseline."""
    found = {**_bleu(t), **_gpt3(t), **_glue_averages(t)}
    for method in ("bitfit", "pre-embed", "pre-layer", "adapter-l", "adapter-h", "full-top2"):
        differences = {k: v["lora"] - v[method] for k, v in found.items() if method in v}
        asked = f"LoRA less {method} at its best size"
        yield signs("LB10", asked, "models times tasks", differences)


def _by_rank(asked: str, rows: Sequence[Value]) -> Finding:
    x = [math.log2(row.rank or 1) for row in rows]
    y = [row.value for row in rows]
    return slope("LB2", asked, x, y, per="doubling of the rank", claimed=0, own_runs=True)


def _bleu(t: Tables) -> dict[str, dict[str, float]]:
    """Model and task of GPT-2 → method → its best BLEU."""
    found: dict[str, dict[str, float]] = {}
    for table, task, which in NLG:
        for value in t.many(B, table=table, metric="bleu", **which):
            arms = found.setdefault(f"{value.variant['model']} {task}", {})
            arms[value.method] = max(value.value, arms.get(value.method, -math.inf))
    return found


def _gpt3(t: Tables) -> dict[str, dict[str, float]]:
    """Task of GPT-3 → method → its best score; LoRA at 4.7M."""
    found: dict[str, dict[str, float]] = {}
    for metric in ("wikisql accuracy", "mnli-m accuracy", "samsum rouge-1"):
        for value in t.many(B, table="Table 4", metric=metric):
            if value.method == "lora" and value.variant["parameters"] != "4.7M":
                continue
            arms = found.setdefault(f"gpt-3 {metric}", {})
            arms[value.method] = max(value.value, arms.get(value.method, -math.inf))
    return found


def _glue_averages(t: Tables) -> dict[str, dict[str, float]]:
    """RoBERTa-base, and -large in the restricted setup → method → its best average of GLUE."""
    found: dict[str, dict[str, float]] = {}
    for model, setup in (("roberta-base", None), ("roberta-large", "restricted")):
        for value in t.many(B, metric="glue average", model=model):
            if value.variant.get("setup") == setup:
                arms = found.setdefault(model, {})
                arms[value.method] = max(value.value, arms.get(value.method, -math.inf))
    return found


HU = (against_full, flat_in_rank, spread_over_matrices, amplification, few_examples, baselines)
