"""A base that one study trains, and a study on it and on another base, by the workflow.

As in `test_workflow` it runs in a copy of the checkout.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lora_ledger.catalogue import entries
from lora_ledger.records.record import read_record
from test_workflow import copied, jobs, snakemake

pytestmark = pytest.mark.slow

LABEL = "text/full/short/s1"
STUDY: dict[str, Any] = {
    "title": "bases, for tests only",
    "seeds": [1],
    "compute": {"device": "cpu", "evaluate_together": True},
    "settings": {"text": {"corpus": "smoke-text", "regime": "cpt", "sequence_length": 32}},
    "methods": {"full": {"kind": "full", "learning_rates": [1e-3]}},
    "budgets": {"short": {"tokens": 300}},
}


def write(where: Path, name: str, **changes: Any) -> None:
    text = yaml.safe_dump({**STUDY, "name": name, **changes}, sort_keys=False)
    (where / f"config/{name}.yaml").write_text(text, "utf-8")


def test_a_base_of_another_study_beside_a_second_one(tmp_path: Path) -> None:
    where = copied(tmp_path)
    write(where, "first", model="tiny-random-llama")
    entry = entries()["tiny-random-llama"].model_dump(mode="json")
    source = {"kind": "trained", "study": "first", "cell": LABEL}
    grown = {**entry, "format": "trained", "source": {**source, "id": "0" * 16}}
    bases = {
        name: {**entry, "source": {"kind": "generated", "seed": i}} for i, name in enumerate("ab")
    }
    pair: dict[str, Any] = {
        "models": ["grown", "a"],
        "seeds": [1, 2],
        "model_of_seed": {1: "grown", 2: "a"},
        "catalogue": {"grown": grown, **bases},
        "methods": {"full": {"kind": "full", "learning_rates": [1e-3, 3e-3]}},
        "evaluation": {
            "texts": {"general": {"corpus": "smoke-text", "kilobytes": 1, "sequence_length": 32}}
        },
    }
    write(where, "pair", **pair)
    command = f"snakemake results/first/train/{LABEL}/record.json --config study=first"
    assert command in snakemake(where, "--dry-run", study="pair")
    made = where / f"results/first/train/{LABEL}"
    snakemake(where, f"results/first/train/{LABEL}/record.json", study="first")
    base = read_record(made / "record.json")
    pair["catalogue"]["grown"]["source"] = {**source, "id": base.id}
    write(where, "pair", **pair)
    snakemake(where, study="pair")
    out = where / "results/pair"
    assert read_record(out / "models/grown/record.json").science.inputs["source"] == base.input
    for label in ("base/grown", "base/a", f"grown/{LABEL}", "a/text/full/short/s2"):
        assert read_record(out / f"retain/general/{label}.json").cell == label
    assert "Nothing to be done" in snakemake(where, "--dry-run", study="pair")
    # Once it is fetched, a base does not depend on the other study's weights.
    (made / "model/model.safetensors").unlink()
    assert "Nothing to be done" in snakemake(where, "--dry-run", study="pair")
    # A third base, with a seed of its own, leaves the others as they are.
    write(
        where,
        "pair",
        **{
            **pair,
            "models": ["grown", "a", "b"],
            "seeds": [1, 2, 3],
            "model_of_seed": {1: "grown", 2: "a", 3: "b"},
        },
    )
    found = jobs(where, "pair")
    assert (found["fetch_model"], found["prepare"], found["train"]) == (1, 1, 1)
    assert "tune" not in found
    assert sum(count for rule, count in found.items() if rule.startswith("evaluate")) == 2
