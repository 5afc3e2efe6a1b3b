"""`ledger claims`: what stands in the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_ledger.cli import main
from made_verdicts import planted


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No study has run; a terminal of 100 columns."""
    monkeypatch.setattr(main, "RESULTS", tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def test_without_verdicts_nothing_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["claims"]) == 0
    out = capsys.readouterr().out
    first = "69 claims: 0 supported, 0 contradicted, 0 undecided, 69 not run"
    assert out.splitlines()[0] == first
    assert "LC11  not run" in out
    assert "missing: two runs in fp64" in out.replace("a study that has ", "")


def test_of_one_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["claims", "--paper", "D"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("12 claims: ")
    assert "LD12" in out
    assert "LA1 " not in out
    assert main.main(["claims", "--paper", "2606.12883"]) == 0
    assert capsys.readouterr().out.startswith("1 claims: ")
    assert main.main(["claims", "--paper", "Q"]) == 2
    assert "--paper: found 'Q'" in capsys.readouterr().err


def test_one_claim_with_all_behind_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["claims", "LA4"]) == 0
    out = capsys.readouterr().out
    for said in (
        "LA4  LoRA forgets less than full fine-tuning",
        "contradicts  LE2 (PEFT method comparison)",
        "contradicts  LN2",
        "not run; missing: a study that has full and LoRA of three ranks",
        "biderman-2024, S6, code-ift: forgetting mean (fraction)",
        "lora r64   0.652     0.651     0.632     0.580     0.510",
        "re-analysis of published numbers (no verdict)",
        "sign test, p =",
    ):
        assert said in out, said
    assert main.main(["claims", "LA44"]) == 2
    assert "did you mean 'LA4'" in capsys.readouterr().err


def test_verdicts_of_studies(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted(results, "one", "LA4", "supported")
    planted(results, "two", "LA4", "contradicted")
    planted(results, "two", "LC11", "supported")
    assert main.main(["claims", "--study", "one"]) == 0
    assert "69 claims: 1 supported, 0 contradicted, 0 undecided, 68 not run" in (
        capsys.readouterr().out
    )
    assert main.main(["claims"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("69 claims: 1 supported, 0 contradicted, 0 undecided, 67 not run, 1 dif")
    assert main.main(["claims", "LA4"]) == 0
    assert "supported in one; because (record " in capsys.readouterr().out


def test_the_page_of_re_analyses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["claims", "--reanalysis"]) == 0
    assert capsys.readouterr().out == Path("docs/reanalysis.md").read_text("utf-8")
