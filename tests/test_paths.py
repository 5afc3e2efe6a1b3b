"""A study file runs from any legal path: the workflow quotes what it pastes into commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("folder", ["it's", 'a "b" c', "$HOME `id`", "{braces}"])
def test_the_first_job_finds_the_study(tmp_path: Path, folder: str) -> None:
    study = tmp_path / folder / "mine.yaml"
    study.parent.mkdir()
    text = (ROOT / "config" / "smoke.yaml").read_text("utf-8")
    study.write_text(text.replace("name: smoke", "name: mine", 1), "utf-8")
    wanted = "results/mine/data/smoke-words/record.json"
    done = subprocess.run(
        [
            sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile"),
            "--directory", str(tmp_path), "--workflow-profile", "none", "--cores", "1",
            "--config", f"study={study}", "--", wanted,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / wanted).is_file()
