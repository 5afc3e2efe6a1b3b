"""The command lines of train, tune and select, as a user runs them."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_ledger.common.errors import KeyProblem
from lora_ledger.records.record import digest_file, read_record
from lora_ledger.stages.select import STAGE as SELECT
from lora_ledger.stages.select import choose, select
from lora_ledger.stages.train import rate_of, train
from lora_ledger.stages.tune import tune
from lora_ledger.study.schema import Study
from lora_ledger.training import loss
from tiny_study import STUDY

SOURCE = Path(__file__).parents[2] / "src"
REPRODUCE = """
import sys, torch
from pathlib import Path
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
base, cell = sys.argv[1:]
if (Path(cell) / "model").is_dir():
    model = AutoModelForCausalLM.from_pretrained(cell + "/model")
else:
    from peft import PeftModel
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), cell + "/adapter")
probe = load_file(cell + "/probe.safetensors")
with torch.no_grad():
    logits = model.eval()(input_ids=probe["input_ids"]).logits[:, -probe["logits"].shape[1] :]
assert "lora_ledger" not in sys.modules
print(float((logits - probe["logits"]).abs().max()), tuple(logits.shape))
"""


def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "HF_HUB_OFFLINE": "1"},
    )


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    import yaml

    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    return path


@pytest.mark.slow
def test_train_from_the_command_line_and_its_logits_in_a_new_process(
    study_file: Path, tiny_model: Path, packed: dict[str, Path], tmp_path: Path
) -> None:
    out, work = tmp_path / "cell", tmp_path / "work"
    done = python(
        "-m",
        "lora_ledger.stages.train",
        "--study",
        study_file,
        "--setting",
        "ift",
        "--method",
        "pissa",
        "--budget",
        "short",
        "--seed",
        "1",
        "--model",
        tiny_model,
        "--data",
        packed["ift"],
        "--work",
        work,
        "--out",
        out,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "adapter",
        "probe.safetensors",
        "record.json",
    ]
    assert not work.exists()
    record = read_record(out / "record.json")
    assert (record.stage, record.cell, record.status) == ("train", "ift/pissa/short/s1", "complete")
    results = record.results
    weights = out / "adapter/adapter_model.safetensors"
    assert results["weights"] == {
        "sha256": digest_file(weights),
        "bytes": weights.stat().st_size,
    }
    assert results["tokens"] == results["loss_curve"][-1][1] >= 600
    assert results["parameters"]["trainable"] == 2 * 4 * (
        4 * 64 + 64 + 64 + 32 + 32 + 2 * (64 + 128) + 64 + 128
    )
    assert record.run["tokens_per_second"] > 0
    assert record.run["peak_memory_bytes"] > 1e8

    again = python("-c", REPRODUCE, tiny_model, out)
    assert again.returncode == 0, again.stderr
    error, _, shape = again.stdout.partition(" ")
    assert float(error) < 1e-5
    assert shape.startswith("(2, 4, 258)")


def test_a_full_cell_holds_a_model(
    study: Study, job: Any, tmp_path: Path, tiny_model: Path
) -> None:
    record = train(study, job("full"), tmp_path / "cell")
    weights = tmp_path / "cell/model/model.safetensors"
    assert record.results["weights"]["sha256"] == digest_file(weights)
    assert record.results["parameters"]["trainable"] == record.results["parameters"]["total"]
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    probe = load_file(tmp_path / "cell/probe.safetensors")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "cell/model").eval()
    with torch.no_grad():
        logits = model(input_ids=probe["input_ids"]).logits[:, -4:]
    assert torch.allclose(logits, probe["logits"], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_what_is_the_same_before_all_cells_is_measured_once(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full and LoRA begin from the same weights, to the bit; DoRA and PiSSA do not and share none.

    Records are those of runs that share nothing.
    """
    kinds = {
        "full": {"kind": "full"},
        "lora": {"kind": "lora", "rank": 4, "dropout": 0.1},
        "dora": {"kind": "lora", "rank": 4, "dora": True},
        "pissa": {"kind": "lora", "rank": 4, "init": "pissa"},
    }
    methods = {name: kind | {"learning_rates": [3e-3]} for name, kind in kinds.items()}
    study = Study.model_validate(STUDY | {"methods": methods})
    passes: list[int] = []
    whole = loss.nats_of_examples

    def counted(*arguments: Any) -> list[float]:
        passes.append(1)
        return whole(*arguments)

    monkeypatch.setattr(loss, "nats_of_examples", counted)
    found = {}
    for shared in (None, tmp_path / "starts"):
        for name in methods:
            passes.clear()
            this = replace(job(name, work=f"work-{name}"), starts=shared)
            record = train(study, this, tmp_path / str(shared is None) / name)
            found[name, shared is None] = (record.id, len(passes))
    assert {name: found[name, False][0] for name in methods} == {
        name: found[name, True][0] for name in methods
    }
    saved = {name: found[name, True][1] - found[name, False][1] for name in methods}
    assert saved == {"full": 0, "lora": 1, "dora": 0, "pissa": 0}
    (file,) = (tmp_path / "starts").iterdir()
    # Half a file, or another number of examples, is no measurement.
    for text in ("[1.0]", "[1.0, "):
        file.write_text(text)
        again = replace(job("full", work="again"), starts=tmp_path / "starts")
        assert train(study, again, tmp_path / text).id == found["full", True][0]


