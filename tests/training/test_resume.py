"""A run that is killed and started again ends with the bits of one that was not."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
import torch
import yaml

from lora_ledger.records.record import Record
from lora_ledger.stages.train import train
from lora_ledger.study.schema import Study
from lora_ledger.training import checkpoints, run
from lora_ledger.training.loop import CellTrainer
from lora_ledger.training.run import Job
from tiny_study import LORA, STUDY

# 600 tokens at 4 x 31 a step are 5 steps, with checkpoints after steps 2 and 4.
MICRO_BATCHES = 2
MORE = {
    "muon": {"kind": "full", "learning_rates": [1e-3], "optimiser": {"name": "muon"}},
    "frozen": {"kind": "full", "learning_rates": [1e-3], "freeze": 0.9},
    "b-only": LORA | {"train": "b-only", "optimiser": {"name": "sgd"}},
    "plus": LORA | {"init": "milora", "learning_rate_ratio": 4.0},
}


@pytest.fixture(scope="module")
def study() -> Study:
    return Study.model_validate(STUDY | {"methods": STUDY["methods"] | MORE})


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose call `number` (from 1) kills the process instead."""
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return die() if calls == number else function(*args, **kwargs)

    return counted


def half_written(function: Callable[..., Any]) -> Callable[..., Any]:
    """`save` that leaves the first half of its file and kills the process."""

    def save(obj: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        function(obj, path, *args, **kwargs)
        os.truncate(path, Path(path).stat().st_size // 2)
        die()

    return save


def run_and_die(study: Study, job: Job, out: Path, when: str) -> None:
    torch.set_num_threads(1)
    if when == "first step":
        CellTrainer.compute_loss = at_call(2, CellTrainer.compute_loss)
    elif when == "mid-run":
        CellTrainer.compute_loss = at_call(3 * MICRO_BATCHES + 2, CellTrainer.compute_loss)
    elif when == "first checkpoint":
        torch.save = half_written(torch.save)
    elif when == "second checkpoint":
        checkpoints.complete = at_call(2, checkpoints.complete)
    elif when == "record":
        from lora_ledger.scheduling.stage import Stage

        Stage.record = die  # type: ignore[method-assign]
    train(study, job, out)


def killed(study: Study, job: Job, out: Path, when: str) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=run_and_die, args=(study, job, out, when)
    )
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


def outcome(record: Record) -> tuple[Any, ...]:
    results = record.results
    return (
        record.id,
        results["weights"]["sha256"],
        results["loss_curve"],
        results["validation"]["curve"],
        results["validation"]["end"],
    )


# When it dies; which checkpoints count then; which are there.
DEATHS = {
    "first step": ([], []),
    "mid-run": ([2], [2]),
    "first checkpoint": ([], [2]),
    "second checkpoint": ([2], [2, 4]),
    "record": ([4], [4]),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "deaths"),
    [
        ("full", ["first step", "mid-run", "first checkpoint", "second checkpoint"]),
        ("lora", ["first step", "mid-run", "first checkpoint", "second checkpoint", "record"]),
        ("pissa", ["second checkpoint"]),
        ("muon", ["second checkpoint"]),
        ("frozen", ["second checkpoint"]),
        ("b-only", ["second checkpoint"]),
        ("plus", ["second checkpoint"]),
    ],
)
def test_killed_runs_end_like_an_uninterrupted_one(
    method: str,
    deaths: list[str],
    study: Study,
    job: Any,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    torch.set_num_threads(1)
    whole = train(study, job(method), tmp_path / "whole")
    assert len(whole.results["loss_curve"]) == 5
    # What is left on the disk says where the run really was when it died.
    for when in deaths:
        counting, present = DEATHS[when]
        work, out = tmp_path / f"work-{when}", tmp_path / when
        this = replace(job(method), work=work)
        killed(study, this, out, when)
        there = sorted(int(p.name.rpartition("-")[2]) for p in work.glob("checkpoint-*"))
        whole_ones = sorted(int(p.parent.name.rpartition("-")[2]) for p in work.glob("*/complete"))
        assert (whole_ones, there) == (counting, present), when
        assert not (out / "record.json").exists()
        capfd.readouterr()
        assert outcome(train(study, this, out)) == outcome(whole), when
        # The log says where it went on.
        said = re.search(r"^step (\d+)/5,", capfd.readouterr().err, re.MULTILINE)
        assert said is not None
        assert int(said[1]) == max(counting, default=0) + 1
        assert not work.exists()
        shutil.rmtree(out)


def test_a_finished_run_is_not_done_again(
    study: Study, job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(study, job("lora"), tmp_path / "out")
    monkeypatch.setattr("lora_ledger.training.run.train", die)
    assert train(study, job("lora"), tmp_path / "out") == first


HOLD = """
import sys
from pathlib import Path
from lora_ledger.training.checkpoints import alone
with alone(Path(sys.argv[1])):
    print("here", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("stage", ["train", "tune"])
def test_a_second_process_on_a_cell_is_told_so(
    stage: str, study: Study, job: Any, tmp_path: Path
) -> None:
    module = import_module(f"lora_ledger.stages.{stage}")
    this, file, out = job("full"), tmp_path / "tiny.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(study.model_dump(mode="json", exclude_defaults=True)))
    args = Namespace(**vars(this), study=str(file), select=None, out=out, trunk=None)
    args.rate = study.methods["full"].learning_rates[0]  # type: ignore[index]
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, this.work], stdin=PIPE, stdout=PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "here\n"
        said = rf"{this.work}: found process {first.pid} at work on this cell, expected none; wait"
        with pytest.raises(ValueError, match=said):
            module.main(args)
        assert not out.exists()
        # However it ends.
        first.kill()
    assert "complete" in module.main(args)
    assert not this.work.exists()


def test_a_folder_that_went_away_is_made_and_held_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process ends, and removes its folder, between this one's opening and locking."""
    work, lock = tmp_path / "work", checkpoints.fcntl.flock

    def late(*arguments: Any) -> None:
        monkeypatch.setattr(checkpoints.fcntl, "flock", lock)
        shutil.rmtree(work)
        lock(*arguments)

    monkeypatch.setattr(checkpoints.fcntl, "flock", late)
    with checkpoints.alone(work):
        assert (work / "alone.lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(ValueError, match="at work on this cell"), checkpoints.alone(work):
            pass
    with checkpoints.alone(work):
        pass


def test_a_cell_whose_empty_folder_was_removed_is_written(
    study: Study, job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snakemake removes the empty folder of an output while the job trains."""
    out, whole = tmp_path / "cell", run.train

    def remove(*arguments: Any) -> Any:
        out.rmdir()
        return whole(*arguments)

    monkeypatch.setattr(run, "train", remove)
    assert train(study, job("lora"), out).status == "complete"
    assert (out / "adapter").is_dir()


def test_a_checkpoint_of_another_run_does_not_count(tmp_path: Path) -> None:
    for step in (2, 10, 4):
        checkpoints.folder(tmp_path, step).mkdir()
        checkpoints.complete(checkpoints.folder(tmp_path, step), "mine" if step < 10 else "theirs")
    assert checkpoints.newest(tmp_path, "mine") == tmp_path / "checkpoint-4"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-4"]


def test_a_lora_checkpoint_holds_the_adapter_only(
    study: Study, job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import safe_open

    seen: list[str] = []

    def look(path: Path, fingerprint: str) -> None:
        with safe_open(path / "weights.safetensors", "pt") as file:
            seen.extend(file.keys())

    monkeypatch.setattr(checkpoints, "complete", look)
    train(study, job("lora"), tmp_path / "out")
    assert len(seen) == 2 * (2 * 7 * 2)
    assert all(".lora_" in name for name in seen)
