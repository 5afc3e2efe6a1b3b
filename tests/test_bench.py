"""The benchmarks measure in the precision that a study's `auto` stands for on the machine."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lora_ledger.compute import device

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A script of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(BENCHMARKS)

    def load(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    yield load
    for name in ("machine", "training", "evaluation"):
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
