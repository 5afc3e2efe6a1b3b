"""The command line that stages share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lora_ledger.scheduling.stage import Stage
from lora_ledger.stages._main import place, run


def test_a_stage_works_without_what_would_decide_its_arithmetic(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("WORLD_SIZE", "2")
    seen: list[str] = []
    status = run(Stage("try", ("the first",)), None, (), lambda _: seen.extend(os.environ), [])
    assert status == 0
    assert seen
    assert not {"ACCELERATE_MIXED_PRECISION", "WORLD_SIZE"} & set(seen)
    assert "ACCELERATE_MIXED_PRECISION, WORLD_SIZE taken out" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran: list[object] = []
    argv = ["--out", "/proc/nowhere/score.json"]
    flags = (place("out"),)
    assert run(Stage("try", ("the first",)), None, flags, lambda a: ran.append(a), argv) == 2
    assert "try: /proc/nowhere/score.json: found a folder that cannot" in capsys.readouterr().err
    assert not ran


def test_a_stage_runs_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries make their caches below work/ there, as all of them ask for XDG_CACHE_HOME."""
    monkeypatch.setattr(os, "environ", {"HOME": "/proc/nowhere", "PATH": os.environ["PATH"]})
    monkeypatch.chdir(tmp_path)
    seen: dict[str, str] = {}
    assert run(Stage("try", ("the first",)), None, (), lambda _: seen.update(os.environ), []) == 0
    assert seen["XDG_CACHE_HOME"] == str(tmp_path / "work/.cache")
    assert Path(seen["XDG_CACHE_HOME"]).is_dir()
