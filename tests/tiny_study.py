"""A study, packed data and a job that train the tiny model within a second or two."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from lora_ledger.study.schema import Study
from lora_ledger.training.run import Job

LORA = {"kind": "lora", "rank": 4, "dropout": 0.1, "learning_rates": [3e-3]}
STUDY: dict[str, Any] = {
    "name": "tiny",
    "title": "a study for tests",
    "model": "tiny-random-llama",
    "compute": {"device": "cpu", "threads": 1, "precision": {"train": "fp32", "evaluate": "fp32"}},
    "seeds": [1],
    "checkpoint_steps": 2,
    "catalogue": {
        "texts": {
            "type": "corpus",
            "title": "t",
            "reader": "jsonl",
            "content": "text",
            "sources": {"data": {"kind": "local", "path": "nowhere.jsonl"}},
            "splits": {role: {"role": role} for role in ("train", "validation")},
            "licence": "-",
            "citation": "-",
        },
        "pairs": {
            "type": "corpus",
            "title": "t",
            "reader": "jsonl",
            "content": "pairs",
            "sources": {"data": {"kind": "local", "path": "nowhere.jsonl"}},
            "splits": {role: {"role": role} for role in ("train", "validation")},
            "licence": "-",
            "citation": "-",
        },
    },
    "settings": {
        "cpt": {
            "corpus": "texts",
            "regime": "cpt",
            "sequence_length": 32,
            "batch_size": 4,
            "micro_batch_size": 2,
            "validation_examples": 4,
            "validation_points": 1,
        },
        "ift": {
            "corpus": "pairs",
            "regime": "ift",
            "sequence_length": 32,
            "batch_size": 4,
            "micro_batch_size": 2,
            "validation_examples": 4,
            "validation_points": 1,
        },
    },
    "methods": {
        "full": {"kind": "full", "learning_rates": [1e-3]},
        "full-linear": {"kind": "full-linear", "learning_rates": [1e-3]},
        "lora": LORA,
        "pissa": LORA | {"init": "pissa"},
    },
    "budgets": {"short": {"tokens": 600}},
}


BESIDE: dict[str, dict[str, Any]] = {
    "bitfit": {"kind": "bitfit"},
    "houlsby": {"kind": "houlsby", "bottleneck": 4},
    "lin": {"kind": "lin", "bottleneck": 4},
    "pfeiffer": {"kind": "pfeiffer", "bottleneck": 4, "activation": "silu", "train_norms": True},
    "adapter-drop": {"kind": "adapter-drop", "bottleneck": 4, "dropped": 1},
    "embeddings": {"kind": "lora-prompt", "rank": 2, "prompt_tokens": 3},
    "layers": {"kind": "lora-prompt", "rank": 2, "prompt_tokens": 3, "prompt_at": "layers"},
}
"""Methods whose weights stay beside the base's, without their rates."""


def rows(regime: str, number: int, seed: int) -> list[dict[str, Any]]:
    """Counting sequences of bytes; pairs differ in length and in prompt."""
    draw = random.Random(seed)
    made = []
    for _ in range(number):
        length = 32 if regime == "cpt" else draw.randint(6, 32)
        start, stride = draw.randint(2, 200), draw.randint(1, 3)
        ids = [2 + (start + stride * i) % 256 for i in range(length)]
        prompt = 0 if regime == "cpt" else draw.randint(1, length - 3)
        made.append({"input_ids": ids, "prompt_length": prompt, "bytes": length - prompt})
    return made


@pytest.fixture(scope="session")
def study() -> Study:
    return Study.model_validate(STUDY)


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packed folders of the two regimes."""
    from datasets import Dataset

    made = {}
    for regime in ("cpt", "ift"):
        made[regime] = tmp_path_factory.mktemp("packed") / regime
        for split, number, seed in (("train", 24, 1), ("validation", 5, 2)):
            Dataset.from_list(rows(regime, number, seed)).save_to_disk(str(made[regime] / split))
    return made


@pytest.fixture
def job(tiny_model: Path, packed: dict[str, Path], tmp_path: Path) -> Any:
    """`job("lora")`: a run of a method of the study."""

    def make(method: str, setting: str = "cpt", work: str = "work", rate: float = 3e-3) -> Job:
        return Job(setting, method, "short", 1, rate, tiny_model, packed[setting], tmp_path / work)

    return make
