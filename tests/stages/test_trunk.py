"""The stage's command line: what is no branch, and a rate that could not be chosen."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lora_ledger.common.errors import KeyProblem
from lora_ledger.records.record import read_record
from lora_ledger.stages import trunk
from made_records import write_record
from tiny_study import STUDY

CPT = STUDY["settings"]["cpt"] | {"schedule": {"name": "inverse-sqrt"}}
BUDGETS = {"long": {"tokens": 1240}, "short": {"tokens": 620, "from": "long"}}


def flags(root: Path, cell: str) -> Namespace:
    said: dict[str, Any] = STUDY | {"settings": {"cpt": CPT}, "budgets": BUDGETS}
    (root / "study.yaml").write_text(yaml.safe_dump(said))
    write_record(
        root / "long.json",
        stage="train",
        version=1,
        cell="cpt/full/long/s1",
        names={},
        inputs={},
        asks={},
        settings={},
        results={"steps": 0},
        run={},
        status="diverged",
    )
    return Namespace(
        study=str(root / "study.yaml"),
        cell=cell,
        model=root,
        data=root,
        record=root / "long.json",
        leave=root / "leave",
        work=root / "work",
        starts=None,
        out=root / "trunk.json",
    )


def test_only_a_branch_has_one(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="--cell: found 'cpt/full/long/s1', expected a branch: "):
        trunk.main(flags(tmp_path, "cpt/full/long/s1"))


def test_a_long_run_whose_every_rate_diverged_leads_nowhere(tmp_path: Path) -> None:
    said = trunk.main(flags(tmp_path, "cpt/full/short/s1"))
    assert said == "cpt/full/short/s1: leaves cpt/full/long/s1 after 0 steps, diverged"
    record = read_record(tmp_path / "trunk.json")
    assert (record.stage, record.status, record.names["budget"]) == ("trunk", "diverged", "short")
    assert not (tmp_path / "work").exists()
