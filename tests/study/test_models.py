"""Bases that other studies made: what is known of them, what is refused, what a plan says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny_study
from lora_ledger.catalogue import ModelEntry, entries
from lora_ledger.cli.plan import lines
from lora_ledger.data.sources import SourceError, check_available
from lora_ledger.scheduling.planning import bases, plan
from lora_ledger.study import sources
from lora_ledger.study.file import StudyError, load
from lora_ledger.study.models import model_config
from made_records import write_record

LABEL = "cpt/full/short/s1"
SHA = "ab" * 32
Put = Callable[..., str]


def base(**source: Any) -> dict[str, Any]:
    """An entry for a base; without keys the cell that `origin` trains."""
    given = source or {"study": "origin", "cell": LABEL, "sha256": SHA}
    entry = entries()["tiny-random-llama"].model_dump(mode="json")
    return {
        **{key: entry[key] for key in ("type", "title", "base", "tokens", "licence", "citation")},
        "format": "trained",
        "source": {"kind": "trained", **given},
    }


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the study `origin` in its `config/`."""
    monkeypatch.chdir(tmp_path)
    write("origin")
    return tmp_path


def write(name: str, **changes: Any) -> None:
    path = Path(f"config/{name}.yaml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({**tiny_study.STUDY, "name": name, **changes}), "utf-8")


def on_base(entry: dict[str, Any], name: str = "tiny") -> None:
    """A study whose model is the base of the entry."""
    catalogue = {**tiny_study.STUDY["catalogue"], "grown": entry}
    write(name, model="grown", catalogue=catalogue)


def put(
    folder: str = f"results/origin/train/{LABEL}",
    *,
    stage: str = "train",
    status: Any = "complete",
    artefact: str = "model",
    sha256: str = SHA,
) -> str:
    """A cell's record and an artefact without weights; returns the record's id."""
    (Path(folder) / artefact).mkdir(parents=True)
    return write_record(
        Path(folder) / "record.json", stage=stage, version=1, cell=LABEL, names={}, inputs={},
        asks={}, settings={}, results={"weights": {"sha256": sha256, "bytes": 1}}, run={},
        status=status,
    ).id  # fmt: skip


def refused(*words: str) -> None:
    with pytest.raises(StudyError) as error:
        load("tiny")
    for word in ("catalogue.grown.source.", *words):
        assert word in str(error.value)


def test_a_base_that_is_not_trained_yet_has_the_shapes_of_its_own_base() -> None:
    on_base(base())
    entry = load("tiny").model_entry()
    wanted = entries()["tiny-random-llama"]
    assert isinstance(wanted, ModelEntry)
    assert model_config(entry) == wanted.config


def test_the_config_of_a_trained_base_is_its_own() -> None:
    put("grown/cell")
    config = {**model_config(load("origin").model_entry()), "rope_theta": 7.0}
    Path("grown/cell/model/config.json").write_text(json.dumps(config), "utf-8")
    on_base(base(folder="grown/cell", sha256=SHA))
    assert model_config(load("tiny").model_entry())["rope_theta"] == 7.0


def test_a_study_that_is_not_there() -> None:
    on_base(base(study="orgin", cell=LABEL, sha256=SHA))
    refused("source.study", "found 'orgin'", "origin, tiny", "did you mean 'origin'")


def test_a_cell_that_the_study_lacks() -> None:
    on_base(base(study="origin", cell="cpt/full/shrt/s1", sha256=SHA))
    refused("source.cell", "found 'cpt/full/shrt/s1'", f"did you mean '{LABEL}'")


def test_an_adapter_is_no_base() -> None:
    on_base(base(study="origin", cell="cpt/lora/short/s1", sha256=SHA))
    refused("source.cell", "lora leaves an adapter", "merge it", LABEL)
    put("grown", artefact="adapter")
    on_base(base(folder="grown", sha256=SHA))
    refused("source.folder", "left an adapter", "merge it")


def test_a_base_that_diverged() -> None:
    on_base(base())
    put(status="diverged")
    refused("source.cell", f"found '{LABEL}'", "did not diverge")


def test_a_record_that_is_of_no_training() -> None:
    on_base(base())
    put(stage="fetch")
    refused("source.cell", "a record of fetch")


def test_other_weights_and_another_record() -> None:
    made = put()
    on_base(base(study="origin", cell=LABEL, sha256="cd" * 32))
    refused("source.sha256", f"found '{'cd' * 32}'", f"expected {SHA}", "record.json")
    on_base(base(study="origin", cell=LABEL, id="0" * 16))
    refused("source.id", f"found '{'0' * 16}'", f"expected {made}")
    on_base(base(study="origin", cell=LABEL, id=made, sha256=SHA))
    assert load("tiny").model == "grown"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"study": "origin", "cell": LABEL}, ["source.id", "the weights' sha256"]),
        ({"study": "origin", "id": "0" * 16}, ["source.cell", "study and cell"]),
        ({"folder": "a", "study": "origin", "id": "0" * 16}, ["source.folder", "nothing beside"]),
        ({"folder": "a", "id": "0" * 15}, ["source.id", "[0-9a-f]{16}"]),
    ],
)
def test_a_source_that_says_too_little_or_too_much(
    source: dict[str, str], words: list[str]
) -> None:
    on_base(base(**source))
    refused(*words)


