"""The command line that stages share."""

from __future__ import annotations

import argparse
import io
import os
from importlib import import_module
from pathlib import Path

import pytest

from lora_ledger.records.record import read_record
from lora_ledger.scheduling.stage import Stage
from lora_ledger.stages._main import place, run
from lora_ledger.stages.tabulate import paths_of


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


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{tmp}/gone.json", "gone.json: found nothing, expected what an earlier stage wrote; run"),
        ("{tmp}/file/gone", "file/gone: found nothing, expected what an earlier stage wrote; run"),
        ("{tmp}", "found a folder, expected a file; name the file"),
    ],
)
def test_what_is_not_there_is_one_line(
    path: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    argv = ["--record", path.format(tmp=tmp_path)]

    def work(args: argparse.Namespace) -> None:
        read_record(args.record)

    assert run(Stage("try", ("the first",)), None, (place("record"),), work, argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"try: {argv[1]}: ")
    assert message in line


STAGES = (
    *("contaminate", "gate", "prepare", "tune", "select", "train"),
    *("generate", "score", "retain", "diversity", "tabulate", "figures"),
)
NAMES = {
    **{"--study": "config/smoke.yaml", "--setting": "code-cpt", "--method": "lora-r2"},
    **{"--budget": "tokens", "--seed": "1", "--rate": "3e-3", "--corpus": "smoke-text"},
    **{"--run": "code", "--task": "general", "--cell": "code-cpt/full/tokens/s1"},
}


def test_a_file_in_the_place_of_a_folder_is_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    def work(args: argparse.Namespace) -> None:
        args.out.mkdir()

    argv = ["--out", str(tmp_path / "file")]
    assert run(Stage("try", ("the first",)), None, (place("out"),), work, argv) == 2
    assert "file: found a file, expected a folder or nothing;" in capsys.readouterr().err


def test_tables_of_nothing_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(ValueError, match="--records: found"):
        paths_of(["-"])


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_ends_in_a_traceback_on_a_missing_path(
    stage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With nothing there but the study, and without that too."""
    module = import_module(f"lora_ledger.stages.{stage}")
    argv = []
    for name, settings in module.FLAGS:
        if settings["required"] or name in ("--select", "--trained"):
            argv += [name, NAMES.get(name, str(tmp_path / name.strip("-")))]
    for study in ("config/smoke.yaml", "config/gone.yaml"):
        given = [study if one == "config/smoke.yaml" else one for one in argv]
        missing = study if study in given and "gone" in study else str(tmp_path)
        assert run(module.STAGE, module.__doc__, module.FLAGS, module.main, given) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"{stage}: ")
        assert missing in line
