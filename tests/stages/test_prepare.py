"""Packed folders: prompts that the evaluation sends, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.store import save
from lora_ledger.records.record import read_record
from lora_ledger.stages.prepare import prepare
from made_records import write_record


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    made = [
        Example(f"g{i}", prompt=f"Question: {i} and 1?\nAnswer:", response=f" {i + 1}\n#### {i}")
        for i in range(12)
    ]
    save({"train": made[:8], "validation": made[8:]}, tmp_path / "data")
    write_record(
        tmp_path / "data/record.json",
        stage="fetch",
        cell="smoke-words",
        inputs={},
        code="",
        settings={},
        results={},
    )
    return tmp_path / "data"


def test_training_prompts_are_the_ones_that_the_evaluation_sends(
    tiny_model: Path, corpus: Path, tmp_path: Path
) -> None:
    from datasets import load_from_disk
    from transformers import AutoTokenizer

    prepare("smoke", "math-ift", tiny_model, corpus, tmp_path / "packed")
    rows = load_from_disk(str(tmp_path / "packed/train"))
    evaluation = AutoTokenizer.from_pretrained(tiny_model)
    sent = {
        tuple(evaluation.encode(f"Question: {i} and 1?\nAnswer:", add_special_tokens=False))
        for i in range(12)
    }
    for row in rows:
        assert tuple(row["input_ids"][: row["prompt_length"]]) in sent
        assert row["input_ids"][-1] == evaluation.convert_tokens_to_ids("<|end|>")
    counts = read_record(tmp_path / "packed/record.json").results["counts"]
    assert counts["train"]["rows"] == len(rows) == 8
    assert counts["train"]["tokens"] == sum(len(r["input_ids"]) - r["prompt_length"] for r in rows)
    assert counts["train"]["dropped_over_length"] == 0


def test_nothing_left_is_an_error_that_says_what_to_do(
    tiny_model: Path, corpus: Path, tmp_path: Path
) -> None:
    text = Path("config/smoke.yaml").read_text("utf-8")
    study = tmp_path / "short.yaml"
    study.write_text(text.replace("sequence_length: 192", "sequence_length: 8"))
    with pytest.raises(ValueError, match=r"math-ift.*at most 8 tokens.*raise sequence_length"):
        prepare(str(study), "math-ift", tiny_model, corpus, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
    assert json.loads((corpus / "record.json").read_text())["stage"] == "fetch"


@pytest.mark.parametrize(
    ("allowed", "refused"), [("", True), ("    dropped_allowed: 0.25\n", False)]
)
def test_dropping_more_than_a_fifth_is_refused_unless_it_is_meant(
    tiny_model: Path, tmp_path: Path, allowed: str, refused: bool
) -> None:
    """Two of eight examples are over 192 tokens, one a byte."""
    made = [
        Example(f"g{i}", prompt=f"Question {i}:", response=" yes" * (60 if i in (2, 5) else 1))
        for i in range(12)
    ]
    save({"train": made[:8], "validation": made[8:]}, tmp_path / "data")
    text = Path("config/smoke.yaml").read_text("utf-8")
    study = tmp_path / "long.yaml"
    study.write_text(
        text.replace("    sequence_length: 192\n", f"    sequence_length: 192\n{allowed}")
    )
    command = ["--study", str(study), "--setting", "math-ift", "--model", str(tiny_model)]
    command += ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "packed")]
    done = subprocess.run(
        [sys.executable, "-m", "lora_ledger.stages.prepare", *command],
        capture_output=True,
        text=True,
    )
    assert done.returncode == (2 if refused else 0), done.stderr
    if refused:
        assert "settings.math-ift.dropped_allowed: found 2 of 8 train examples" in done.stderr
        assert "dropped_allowed: 0.25" in done.stderr
        assert not (tmp_path / "packed").exists()
    else:
        assert "math-ift, train: 2 of 8 examples dropped over 192 tokens, 6 rows" in done.stdout
