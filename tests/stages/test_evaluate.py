"""One process for all that a cell is asked: the same bytes and hashes as a process for each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import factories
from lora_ledger.data.corpora.readers.smoke import read as smoke
from lora_ledger.data.corpora.store import save
from lora_ledger.inference import build
from lora_ledger.inference.subject import Subject
from lora_ledger.inference.weights import load_weights
from lora_ledger.records.record import read_record
from lora_ledger.stages import evaluate as stage
from lora_ledger.stages.evaluate import evaluate
from lora_ledger.stages.generate import generate
from lora_ledger.stages.retain import retain
from lora_ledger.study import cells
from lora_ledger.study.file import load, parse
from lora_ledger.study.schema import Study

SMOKE = Path(__file__).parents[2] / "config" / "smoke.yaml"
CELL = "code-cpt/lora-r2/tokens/s1"


def study(**compute: Any) -> Study:
    raw: dict[str, Any] = yaml.safe_load(SMOKE.read_text("utf-8"))
    raw["compute"] |= compute
    return parse(yaml.safe_dump(raw))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The corpora of `smoke`, by the keys of its evaluation."""
    folder = tmp_path_factory.mktemp("data")
    for kind in ("code", "words", "choices", "text"):
        examples = list(smoke({}, {"kind": kind}))
        save({"train": examples, "test": examples}, folder / kind)
    names = {"code": "code", "words": "words", "facts": "choices", "general": "text"}
    return {name: folder / kind for name, kind in names.items()}


@pytest.fixture(scope="module")
def cell(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell whose adapter is not 0."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("cell")
    settings = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(load_weights(tiny_model), settings).save_pretrained(str(folder / "adapter"))
    return folder


def asked(data: dict[str, Path], runs: list[str], out: Path) -> tuple[list[Any], list[Any]]:
    """What `evaluate` takes: every run, then the text and the task."""
    generated = [(run, data[run], out / f"{run}.jsonl.gz", out / f"{run}.json") for run in runs]
    return generated, [
        ("general", data["general"], out / "general.json", None),
        ("facts", data["facts"], out / "facts.json", out / "facts.items.csv.gz"),
    ]


@pytest.mark.parametrize(
    ("label", "compute"),
    [
        ("base", {}),
        (CELL, {}),
        (CELL, {"backend": "plain"}),
        (CELL, {"precision": {"train": "fp32", "evaluate": "bf16"}}),
    ],
)
def test_together_and_apart_give_the_same(
    tiny_model: Path,
    cell: Path,
    data: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    label: str,
    compute: dict[str, Any],
) -> None:
    how, trained = study(**compute), None if label == "base" else cell
    runs = cells.generate_runs(how, label)
    for run, *paths in asked(data, runs, tmp_path / "apart")[0]:
        generate(how, run, label, 1, tiny_model, trained, *paths)
    for task, *paths in asked(data, runs, tmp_path / "apart")[1]:
        retain(how, task, label, tiny_model, trained, *paths)

    loads = []
    load_once = build.load_cell
    monkeypatch.setattr(build, "load_cell", lambda *a: loads.append(a) or load_once(*a))
    subject = Subject(how, label, tiny_model, trained)
    assert evaluate(subject, *asked(data, runs, tmp_path / "together")) == len(runs) + 2
    assert len(loads) == 1

    files = sorted(path.name for path in (tmp_path / "apart").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "together").iterdir())
    assert len(files) == 2 * len(runs) + 3
    for name in files:
        one, two = tmp_path / "apart" / name, tmp_path / "together" / name
        if name.endswith(".gz"):
            assert one.read_bytes() == two.read_bytes()
        else:
            first, second = read_record(one), read_record(two)
            assert (first.asked, first.id) == (second.asked, second.id)
            assert first.science == second.science
            assert first.run["code_digest"] == second.run["code_digest"]


