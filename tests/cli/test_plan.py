"""`ledger plan`: what stands in the terminal."""

from __future__ import annotations

import pytest

from lora_ledger.cli import main


def test_a_study_that_was_not_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "RESULTS", main.RESULTS / "nowhere")
    assert main.main(["plan", "quickstart"]) == 0
    out = capsys.readouterr().out
    assert "18 cells, " in out
    assert "train            0 of     18" in out
    assert "90,000 tokens that bear loss" in out
    assert "weights of all cells are kept" in out
    assert "snakemake -n --config study=quickstart" in out


def test_a_study_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["plan", "quikstart"]) == 2
    assert "did you mean 'quickstart'" in capsys.readouterr().err