def test_format_and_source_go_together() -> None:
    on_base({**base(), "format": "folder"})
    with pytest.raises(StudyError, match=r"catalogue\.grown\.format: found 'folder', .*trained"):
        load("tiny")


def test_bases_in_a_circle() -> None:
    on_base(base(study="tiny", cell=LABEL, sha256=SHA), "origin")
    on_base(base())
    refused("source.study", "does not need itself: tiny → origin → tiny")


def test_a_study_of_bases_that_cannot_be_run() -> None:
    write("origin", seeds=[])
    on_base(base())
    refused("source.study", "a study that can be run", "seeds")


def test_the_plan_says_what_is_to_be_trained_first(here: Path) -> None:
    """A base on a base: the deepest first; nothing once the weights lie where they should."""
    (here / "nowhere.jsonl").touch()
    write("first")
    on_base(base(study="first", cell=LABEL, sha256=SHA), "origin")
    on_base(base())
    study, out = load("tiny"), Path("results/tiny")
    found = bases(study, out)
    assert [one.what for one in found] == [f"{LABEL} of the study {s}" for s in ("first", "origin")]
    each = study.methods["full"].flops_per_token(model_config(study.model_entry()), 32)
    assert [(one.tokens, one.flops) for one in found] == [(600, 600 * each)] * 2
    text = "\n".join(lines(plan(study, out), "tiny", False))
    assert f"grown is {LABEL} of the study origin, which is not there, 600 tokens" in text
    assert f"snakemake results/first/train/{LABEL}/record.json --config study=first" in text
    assert "keep_weights: true" in text
    with pytest.raises(SourceError, match=r"grown\.source: results/origin/.* has no record\.json"):
        check_available(sources.sources(study, out))
    put()
    assert [one.name for one in bases(study, out)] == ["grown", "grown"], "no weights are there"
    with pytest.raises(SourceError, match="has no weights: they were not kept"):
        check_available(sources.sources(study, out))
    Path(f"results/origin/train/{LABEL}/model/model.safetensors").write_bytes(b"w")
    assert bases(study, out) == []
    assert check_available(sources.sources(study, out)) == []


def test_a_folder_that_is_not_there_is_brought() -> None:
    config = model_config(load("origin").model_entry())
    on_base({**base(folder="pins/one", sha256=SHA), "config": config})
    found = bases(load("tiny"), Path("results/tiny"))
    assert [(one.what, one.tokens) for one in found] == [("pins/one", None)]
    assert "with model/ and record.json" in found[0].remedy
