"""A small study with branches: what runs, what runs once one is added later, and the bits."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from lora_ledger.records.record import read_record
from test_workflow import copied, edited, jobs, snakemake

pytestmark = pytest.mark.slow

STUDY = """
name: ways
title: "branches of a random model"
model: tiny-random-llama
compute: {device: cpu, threads: 1, precision: {train: fp32, evaluate: fp32}}
seeds: [1]
checkpoint_steps: 4
settings:
  selected:
    corpus: smoke-text
    regime: cpt
    sequence_length: 64
    batch_size: 4
    micro_batch_size: 2
    validation_examples: 8
    schedule: {name: constant, warmup_steps: 1, cooldown: 0.4}
    methods: [full, lora-r2]
    learning_rates: {full: [1.0e-3, 3.0e-3]}
    tuning_budget: short
  every-rate:
    corpus: smoke-text
    regime: cpt
    sequence_length: 64
    batch_size: 4
    micro_batch_size: 2
    validation_examples: 8
    schedule: {name: inverse-sqrt, warmup: 0.2, cooldown: 0.4}
    methods: [lora-r2]
    report: grid
methods:
  full: {kind: full, learning_rates: [1.0e-3]}
  lora-r2: {kind: lora, rank: 2, learning_rates: [1.0e-2]}
budgets:
  long: {tokens: 2000}
  short: {tokens: 1200, from: long}
evaluation:
  texts:
    general: {corpus: smoke-text, kilobytes: 2, sequence_length: 64}
"""
ALONE = (
    STUDY.replace("name: ways", "name: alone")
    .replace("  short: {tokens: 1200, from: long}\n", "  short: {tokens: 1200}\n")
    .replace("{tokens: 2000}", "{tokens: 1600}")
    .replace("[full, lora-r2]\n    learning_rates: {full: [1.0e-3, 3.0e-3]}", "[lora-r2]")
)
"""Runs of their own, of the length of a branch and of another that is added later."""


def weights(where: Path, study: str, cell: str) -> object:
    record = read_record(where / f"results/{study}/train/{cell}/record.json")
    return record.results["weights"], record.results["loss_curve"], record.results["validation"]


def test_branches_run_after_their_trunk_and_later_ones_alone(tmp_path: Path) -> None:
    where, file = copied(tmp_path), tmp_path / "ways.yaml"
    file.write_text(STUDY, "utf-8")
    cells, budgets = 3, 2
    found = jobs(where, str(file))
    assert (found["train"], found["trunk"], found["tune"]) == (cells * budgets, cells, 2)
    assert (found["release_trunk"], found["release"]) == (cells, cells * budgets)
    snakemake(where, study=str(file))
    assert jobs(where, str(file)) == {}
    out = where / "results/ways"
    # What the long run left went with its last branch.
    assert not [p for p in (where / "work/ways/trunk").rglob("*") if p.is_file()]
    assert not [p for p in (where / "work/ways/train").rglob("*") if p.is_file()]
    # 252 tokens a step: `short` has 5 steps and leaves after 3.
    for path in out.rglob("short/**/record.json"):
        assert read_record(path).run["trunk"]["tokens"] == 3 * 4 * 63, path
    lines = (out / "tables/cost.csv").read_text("utf-8").splitlines()
    assert [line for line in lines if "short: leaves the run of long after 756 tokens" in line]
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    told = {(row["budget"], row["tokens"], row["tokens_itself"]) for row in rows}
    assert told == {("long", "2016", "2016"), ("short", "1260", "504")}

    files = [p for s in ("train", "trunk", "retain") for p in (out / s).rglob("*") if p.is_file()]
    held = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    edited(file, "  short: {", "  middle: {tokens: 1600, from: long}\n  short: {")
    assert jobs(where, str(file)) == {
        **{"trunk": cells, "train": cells, "retain": cells, "release": cells},
        **{"release_trunk": cells, "tabulate": 1, "figures": 1},
    }
    snakemake(where, study=str(file))
    assert jobs(where, str(file)) == {}
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files} == held

    alone = where / "alone.yaml"
    alone.write_text(ALONE, "utf-8")
    snakemake(where, study=str(alone))
    for branch, run in (("short", "short"), ("middle", "long")):
        ours = weights(where, "ways", f"selected/lora-r2/{branch}/s1")
        assert ours == weights(where, "alone", f"selected/lora-r2/{run}/s1")