def test_a_diverged_cell_has_a_record_and_no_weights(
    study: Study, job: Any, tmp_path: Path
) -> None:
    record = train(study, job("full", rate=1.0), tmp_path / "cell")
    assert record.status == "diverged"
    assert record.results["weights"] is None
    assert record.results["loss_curve"]
    assert sorted(path.name for path in (tmp_path / "cell").iterdir()) == ["model", "record.json"]
    assert not any((tmp_path / "cell/model").iterdir())


@pytest.mark.slow
def test_tune_and_select(
    job: Any, tiny_model: Path, packed: dict[str, Path], tmp_path: Path
) -> None:
    rates = [1e-5, 1e-2, 1.0]
    study = Study.model_validate(
        STUDY | {"methods": {"full": {"kind": "full", "learning_rates": rates}}}
    )
    paths = []
    for index in range(3):
        this = replace(job("full", rate=rates[index]), seed=study.tuning_seed)
        paths.append(tmp_path / f"{index}.json")
        record = tune(study, this, paths[-1])
        assert record.cell == "cpt/full/short/s1000"
        assert record.status == ("diverged" if index == 2 else "complete")
    chosen = select(paths, "cpt", "full", tmp_path / "select.json").results
    assert chosen["learning_rate"] == 1e-2
    assert chosen["on_edge"] is False
    ends = [sum(read_record(path).results["validation"]["end"]) / 124 for path in paths[:2]]
    assert chosen["curve"] == [[1e-5, ends[0]], [1e-2, ends[1]], [1.0, None]]
    assert rate_of(study, "cpt", "full", tmp_path / "select.json") == 1e-2
    with pytest.raises(KeyProblem, match="3 rates"):
        rate_of(study, "cpt", "full", None)
    with pytest.raises(KeyProblem, match="tune of cpt/lora"):
        select(paths, "cpt", "lora", tmp_path / "other.json")


