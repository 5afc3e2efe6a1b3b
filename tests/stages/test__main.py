"""The command line that stages share."""

from __future__ import annotations

import os

import pytest

from lora_ledger.scheduling.stage import Stage
from lora_ledger.stages._main import run


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
