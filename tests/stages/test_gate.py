"""The gate over reports whose shares are written down here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lora_ledger.common.errors import KeyProblem
from lora_ledger.records.record import read_record
from lora_ledger.stages.gate import Contaminated, gate
from made_records import write_record

LONG = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in"
GRAM = {
    "measure": "13-gram",
    "share": 0.030326,
    "limit": 0.01,
    "why": "fixed",
    "items": [{"id": f"id{i}", "question": LONG[:80]} for i in range(3)],
}
VERBATIM = {
    "measure": "verbatim",
    "share": 0.002,
    "limit": 0.0,
    "why": "no question may stand whole in the training text",
    "items": [{"id": "id9", "question": "Two dogs bark."}],
}


def report(
    folder: Path, run: str, *stops: dict[str, Any], corpus: str = "made", permitted: str = ""
) -> Path:
    path = folder / f"{corpus}-{run}.json"
    write_record(
        path,
        stage="contaminate",
        cell=f"{corpus}/{run}",
        inputs={},
        code="0" * 64,
        settings={"corpus": corpus, "run": run, "permitted": permitted or None},
        results={
            "measures": {
                "verbatim": {"hits": 2, "measurable": 1000, "share": 0.002},
                "13-gram": {"hits": 40, "measurable": 1319, "share": 0.030326},
                "template": {"hits": 0, "measurable": 0, "share": None},
            },
            "dirty": ["id0", "id1", "id9"],
            "stops": list(stops),
        },
    )
    return path


def command(out: Path, *reports: Path) -> subprocess.CompletedProcess[str]:
    flags = ["--setting", "math", "--out", str(out), "--reports", *map(str, reports)]
    return subprocess.run(
        [sys.executable, "-m", "lora_ledger.stages.gate", *flags], text=True, capture_output=True
    )


def test_what_stops_is_told_and_the_reports_stay(tmp_path: Path) -> None:
    clean, foul = report(tmp_path, "facts"), report(tmp_path, "words", VERBATIM, GRAM)
    done = command(tmp_path / "gate.json", clean, foul)
    assert done.returncode == 2
    assert not (tmp_path / "gate.json").exists()
    assert clean.is_file()
    assert foul.is_file()
    lines = done.stderr.splitlines()
    assert "settings.math" in lines[0]
    assert lines[1:-3] == [
        "  made -> words: verbatim: found 2 of 1000 items, 0.20%; expected at most 0.00% (no "
        "question may stand whole in the training text)",
        "    id9  Two dogs bark.",
        "  made -> words: 13-gram: found 40 of 1319 items, 3.03%; expected at most 1.00% (fixed)",
        f"    id0  {LONG[:80]}",
        f"    id1  {LONG[:80]}",
        f"    id2  {LONG[:80]}",
    ]
    assert "facts" not in done.stderr
    told = " ".join(lines[-3:])
    assert all(word in told for word in ("another corpus", "drop the task", "contamination:"))
    assert lines[-1] == '    - {corpus: made, task: words, reason: "…"}'


def test_a_permission_lets_its_own_pair_pass(tmp_path: Path) -> None:
    known = report(tmp_path, "words", GRAM, permitted="templates are shared by design")
    other = report(tmp_path, "more", VERBATIM)
    with pytest.raises(Contaminated, match="made -> more") as stopped:
        gate("math", [known, other], tmp_path / "gate.json")
    assert "made -> words" not in str(stopped.value)
    record = gate("math", [known, report(tmp_path, "facts")], tmp_path / "gate.json")
    assert (record.stage, record.cell) == ("gate", "math")
    assert {n: one.id for n, one in record.science.inputs.items()} == {
        f"made/{run}": read_record(tmp_path / f"made-{run}.json").id for run in ("words", "facts")
    }
    assert record.results["pairs"]["made/words"] == {
        "shares": {"verbatim": 0.002, "13-gram": 0.030326, "template": None},
        "stops": ["13-gram"],
        "permitted": "templates are shared by design",
        "dirty": 3,
    }
    assert record.results["pairs"]["made/facts"]["permitted"] is None


def test_the_command_says_what_was_permitted(tmp_path: Path) -> None:
    known = report(tmp_path, "words", GRAM, permitted="templates are shared by design")
    idle = report(tmp_path, "facts", permitted="not needed any more")
    done = command(tmp_path / "gate.json", known, idle)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "made/words: permitted: templates are shared by design",
        "made/facts: permitted (nothing stops it: the permission can go): not needed any more",
        "math: may be trained",
    ]
    assert read_record(tmp_path / "gate.json").stage == "gate"


def test_a_setting_that_asks_nothing_passes(tmp_path: Path) -> None:
    assert command(tmp_path / "gate.json").returncode == 0
    assert read_record(tmp_path / "gate.json").results == {"pairs": {}}


def test_other_records_are_refused(tmp_path: Path) -> None:
    gate("math", [], tmp_path / "gate.json")
    with pytest.raises(KeyProblem, match=r"a record of gate.*expected one of contaminate"):
        gate("math", [tmp_path / "gate.json"], tmp_path / "out.json")
    two = [report(tmp_path, "words"), report(tmp_path, "words", corpus="other")]
    with pytest.raises(KeyProblem, match=r"\['made', 'other'\].*reports on one corpus"):
        gate("math", two, tmp_path / "out.json")
