"""Verdicts from records on disk, to records on disk."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import factories
from lora_ledger.claims import verdicts
from lora_ledger.cli import main
from lora_ledger.records.record import read_record
from lora_ledger.stages import decide
from lora_ledger.tables.evidence import gather
from made_study import made_up
from planted_runs import rule

LOSS = {"cells": {"kind": "lora"}, "where": {"domain": ""}}
RULES = {
    "gap": rule(**LOSS, over="each", primary=True),
    "on-its-own": rule(claim="LA5", cells={"kind": "full"}, against="base", metric="general-loss"),
    "spike": {
        "claim": "LD12", "test": "exact", "experiment": "planted-spike",
        "supported": "holds", "contradicted": "fails",
    },
    "answers": rule(claim="LA2", **LOSS, metric="accuracy", test="items"),
    "passes": rule(claim="LA9", **LOSS, metric="pass-at-k", k=4),
    "kinds": rule(claim="LA8", **LOSS, metric="distinct"),
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    plan = factories.study(seeds=[1, 2, 3], decisions=RULES)
    evidence = gather(plan, made_up(root / "records", plan))
    found = decide.verdicts(evidence, root / "study.yaml")
    decide.write(found, evidence, root / "made-up/claims")
    return root


def test_each_rule_has_a_record(written: Path) -> None:
    found = {p.stem: read_record(p) for p in (written / "made-up/claims").glob("*.json")}
    assert set(found) == set(RULES)
    gap = found["gap"].results
    # full gains most: every rank is above it in all four settings and three seeds.
    assert (gap["verdict"], gap["word"], gap["primary"]) == ("supported", "higher", True)
    assert gap["df"] >= 8
    assert gap["low"] > 0
    assert gap["committed"]["when"] == "unknown"
    read = found["gap"].science.inputs
    assert len(read) == 4 * 4 * 3
    assert all(name.startswith("train/") for name in read)
    alone = found["on-its-own"].results
    assert alone["verdict"] == "not run"
    assert "training on any text repairs part of its quantisation" in alone["reasons"][0]
    assert found["spike"].results["verdict"] == "supported"
    assert found["passes"].results["estimate"] < 0
    assert found["kinds"].results["n"] > 0


def test_the_table_names_every_rule(written: Path) -> None:
    text = (written / "made-up/claims/claims.csv").read_text()
    rows = list(csv.DictReader(line for line in text.splitlines() if line[0] != "#"))
    assert [row["decision"] for row in rows] == list(RULES)
    assert float(rows[0]["estimate_low"]) > 0
    assert rows[0]["claim"] == "LA1"


def test_the_ledger_shows_all_behind_a_verdict(
    written: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "RESULTS", written)
    monkeypatch.setenv("COLUMNS", "120")
    found = verdicts.read(written, "made-up", ["LA1", "LA2", "LA5", "LA8", "LA9", "LD12"])
    assert found["LA1"][0].decision == "gap"
    assert main.main(["claims", "--study", "made-up"]) == 0
    out = capsys.readouterr().out
    assert "made-up/gap: supported, +" in out
    assert "claims that contradict each other, side by side" in out
    assert main.main(["claims", "LA1"]) == 0
    out = capsys.readouterr().out
    for said in ("made-up: gap, supported", "adjusted p", "train/code-cpt/full/short/s1 "):
        assert said in out, said


def test_a_claim_that_is_not_there_is_refused(tmp_path: Path) -> None:
    plan = factories.study(decisions={"one": rule(claim="LA99")})
    with pytest.raises(ValueError, match=r"decisions\.one\.claim: found 'LA99'"):
        decide.verdicts(gather(plan, []), tmp_path / "study.yaml")
