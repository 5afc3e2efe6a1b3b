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
    assert "45,000 tokens that bear loss" in out
    assert "weights of all cells are kept" in out
    assert "snakemake -n --config study=quickstart" in out


def test_how_long_it_takes_is_one_line_with_what_it_was_measured_by(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch")
    assert main.main(["plan", "smoke", "--time"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("smoke: ")
    assert "GFLOP/s in fp32" in line


def test_a_study_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["plan", "quikstart"]) == 2
    assert "did you mean 'quickstart'" in capsys.readouterr().err