def test_the_edge_of_a_grid() -> None:
    assert choose([(1e-4, 3.0), (1e-3, 2.0), (1e-2, 2.5)]) == {
        "curve": [[1e-4, 3.0], [1e-3, 2.0], [1e-2, 2.5]],
        "learning_rate": 1e-3,
        "on_edge": False,
    }
    assert choose([(1e-3, 2.0), (1e-2, 2.5)])["on_edge"] is True
    assert choose([(1e-2, 2.5), (1e-4, 3.0), (1e-3, 2.6)])["on_edge"] is True
    assert choose([(1e-4, math.inf), (1e-3, 2.0), (1e-2, math.inf)])["on_edge"] is False
    everything = choose([(1e-4, math.inf), (1e-3, math.inf)])
    assert (everything["learning_rate"], everything["on_edge"]) == (None, True)
    # Where more is better, the other end of the same curve.
    assert choose([(1e-3, 2.0), (1e-2, 2.5), (1e-1, math.inf)], "higher") == {
        "curve": [[1e-3, 2.0], [1e-2, 2.5], [1e-1, None]],
        "learning_rate": 1e-2,
        "on_edge": False,
    }
    # Of two equally good rates the lower one.
    assert choose([(3.0, 1.0), (2.0, 1.0), (1.0, 2.0)])["learning_rate"] == 2.0


def test_rates_that_follow_another_arm(tmp_path: Path) -> None:
    methods = STUDY["methods"] | {"ten": {"kind": "lora", "rank": 2, "at": "10x full"}}
    study = Study.model_validate(STUDY | {"methods": methods})
    assert rate_of(study, "cpt", "lora", None) == 3e-3
    assert rate_of(study, "cpt", "ten", None) == 10 * 1e-3
    record = tmp_path / "select.json"
    SELECT.record(
        record,
        None,
        {},
        "cpt/full",
        inputs={},
        settings={},
        results={"learning_rate": 2e-4},
    )
    assert rate_of(study, "cpt", "ten", record) == pytest.approx(2e-3)


def test_select_needs_no_torch() -> None:
    done = python("-c", "import lora_ledger.stages.select, sys; print('torch' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


def test_errors_name_the_flag(study_file: Path, tmp_path: Path) -> None:
    done = python(
        "-m",
        "lora_ledger.stages.train",
        "--study",
        study_file,
        "--setting",
        "cpt",
        "--method",
        "lorra",
        "--budget",
        "short",
        "--seed",
        "1",
        "--model",
        tmp_path,
        "--data",
        tmp_path,
        "--work",
        tmp_path,
        "--out",
        tmp_path / "out",
    )
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "train: --method: found 'lorra', expected one of: full, full-linear, lora, pissa; "
        "did you mean 'lora'?"
    )


def test_a_cell_whose_rates_all_diverged_is_a_result(
    tiny_model: Path, packed: dict[str, Path], tmp_path: Path
) -> None:
    import yaml

    grid = {"full": {"kind": "full", "learning_rates": [1e4, 1e5]}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(STUDY | {"methods": grid}))
    SELECT.record(
        tmp_path / "select.json",
        None,
        {},
        "cpt/full",
        inputs={},
        settings={},
        results={"curve": [[1e4, None], [1e5, None]], "learning_rate": None, "on_edge": True},
    )
    done = python(
        *("-m", "lora_ledger.stages.train", "--study", tmp_path / "s.yaml", "--setting", "cpt"),
        *("--method", "full", "--budget", "short", "--seed", "1", "--model", tiny_model),
        *("--data", packed["cpt"], "--select", tmp_path / "select.json"),
        *("--work", tmp_path / "work", "--out", tmp_path / "cell"),
    )
    assert done.returncode == 0, done.stderr
    assert "diverged at every rate" in done.stdout
    assert read_record(tmp_path / "cell/record.json").status == "diverged"


@pytest.mark.slow
def test_a_cell_without_its_weights_is_trained_again(
    study: Study, job: Any, tmp_path: Path
) -> None:
    import shutil

    first = train(study, job("lora"), tmp_path / "cell")
    shutil.rmtree(tmp_path / "cell/adapter")
    # Where weights are not kept the record stands without them.
    assert train(study, job("lora"), tmp_path / "cell").run == first.run
    assert not (tmp_path / "cell/adapter").exists()
    keeping = study.model_copy(update={"keep_weights": True})
    again = train(keeping, job("lora"), tmp_path / "cell")
    assert again.id == first.id
    weights = tmp_path / "cell/adapter/adapter_model.safetensors"
    assert digest_file(weights) == first.results["weights"]["sha256"]
