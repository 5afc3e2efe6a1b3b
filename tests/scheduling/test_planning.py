"""Plans against counts written out otherwise, and what is there or was not kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import counts
from lora_ledger.scheduling.planning import plan, tokens_of
from lora_ledger.study.file import load, parse
from lora_ledger.study.schema import Budget, Setting

TEXT = Path("config/smoke.yaml").read_text("utf-8")


def put(path: Path, content: object = ()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


@pytest.mark.parametrize("name", ["smoke", "quickstart", "benchmarks"])
def test_jobs_are_those_that_are_counted_otherwise(name: str, tmp_path: Path) -> None:
    study = load(name)
    found = plan(study, tmp_path)
    wanted = {stage: (0, count) for stage, count in counts.jobs(study).items() if count}
    assert found.jobs == wanted


def test_a_job_is_done_when_its_record_is_there(tmp_path: Path) -> None:
    put(tmp_path / "train/code-cpt/full/tokens/s1/record.json")
    put(tmp_path / "tune/code-cpt/full/1e-3.json")
    jobs = plan(parse(TEXT), tmp_path).jobs
    assert jobs["train"][0] == jobs["tune"][0] == 1
    assert jobs["select"][0] == 0


SETTING = Setting(corpus="c", regime="ift", sequence_length=100, batch_size=4)


@pytest.mark.parametrize(
    ("budget", "packed", "tokens"),
    [
        (Budget(tokens=7), None, 7),
        (Budget(steps=3), None, 3 * 4 * 100),
        (Budget(steps=3), (24, 480), 240),
        (Budget(examples=12), (24, 480), 240),
        (Budget(epochs=0.5), (24, 480), 240),
        (Budget(epochs=0.5), None, None),
    ],
)
def test_tokens_of_each_unit(
    budget: Budget, packed: tuple[int, int] | None, tokens: int | None
) -> None:
    assert tokens_of(budget, SETTING, packed) == tokens


def test_disk_and_what_is_trained_again(tmp_path: Path) -> None:
    """Weights of all cells where they are kept, else those of the largest."""
    keeps, drops = parse(TEXT), parse(TEXT.replace("keep_weights: true", "keep_weights: false"))
    assert plan(keeps, tmp_path).disk_bytes > plan(drops, tmp_path).disk_bytes
    label = "code-cpt/full/tokens/s1"
    put(tmp_path / f"train/{label}/record.json")
    assert plan(drops, tmp_path).again == (label,)
    assert plan(keeps, tmp_path).again == ()
    (tmp_path / f"train/{label}/model").mkdir()
    assert plan(drops, tmp_path).again == ()


def test_arithmetic_is_that_of_the_methods(tmp_path: Path) -> None:
    """One cell of one method: its FLOPs for each token times its tokens."""
    study = load("quickstart")
    found = plan(study, tmp_path)
    from lora_ledger.study.models import model_config

    config = model_config(study.model_entry())
    wanted = sum(
        2500 * study.methods[method].flops_per_token(config, setting.sequence_length)
        for name, setting in study.settings.items()
        for method in study.methods_of(name)
    )
    assert found.flops == pytest.approx(wanted)
    assert (found.tokens, found.unknown) == (2500 * found.cells, 0)
