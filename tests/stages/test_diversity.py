"""Completions joined with their verdicts, from files to a record."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from factories import diverged, write
from lora_ledger.records.record import read_record
from lora_ledger.stages import _main as _stage
from lora_ledger.stages import diversity

PROMPT = 'def add(a, b):\n    """Sum."""\n'
SAME = "    return a + b\n"
OTHER = "    return b + a\n"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    rows = [
        {
            "problem": 5,
            "id": "p5",
            "sample": j,
            "prompt": PROMPT,
            "completion": text,
            "tokens": 5,
            "finish": "stop",
        }
        for j, text in enumerate([SAME, OTHER])
    ]
    paths = {
        "generations": tmp_path / "g.jsonl.gz",
        "items": tmp_path / "s.items.csv.gz",
        "generate": tmp_path / "g.json",
        "score": tmp_path / "s.json",
        "out": tmp_path / "o.json",
    }
    with gzip.open(paths["generations"], "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    with gzip.open(paths["items"], "wt") as file:
        file.write("problem,id,sample,passed,reason\n5,p5,1,0,wrong\n5,p5,0,1,passed\n")
    write(paths["generate"], "generate", "base", {"samples": 2})
    write(paths["score"], "score", "base", {"samples": 2})
    return paths


def _main(files: dict[str, Path]) -> int:
    study = files["out"].parent / "study.yaml"
    study.write_text(Path("config/smoke.yaml").read_text("utf-8"), "utf-8")
    name = next(iter(diversity_runs(study)))
    return _stage.run(
        diversity.STAGE,
        None,
        diversity.FLAGS,
        diversity.main,
        [
            "--study",
            str(study),
            "--cell",
            "base",
            "--run",
            name,
            "--generations",
            str(files["generations"]),
            "--generate-record",
            str(files["generate"]),
            "--score-items",
            str(files["items"]),
            "--score-record",
            str(files["score"]),
            "--out",
            str(files["out"]),
        ],
    )


def diversity_runs(study: Path) -> list[str]:
    from lora_ledger.study.file import load

    return list(load(str(study)).evaluation.generate)


def test_stage_joins_by_problem_and_sample(files: dict[str, Path]) -> None:
    assert _main(files) == 0
    record = read_record(files["out"])
    assert (record.stage, record.cell, record.status) == ("diversity", "base", "complete")
    assert record.science.settings["identity"] == "python"
    assert record.results["problems"] == [5]
    assert record.results["classes"]["passing"]["exact"] == [[1]]


def test_stage_passes_divergence_on(files: dict[str, Path]) -> None:
    diverged(files["generate"], "generate", "base")
    files["generations"].unlink()
    assert _main(files) == 0
    record = read_record(files["out"])
    assert (record.status, record.results) == ("diverged", {})


def test_missing_verdict_is_named(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with gzip.open(files["items"], "wt") as file:
        file.write("problem,id,sample,passed,reason\n5,p5,0,1,passed\n")
    assert _main(files) == 2
    assert "no verdict on problem, sample (5, 1)" in capsys.readouterr().err
    assert not files["out"].exists()
