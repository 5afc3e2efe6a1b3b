"""`ledger show`: what stands in the terminal, whatever is or is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import factories
from lora_ledger.cli import main
from lora_ledger.stages import tabulate
from lora_ledger.tables.evidence import gather
from made_study import made_up


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    plan = factories.study(settings={"code-cpt": factories.study().settings["code-cpt"]})
    root = tmp_path / "results" / plan.name
    paths = made_up(root, plan, ("code-cpt/lora-r2/short/s1",))
    tabulate.tabulate(gather(plan, paths), root / "tables")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return root


def test_tables_then_places(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["show", "--study", "made-up"]) == 0
    out = capsys.readouterr().out
    titles = ["What was learned", "What was forgotten", "How varied", "What it cost"]
    places = [out.index(title) for title in titles]
    assert places == sorted(places)
    assert "diverged" in out
    assert "stand-in" in out
    assert out.index("tables:  results/made-up/tables/") > places[-1]
    assert max(map(len, out.splitlines()[:-3])) <= 120


def test_folder_and_file_name_the_same_study(
    results: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("name: made-up\n")
    assert main.main(["show", "results/made-up"]) == 0
    first = capsys.readouterr().out
    assert main.main(["show", "--study", "mine.yaml"]) == 0
    assert capsys.readouterr().out == first


def test_nothing_there_says_what_to_run(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["show"]) == 1
    out = capsys.readouterr().out
    assert "make results STUDY=quickstart" in out
    assert "snakemake --cores all --config study=quickstart" in out
    assert "Studies with tables: made-up" in out


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_any_encoding_of_the_terminal_will_do(results: Path, encoding: str) -> None:
    command = [sys.executable, "-m", "lora_ledger.cli.main", "show", str(results)]
    source = str(Path(main.__file__).parents[2])
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": source}
    done = subprocess.run(command, capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    out = done.stdout.decode(encoding)
    assert "What it cost" in out
    assert "diverged" in out
    assert "?" not in out


def test_a_broken_record_is_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "tables" / "record.json").write_text("{")
    assert main.main(["show", "--study", "made-up"]) == 2
    assert "results/made-up/tables/record.json" in capsys.readouterr().err


def test_starts_fast() -> None:
    heavy = {"torch", "pandas", "numpy", "matplotlib", "transformers"}
    code = f"import sys, lora_ledger.cli.main; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
