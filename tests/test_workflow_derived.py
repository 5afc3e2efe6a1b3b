"""Derived cells in the workflow: asked like cells, added later, and nothing is trained for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_ledger.records.record import read_record
from test_workflow import copied, jobs, snakemake

pytestmark = pytest.mark.slow

STUDY = """
name: made
title: "derived cells of a random model"
model: tiny-random-llama
compute: {device: cpu, threads: 1, precision: {train: fp32, evaluate: fp32}}
seeds: [1]
settings:
  code:
    corpus: smoke-text
    regime: cpt
    sequence_length: 64
    batch_size: 4
    micro_batch_size: 2
    validation_examples: 8
methods:
  lora-r2: {kind: lora, rank: 2, learning_rates: [1.0e-2]}
budgets:
  short: {tokens: 600}
evaluation:
  texts:
    general: {corpus: smoke-text, kilobytes: 2, sequence_length: 64}
  spectrum: {layers: [0]}
"""
DERIVED = "derived: {rewound: {lambda: [0, 0.5]}, random: {rank: 2}}\n"
CELL = "code/lora-r2/short/s1"
ZERO = f"derived/rewound/{CELL}/lambda-0"


def test_derived_cells_are_added_to_a_study_whose_weights_are_gone(tmp_path: Path) -> None:
    where, file = copied(tmp_path), tmp_path / "made.yaml"
    file.write_text(STUDY, "utf-8")
    snakemake(where, study=str(file))
    out = where / "results/made"
    assert not (out / "train" / CELL / "adapter").exists()
    held = {path: path.read_bytes() for path in (out / "retain").rglob("*.json")}

    file.write_text(STUDY + DERIVED, "utf-8")
    assert jobs(where, str(file)) == {"retain": 3, "release": 1, "tabulate": 1, "figures": 1}
    snakemake(where, study=str(file))
    assert jobs(where, str(file)) == {}
    assert {path: path.read_bytes() for path in held} == held
    base, found = (read_record(out / f"retain/general/{x}.json") for x in ("base", ZERO))
    assert found.results["nats"] == base.results["nats"]
    assert found.asked != base.asked
    # The weights came back for the three, went with the last, and nothing else was kept.
    left = {path.name for path in (out / "train").rglob("*") if path.is_file()}
    assert left == {"record.json", "probe.safetensors"}
    assert not [*(out / "retain").rglob("*.safetensors")]
    assert ZERO in (out / "tables/forgetting.csv").read_text("utf-8")


def test_one_process_may_answer_all_that_a_derived_cell_is_asked(tmp_path: Path) -> None:
    where, file = copied(tmp_path), tmp_path / "made.yaml"
    together = STUDY.replace("threads: 1,", "threads: 1, evaluate_together: true,")
    file.write_text(together + DERIVED, "utf-8")
    found = jobs(where, str(file))
    # The base, the cell, and three that are derived from it.
    assert sum(n for rule, n in found.items() if rule.startswith("evaluate_")) == 5
    assert (found["train"], found["spectrum"], found["release"]) == (1, 2, 1)
