"""Two bases from fetch to tables, stage by stage: rates of the first, cells on both."""

from __future__ import annotations

import csv
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lora_ledger.catalogue import entries
from lora_ledger.common.errors import KeyProblem
from lora_ledger.records.record import Record, read_record
from lora_ledger.stages import fetch, prepare, retain, select, tabulate, train, tune
from lora_ledger.study import cells
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study
from lora_ledger.tables.evidence import gather


def written(root: Path) -> Path:
    """A study of two bases of other weights and another width, one for each seed."""
    entry: dict[str, Any] = entries()["tiny-random-llama"].model_dump(mode="json")
    two = {**entry, "source": {"kind": "generated", "seed": 5}}
    two["config"] = {**entry["config"], "intermediate_size": 96}
    raw = {
        "name": "pair",
        "title": "two bases",
        "models": ["one", "two"],
        "seeds": [1, 2],
        "model_of_seed": {1: "one", 2: "two"},
        "compute": {"device": "cpu", "precision": {"train": "fp32", "evaluate": "fp32"}},
        "catalogue": {"one": entry, "two": two},
        "settings": {"text": {"corpus": "smoke-text", "regime": "cpt", "sequence_length": 32}},
        "methods": {"full": {"kind": "full", "learning_rates": [1e-3, 3e-3]}},
        "budgets": {"short": {"tokens": 300}},
        "evaluation": {"texts": {"general": {"corpus": "smoke-text", "kilobytes": 1}}},
    }
    (root / "pair.yaml").write_text(yaml.safe_dump(raw), "utf-8")
    return root / "pair.yaml"


@dataclass
class Run:
    """A study and the folder of its results."""

    file: Path
    study: Study
    out: Path

    def record(self, path: str) -> Record:
        return read_record(self.out / path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All stages of the study, each called with what the one before has left."""
    root = tmp_path_factory.mktemp("pair")
    file, out = written(root), root / "results"
    study = load(str(file))
    fetch.fetch_corpus(study, "smoke-text", out / "data")
    for name in study.model_names:
        model, packed = out / f"models/{name}", out / f"packed/{name}/text"
        fetch.fetch_model(study, name, model)
        prepare.prepare(str(file), "text", model, out / "data", packed, name)
    given = {"study": str(file), "setting": "text", "method": "full", "starts": None}
    rates = [out / f"tune/{rate}.json" for rate in ("1e-3", "3e-3")]
    for path in rates:
        where = {"model": out / "models/one", "data": out / "packed/one/text"}
        more = {"rate": float(path.stem), "work": root / "work", "out": path}
        tune.main(Namespace(**given, **where, **more))
    chosen = out / "select.json"
    select.select(rates, "text", "full", chosen)
    paths = [chosen, *(out / f"packed/{name}/text/record.json" for name in study.model_names)]
    for cell in cells.cells(study):
        where = {"model": out / f"models/{cell.model}", "data": out / f"packed/{cell.packed}"}
        more = {"budget": "short", "seed": cell.seed, "rate": None, "model_name": cell.model}
        more |= {"leave": None, "trunk": None}
        places = {"select": chosen, "work": root / "work", "out": out / f"train/{cell.label}"}
        train.main(Namespace(**given, **where, **more, **places))
        paths.append(out / f"train/{cell.label}/record.json")
    for label in cells.labels(study):
        path = out / f"retain/{label}.json"
        trained = out / cells.folder(study, label) if cells.folder(study, label) else None
        model = out / f"models/{cells.model_of(study, label)}"
        retain.retain(study, "general", label, model, trained, out / "data", path, None)
        paths.append(path)
    tabulate.tabulate(gather(study, paths), out / "tables")
    return Run(file, study, out)


def test_a_cell_stands_on_the_model_of_its_seed(run: Run) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        record = run.record(f"train/{name}/text/full/short/s{seed}/record.json")
        assert record.cell == f"{name}/text/full/short/s{seed}"
        assert record.names["model"] == name
        inputs = record.science.inputs
        assert inputs["model"] == run.record(f"models/{name}/record.json").input
        assert inputs["packed"] == run.record(f"packed/{name}/text/record.json").input


def test_rates_are_tuned_on_the_first_model(run: Run) -> None:
    tuned = run.record("tune/1e-3.json")
    assert tuned.science.inputs["model"] == run.record("models/one/record.json").input
    assert "model" not in tuned.names
    rate = run.record("select.json").results["learning_rate"]
    for cell in cells.cells(run.study):
        assert run.record(f"train/{cell.label}/record.json").results["learning_rate"] == rate


def test_what_was_forgotten_is_of_each_cells_own_base(run: Run) -> None:
    """Sums over the documents, as the records of `retain` have them."""

    def bits(label: str) -> float:
        found = run.record(f"retain/{label}.json").results
        return float(sum(found["nats"]) / sum(found["bytes"]) / 0.6931471805599453)

    lines = (run.out / "tables/forgetting.csv").read_text("utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    found = {(row["method"], row["model"]): row for row in rows}
    changes = []
    for name, seed in (("one", 1), ("two", 2)):
        base = bits(f"base/{name}")
        changes.append(bits(f"{name}/text/full/short/s{seed}") - base)
        assert float(found["base", name]["value"]) == pytest.approx(base, abs=1e-6)
        assert float(found["full", name]["change"]) == pytest.approx(changes[-1], abs=1e-6)
    assert abs(changes[0] - changes[1]) > 1e-4
    mean = found["full", "2 bases"]
    assert float(mean["change"]) == pytest.approx(sum(changes) / 2, abs=1e-6)


def test_a_model_that_the_cell_does_not_stand_on(run: Run, tmp_path: Path) -> None:
    job = Namespace(
        setting="text", method="full", budget="short", seed=1, rate=None, model_name="two"
    )
    with pytest.raises(KeyProblem, match=r"--model-name: found 'two', expected a model of .*: one"):
        train.cell_of(run.study, job)
    with pytest.raises(KeyProblem, match=r"--model-name: found 'tow', .*did you mean 'two'"):
        prepare.prepare(str(run.file), "text", tmp_path, tmp_path, tmp_path, "tow")
