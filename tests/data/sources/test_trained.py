"""A cell that another study trained, as a source: fetched, and a cell that is trained on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import tiny_study
from lora_ledger.catalogue import entries
from lora_ledger.data.sources import SourceError
from lora_ledger.records.record import digest_file, digest_json, read_record
from lora_ledger.stages.fetch import fetch_model
from lora_ledger.stages.train import train
from lora_ledger.study.schema import Study
from lora_ledger.training.run import Job


def grown(folder: Path, **pin: str) -> Study:
    """The tiny study on the model of a cell in a folder."""
    entry = entries()["tiny-random-llama"].model_dump(mode="json")
    own = {
        **entry,
        "format": "trained",
        "source": {"kind": "trained", "folder": str(folder), **pin},
    }
    catalogue = {**tiny_study.STUDY["catalogue"], "grown": own}
    return Study.model_validate({**tiny_study.STUDY, "model": "grown", "catalogue": catalogue})


@pytest.fixture
def cell(study: Study, job: Callable[..., Job], tmp_path: Path) -> Path:
    """A trained cell of the tiny study, all of whose weights moved."""
    train(study, job("full"), tmp_path / "cell")
    return tmp_path / "cell"


def test_the_model_is_the_cells_and_its_record_goes_on_to_it(
    cell: Path, packed: dict[str, Path], job: Callable[..., Job], tmp_path: Path
) -> None:
    base = read_record(cell / "record.json")
    study = grown(cell, id=base.id)
    fetch_model(study, "grown", tmp_path / "grown")
    made = read_record(tmp_path / "grown/record.json")
    assert made.science.inputs == {"source": base.input}
    weights = AutoModelForCausalLM.from_pretrained(tmp_path / "grown").state_dict()
    trained = AutoModelForCausalLM.from_pretrained(cell / "model").state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in trained.items())
    wanted = base.results["weights"]["sha256"]
    assert made.results["files"]["model.safetensors"] == wanted
    assert digest_file(tmp_path / "grown/model.safetensors") == wanted
    # What is asked of the next cell follows from what was asked of the base.
    done = train(study, replace(job("lora"), model=tmp_path / "grown"), tmp_path / "next")
    assert done.science.inputs["model"] == made.input
    asked: dict[str, Any] = {
        "stage": "fetch",
        "version": 1,
        "cell": "grown",
        "names": {"model": "grown"},
        "inputs": {"source": base.asked},
        "settings": {
            key: value
            for key, value in study.model_entry().model_dump(mode="json").items()
            if key in ("type", "format", "base", "weights", "stand_in", "config")
        }
        | {"tokens": {k: v for k, v in made.science.settings["tokens"].items() if v}},
    }
    assert made.asked == digest_json(asked)[:16]


def test_weights_that_are_not_those_of_the_record(cell: Path, tmp_path: Path) -> None:
    sha256 = read_record(cell / "record.json").results["weights"]["sha256"]
    study = grown(cell, sha256=sha256)
    file = cell / "model/model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(SourceError, match=rf"found sha256 {digest_file(file)}, expected {sha256}"):
        fetch_model(study, "grown", tmp_path / "grown")
    assert not (tmp_path / "grown").exists()


def test_another_hash_than_the_entrys(cell: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"model grown: id: found '0{16}', expected [0-9a-f]{16}"):
        fetch_model(grown(cell, id="0" * 16), "grown", tmp_path / "grown")


def test_a_model_of_other_shapes_than_the_entrys(cell: Path, tmp_path: Path) -> None:
    config = json.loads((cell / "model/config.json").read_text("utf-8"))
    config["num_hidden_layers"] = 3
    (cell / "model/config.json").write_text(json.dumps(config), "utf-8")
    pin = read_record(cell / "record.json").id
    with pytest.raises(SourceError, match="num_hidden_layers: the catalogue says 2"):
        fetch_model(grown(cell, id=pin), "grown", tmp_path / "grown")