@pytest.mark.parametrize("backend", ["fast", "plain"])
def test_runs_that_ask_the_same_share_the_companion(
    tiny_model: Path,
    cell: Path,
    data: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
) -> None:
    """The sampled run has six problems, the greedy one eight, of which two are new, and words
    are asked by no other run."""
    from lora_ledger.inference.backends.plain import PlainModel
    from lora_ledger.inference.language_model import LedgerModel

    raw: dict[str, Any] = yaml.safe_load(SMOKE.read_text("utf-8"))
    raw["compute"]["backend"] = backend
    runs = raw["evaluation"]["generate"]
    runs["code"] |= {"limit": 6}
    runs["greedy"] = {**runs["code"], "limit": 8, "samples": 1, "temperature": 0.0}
    del runs["greedy"]["diversity"]
    for setting in raw["settings"].values():
        if "code" in setting.get("tasks", ()):
            setting["tasks"] += ["greedy"]
    how, names = parse(yaml.safe_dump(raw)), ["code", "greedy", "words"]
    corpora = {**data, "greedy": data["code"]}
    for run, *paths in asked(corpora, names, tmp_path / "apart")[0]:
        generate(how, run, CELL, 1, tiny_model, cell, *paths)

    scored: list[int] = []
    answering = PlainModel if backend == "plain" else LedgerModel
    answer = answering.complete_and_score

    def count(self: Any, requests: Any, references: Any) -> Any:
        asked = zip(requests, references, strict=True)
        scored.append(len({request.doc_id for request, ids in asked if ids}))
        return answer(self, requests, references)

    monkeypatch.setattr(answering, "complete_and_score", count)
    subject = Subject(how, CELL, tiny_model, cell)
    evaluate(subject, asked(corpora, names, tmp_path / "together")[0], [])
    one, greedy = (read_record(tmp_path / f"together/{run}.json").results for run in names[:2])
    assert scored == [6, 2, 8]
    for key in ("nats", "bytes", "tokens"):
        assert greedy["companion"][key][:6] == one["companion"][key]
        assert len(greedy["companion"][key]) == 8
    for run in names:
        apart, together = (
            read_record(tmp_path / where / f"{run}.json") for where in ("apart", "together")
        )
        assert apart.asked == together.asked
        expected = apart.results.pop("companion")
        found = together.results.pop("companion")
        assert found.pop("nats") == pytest.approx(expected.pop("nats"), abs=1e-4)
        assert (found, together.results) == (expected, apart.results)
        rows = [(tmp_path / w / f"{run}.jsonl.gz").read_bytes() for w in ("apart", "together")]
        assert rows[0] == rows[1]


def test_a_diverged_cell_loads_nothing(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    factories.diverged(tmp_path / "cell/record.json", "train", CELL)
    monkeypatch.setattr(build, "hold", lambda *a: pytest.fail("weights were loaded"))
    subject = Subject(load(str(SMOKE)), CELL, tmp_path / "model", tmp_path / "cell")
    assert evaluate(subject, *asked(data, ["code"], tmp_path / "out")) == 3
    records = [read_record(path) for path in (tmp_path / "out").glob("*.json")]
    assert {record.status for record in records} == {"diverged"}
    assert len(records) == 3


def test_what_is_out_of_date_follows_every_evaluation() -> None:
    """The rule's two parameters move with any of them, and with nothing of another cell."""
    before = stage.STAGE.science(study(), {"cell": CELL})
    raw: dict[str, Any] = yaml.safe_load(SMOKE.read_text("utf-8"))
    for section, name, key, value in (
        ("generate", "code", "max_gen_toks", 8),
        ("texts", "general", "kilobytes", 1),
        ("likelihood", "facts", "limit", 4),
    ):
        changed = yaml.safe_load(yaml.safe_dump(raw))
        changed["evaluation"][section][name][key] = value
        after = parse(yaml.safe_dump(changed))
        assert stage.STAGE.science(after, {"cell": CELL}) != before
    changed = yaml.safe_load(yaml.safe_dump(raw))
    changed["evaluation"]["generate"]["words"]["limit"] = 4
    assert stage.STAGE.science(parse(yaml.safe_dump(changed)), {"cell": CELL}) == before


def test_from_the_command_line(
    tiny_model: Path, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--study", str(SMOKE), "--cell", "base", "--model", str(tiny_model)]
    command += ["--retain", "facts", str(data["facts"]), str(tmp_path / "f.json")]
    monkeypatch.setattr(sys, "argv", ["evaluate"])
    assert stage.run_stage(stage.STAGE, "", stage.FLAGS, stage.main, command) == 0
    assert read_record(tmp_path / "f.json").names == {"task": "facts", "cell": "base"}
    assert stage.run_stage(stage.STAGE, "", stage.FLAGS, stage.main, command[:-1]) == 2
