"""Several models in one study: which cell stands on which, and what does not go together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lora_ledger.catalogue import entries
from lora_ledger.scheduling import resources, staleness
from lora_ledger.scheduling.planning import plan
from lora_ledger.study import cells, sources
from lora_ledger.study.file import StudyError, parse
from lora_ledger.study.schema import Study

SMOKE: dict[str, Any] = yaml.safe_load(Path("config/smoke.yaml").read_text("utf-8"))
ENTRY = entries()["tiny-random-llama"].model_dump(mode="json")
WIDE = {**ENTRY, "config": {**ENTRY["config"], "intermediate_size": 4096}}
OF_SEED = {1: "one", 2: "two"}


def study(settings: Mapping[str, Any] | None = None, **changes: Any) -> Study:
    """`smoke` on two bases, the second of them wider; `settings`: keys to add to them."""
    raw = {key: value for key, value in json.loads(json.dumps(SMOKE)).items() if key != "model"}
    raw |= {"models": ["one", "two"], "seeds": [1, 2], "catalogue": {"one": ENTRY, "two": WIDE}}
    for name, more in (settings or {}).items():
        raw["settings"][name] |= more
    return parse(json.dumps(raw | changes))


def models(found: Study, setting: str) -> set[tuple[int, str | None]]:
    return {(cell.seed, cell.model) for cell in cells.cells(found) if cell.setting == setting}


def test_every_seed_on_every_model_unless_the_study_says_otherwise() -> None:
    every = {(1, "one"), (2, "one"), (1, "two"), (2, "two")}
    assert models(study(), "repair") == every
    assert models(study(model_of_seed=OF_SEED), "repair") == {(1, "one"), (2, "two")}
    own = study({"repair": {"model": "two"}}, model_of_seed=OF_SEED)
    assert models(own, "repair") == {(1, "two"), (2, "two")}
    assert models(own, "math-ift") == {(1, "one"), (2, "two")}


def test_cells_bases_and_packed_data_have_the_model_in_their_paths() -> None:
    found = study({"repair": {"model": "two"}}, model_of_seed=OF_SEED)
    labels = cells.labels(found)
    assert labels[:2] == ["base/one", "base/two"]
    assert "one/code-cpt/full/tokens/s1" in labels
    assert "two/code-cpt/full/tokens/s2" in labels
    assert not [label for label in labels if label.startswith("one/repair")]
    assert list(cells.packed(found)) == [
        "one/code-cpt", "two/code-cpt", "one/math-ift", "two/math-ift", "two/repair",
    ]  # fmt: skip
    assert cells.base_of(found, "two/code-cpt/full/tokens/s2") == "base/two"
    assert cells.folder(found, "base/two") == ""
    records = cells.records(found)
    assert "packed/two/repair/record" in records
    assert "retain/general/base/two" in records
    assert "select/code-cpt/full" in records
    assert list(sources.sources(found))[:2] == ["one.source", "two.source"]


def test_one_model_in_a_list_is_one_model() -> None:
    """Its paths and digests are those of `model`."""
    one = study(models=["one"])
    assert cells.labels(one)[0] == "base"
    assert {cell.model for cell in cells.cells(one)} == {None}
    plain = study(models=[], model="one")
    names = {"setting": "code-cpt", "method": "full", "budget": "tokens", "seed": "1"}
    digests = [staleness.science(s, "train", **names) for s in (one, plain)]
    assert digests[0] == digests[1]


def test_the_digest_of_packed_data_is_of_its_own_models_tokens() -> None:
    tokens = {**ENTRY["tokens"], "separator": "<|end|>"}
    found = study(catalogue={"one": ENTRY, "two": {**WIDE, "tokens": tokens}})
    one, two = (
        staleness.science(found, "prepare", setting="repair", model=name) for name in ("one", "two")
    )
    assert one != two
    label = {name: cells.tokens(found, f"base/{name}").separator for name in ("one", "two")}
    assert label == {"one": "<|endoftext|>", "two": "<|end|>"}


def test_memory_is_of_the_largest_model_of_a_setting(tmp_path: Path) -> None:
    found = study({"repair": {"model": "one"}})
    narrow, wide = (resources.train_mb(found, name, "full") for name in ("repair", "code-cpt"))
    assert wide - narrow > 4 * 2 * 3 * 64 * (4096 - 128) * 4 / 2**20 - 1
    jobs = plan(found, tmp_path).jobs
    assert jobs["fetch"] == (0, 2 + len(sources.corpora(found)))
    assert jobs["prepare"] == (0, 5)
    assert jobs["tune"] == (0, 4)


BAD: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "no model": ({"models": []}, {}, ["model: found None", "or several in models"]),
    "both": ({"model": "one"}, {}, ["model: found {'model': 'one'", "or several in models"]),
    "an unknown one": (
        {"models": ["one", "tow"]}, {}, ["models: found 'tow'", "did you mean 'two'"],
    ),
    "the same twice": ({"models": ["one", "one"]}, {}, ["models: found", "models that differ"]),
    "a reserved name": (
        {"models": ["one", "base"], "catalogue": {"one": ENTRY, "base": ENTRY}},
        {},
        ["models: found 'base'", "a name that is not base, other"],
    ),
    "a seed without a model": (
        {"model_of_seed": {1: "one"}}, {}, ["model_of_seed: found [1]", "each of seeds: 1, 2"],
    ),
    "seeds with models where there is one": (
        {"models": ["one"], "model_of_seed": {1: "one", 2: "one"}},
        {},
        ["model_of_seed: found {1: 'one'", "several models"],
    ),
    "more models than seeds": (
        {"models": ["one", "two", "tiny-random-llama"], "model_of_seed": OF_SEED},
        {},
        ["models: found 'tiny-random-llama'", "a setting or model_of_seed names"],
    ),
    "a seed with an unknown model": (
        {"model_of_seed": {1: "one", 2: "tow"}},
        {},
        ["model_of_seed.2: found 'tow'", "one of models: one, two", "did you mean 'two'"],
    ),
    "a setting with an unknown model": (
        {},
        {"repair": {"model": "oen"}},
        ["settings.repair.model: found 'oen'", "did you mean 'one'"],
    ),
    "a setting with another model than the study's one": (
        {"models": [], "model": "one"},
        {"repair": {"model": "two"}},
        ["settings.repair.model: found 'two'", "the study's model: one"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "settings", "words"), BAD.values(), ids=BAD)
def test_models_that_do_not_go_together(
    changes: dict[str, Any], settings: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(StudyError) as error:
        study(settings, **changes)
    for word in words:
        assert word in str(error.value)
