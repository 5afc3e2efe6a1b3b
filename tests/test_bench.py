"""The benchmarks measure in the precision that a study's `auto` stands for on the machine."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from lora_ledger.catalogue import ModelEntry, entries
from lora_ledger.compute import device
from lora_ledger.methods import KINDS

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A script of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(BENCHMARKS)

    def load(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    yield load
    for name in ("machine", "training", "evaluation", "methods"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(("there", "auto"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_what_a_study_takes(
    module: Any, monkeypatch: pytest.MonkeyPatch, there: bool, auto: str
) -> None:
    machine = module("machine")
    monkeypatch.setattr(device, "multiplies_bf16", lambda *_: there)
    asked: Any = argparse.Namespace(
        device="cpu", precision=argparse.Namespace(train="auto", evaluate="auto")
    )
    assert device.resolve(asked) == {"device": "cpu", "train": auto, "evaluate": auto}
    assert [machine.precision(one) for one in ("auto", "bf16", "fp32")] == [auto, "bf16", "fp32"]
    parser = argparse.ArgumentParser()
    machine.add_precision(parser)
    assert parser.parse_args([]).precision == "auto"


def test_bf16_is_multiplied_where_it_is_the_precision(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = module("machine")
    multiplied = []
    monkeypatch.setattr(machine, "peak_gflops", lambda how: multiplied.append(how) or 1.0)
    assert machine.describe(1, "fp32")["precision"] == "fp32"
    assert multiplied == ["fp32"]
    assert machine.describe(1, "bf16")["peak_gflops"] == {"bf16": 1.0, "fp32": 1.0}


@pytest.mark.parametrize(("how", "apart"), [("fp32", 1e-5), ("bf16", 2e-2)])
def test_ours_and_the_peer_train_in_the_precision_that_is_asked(
    module: Any, tiny_model: Path, tmp_path: Path, how: str, apart: float
) -> None:
    """The same losses in fp32; others in bf16, so both took what was asked."""
    from datasets import Dataset

    training = module("training")
    ids = [[(7 * i + j * j) % 90 + 3 for j in range(16)] for i in range(8)]
    rows = {"input_ids": ids, "prompt_length": [0] * 8, "bytes": [16] * 8}
    Dataset.from_dict(rows).save_to_disk(str(tmp_path / "train"))
    losses = {}
    for precision in {how, "fp32"}:
        args = argparse.Namespace(
            model=str(tiny_model), data=[f"cpt={tmp_path}"], steps=1, threads=1, dropout=0.0,
            precision=precision,
        )  # fmt: skip
        for who in ("ours", "trainer"):
            losses[who, precision] = training.child(args, "full-cpt", who)["losses"]
    assert losses["ours", how] == pytest.approx(losses["trainer", how], abs=apart)
    for who in ("ours", "trainer"):
        assert (losses[who, how] == losses[who, "fp32"]) is (how == "fp32")


def test_every_method_of_the_table_is_one_that_its_model_can_have(module: Any) -> None:
    methods = module("methods")
    entry = entries()["smollm2-135m-instruct-q4"]
    assert isinstance(entry, ModelEntry)
    kinds = set()
    for name in methods.METHODS:
        method = methods.study_of(name, "fp32").methods["m"]
        method.check(entry.config)
        kinds.add(method.kind)
    assert kinds == {
        kind for one in KINDS for kind in get_args(one.model_fields["kind"].annotation)
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LoRA", "IA3", "prefix", "Lin"])
def test_a_method_is_compared_with_what_it_saved(
    module: Any, tiny_model: Path, tmp_path: Path, name: str
) -> None:
    """Counts are the formulas' and peft's own; the other process has no line of this project's."""
    from datasets import Dataset

    methods = module("methods")
    ids = [[(7 * i + j * j) % 90 + 3 for j in range(methods.LENGTH)] for i in range(24)]
    rows = {"input_ids": ids, "prompt_length": [0] * 24, "bytes": [16] * 24}
    for split in ("train", "validation"):
        Dataset.from_dict(rows).save_to_disk(str(tmp_path / "data" / split))
    args = argparse.Namespace(model=tiny_model, data=tmp_path / "data")
    row = methods.child(name, args, "fp32", tmp_path)
    # 2 blocks of width 64, of which keys and values have 32, and an MLP of 128.
    shapes = ((64, 64), (64, 32), (64, 32), (64, 64), (64, 128), (64, 128), (128, 64))
    expected = {
        "LoRA": 2 * sum(8 * (i + o) for i, o in shapes),
        "IA3": 2 * (32 + 32 + 128),
        "prefix": 2 * 8 * 2 * 32,
        "Lin": 2 * (2 * 64 * 16 + 16 + 64 + 64),
    }[name]
    assert row["trainable"] == row["closed"] == expected
    assert row["peft"] == (None if name == "Lin" else expected)
    assert row["after"] < row["before"]
    assert (row["from_base"] < 1e-4) is (name != "prefix")
    if name == "Lin":
        assert row["own"] == 0
        return
    with subprocess.Popen(
        [sys.executable, methods.__file__, "--peer", str(tiny_model)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert methods.asked(other, tmp_path) < 1e-4
        other.stdin.close()  # type: ignore[union-attr]
