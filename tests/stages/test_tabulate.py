"""`tabulate` from its command line: one flat list of records, from flags or standard input."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import pytest

import factories
from lora_ledger.stages import tabulate
from lora_ledger.study.schema import Study
from lora_ledger.tables.evidence import gather
from made_study import made_up


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Study, list[Path]]:
    """A study of one setting whose records lie in a folder with a blank and an apostrophe."""
    plan = factories.study(settings={"code-cpt": factories.study().settings["code-cpt"]})
    monkeypatch.setattr(tabulate, "load", lambda name: plan)
    return plan, made_up(tmp_path / "it's all", plan)


def run(records: list[str], out: Path) -> int:
    command = ["--study", "made-up", "--records", *records, "--out", str(out)]
    return tabulate.run_stage(
        tabulate.STAGE, tabulate.__doc__, tabulate.FLAGS, tabulate.main, command
    )


def test_flags_and_standard_input_give_the_same(
    made: tuple[Study, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, paths = made
    names = [str(path) for path in paths]
    assert run(names, tmp_path / "flags") == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(shlex.join(reversed(names)) + "\n"))
    assert run(["-"], tmp_path / "stdin") == 0
    tabulate.tabulate(gather(plan, paths), tmp_path / "call")
    for path in (tmp_path / "call").glob("*.csv"):
        for other in ("flags", "stdin"):
            assert path.read_bytes() == (tmp_path / other / path.name).read_bytes()


def test_a_record_of_another_study_ends_in_one_line(
    made: tuple[Study, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    factories.train(tmp_path / "r.json", "code-cpt/ful/short/s1", [1.0], [1.0], [1])
    assert run([str(tmp_path / "r.json")], tmp_path) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"tabulate: {tmp_path}/r.json: found train of 'code-cpt/ful/short/s1'")
    assert said.count("\n") == 1
