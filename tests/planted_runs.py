"""Observed runs whose truth is known, for tests of what decides."""

from __future__ import annotations

from typing import Any

import numpy as np

from lora_ledger.claims.observed import Observed, Run
from lora_ledger.study.decisions import Decision
from lora_ledger.study.schema import Study

CORPUS = {
    "type": "corpus",
    "title": "made up",
    "reader": "jsonl",
    "content": "text",
    "sources": {},
    "splits": {"train": {"role": "train"}, "validation": {"role": "validation"}},
    "licence": "CC0-1.0",
    "citation": "none",
}
ARMS = {"full": None, "r2": 2, "r8": 8, "r32": 32, "same": 8}
"""`same` is r8 under a second name, with draws of its own."""


def study(seeds: int, settings: int = 1, **rules: dict[str, Any]) -> Study:
    """Settings with full fine-tuning, three ranks and an A/A arm; two budgets."""
    methods: dict[str, Any] = {"full": {"kind": "full", "learning_rates": [1e-4]}}
    for name, rank in ARMS.items():
        if rank:
            offset = {"seed_offset": 1000} if name == "same" else {}
            methods[name] = {"kind": "lora", "rank": rank, "learning_rates": [1e-3], **offset}
    return Study.model_validate(
        {
            "name": "planted",
            "title": "planted",
            "model": "smollm2-135m",
            "seeds": list(range(1, seeds + 1)),
            "catalogue": {"texts": CORPUS},
            "settings": {f"s{i}": {"corpus": "texts", "regime": "cpt"} for i in range(settings)},
            "methods": methods,
            "budgets": {"short": {"tokens": 1000}, "long": {"tokens": 4000}},
            "evaluation": {"texts": {"general": {"corpus": "texts"}}},
            "decisions": rules,
        }
    )


def observed(
    plan: Study,
    rng: np.random.Generator,
    effects: dict[str, float],
    sd: float = 0.01,
    metric: str = "target-loss",
    **by_budget: dict[str, float],
) -> Observed:
    """Value = 1 + block + the arm's effect (or that of its budget) + noise; gain is 2 less it."""
    runs, values = [], {}
    sizes = {name: 1e5 * (rank or 1000) for name, rank in ARMS.items()}
    for setting in plan.settings:
        for seed in plan.seeds:
            block = rng.normal(0, 0.1)
            for budget, tokens in (("short", 1000.0), ("long", 4000.0)):
                for arm in plan.methods:
                    label = f"{setting}/{arm}/{budget}/s{seed}"
                    effect = by_budget.get(budget, effects).get(arm, 0.0)
                    value = 1 + block + effect + rng.normal(0, sd)
                    runs.append(
                        Run(
                            label, setting, arm, budget, f"s{seed}", label, None, tokens, sizes[arm]
                        )
                    )
                    values[label, metric] = value
                    values[label, "gain"] = 2 - value
    records = {key: (f"record of {key[0]}",) for key in values}
    return Observed(tuple(runs), values, {}, records)


def shuffled(found: Observed, rng: np.random.Generator) -> Observed:
    """Labels exchanged within each block: which arm a value is of says nothing."""
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in found.runs:
        groups.setdefault((run.setting, run.budget, run.block), []).append(run)
    values = {}
    for runs in groups.values():
        for run, at in zip(runs, rng.permutation(len(runs)), strict=True):
            for name in {metric for _, metric in found.values}:
                values[run.label, name] = found.values[runs[at].label, name]
    return Observed(found.runs, values, found.items, found.records)


def rule(**keys: Any) -> dict[str, Any]:
    """LA1's difference of low ranks to full."""
    return {
        "claim": "LA1",
        "test": "difference",
        "metric": "target-loss",
        "cells": {"kind": "lora", "rank": [2, 8, 32]},
        "against": {"kind": "full"},
        "supported": "higher",
        "contradicted": "lower",
        **keys,
    }


def decision(**keys: Any) -> Decision:
    return Decision.model_validate(rule(**keys))
