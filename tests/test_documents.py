"""The documents say what the code has: every key with its default, every path, one version."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from lora_ledger import catalogue, methods
from lora_ledger.common.yaml import load
from lora_ledger.methods import recipe
from lora_ledger.study import decisions, derivations, evaluation, schema
from lora_ledger.study.schema import Study

KEYS = Path("config/README.md")
DOCUMENTS = [*Path().glob("*.md"), KEYS, *Path("docs").glob("*.md")]
SECTIONS: dict[str, list[type[BaseModel]]] = {
    "Top level": [schema.Study],
    "compute": [schema.Compute],
    "compute.precision": [schema.Precision],
    "settings.<name>": [schema.Setting],
    "settings.<name>.optimiser": [recipe.Optimiser],
    "settings.<name>.schedule": [recipe.Schedule],
    "methods.<name>": [*methods.KINDS],
    "budgets.<name>": [schema.Budget],
    "evaluation": [evaluation.Evaluation],
    "evaluation.generate.<name>": [evaluation.TaskRun],
    "evaluation.texts.<name>": [evaluation.RetainText],
    "evaluation.likelihood.<name>": [evaluation.LikelihoodTask],
    "evaluation.prompts.<name>": [evaluation.Prompts],
    "evaluation.memorised.<name>": [evaluation.Memorised],
    "evaluation.spectrum": [evaluation.Spectrum],
    "decisions.<name>": [decisions.Decision],
    "decisions.<name>.cells": [decisions.Methods],
    "decisions.<name>.cells.rank": [decisions.Bounds],
    "decisions.<name>.where": [decisions.Where],
    "others.<name>": [schema.Other],
    "derived": [derivations.Derivations],
    "derived.rewound": [derivations.Rewound],
    "derived.intruders": [derivations.Intruders],
    "derived.random": [derivations.RandomUpdate],
    "Which trained cells": [derivations.Selection],
    "contamination": [schema.Permission],
    "catalogue.<name>, of type model": [catalogue.ModelEntry],
    "catalogue.<name>.tokens": [catalogue.TokenRoles],
    "catalogue.<name>, of type corpus": [catalogue.CorpusEntry],
    "catalogue.<name>.splits.<name>": [catalogue.Split],
    "Sources of kind local": [catalogue.LocalSource],
    "Sources of kind url": [catalogue.UrlSource],
    "Sources of kind hub": [catalogue.HubSource],
    "Sources of kind hub: stream": [catalogue.HubStream],
    "Sources of kind wheel": [catalogue.WheelSource],
    "Sources of kind trained": [catalogue.TrainedSource],
    "Sources of kind generated": [catalogue.GeneratedSource],
}


def tables() -> dict[str, dict[str, list[str]]]:
    """Heading → key → the cells after it: type, default, meaning, example."""
    found: dict[str, dict[str, list[str]]] = {}
    heading = ""
    for line in KEYS.read_text("utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("#").strip().replace("&lt;", "<").replace("&gt;", ">")
        elif line.startswith("| `"):
            cells = [c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            rows = found.setdefault(heading, {})
            assert cells[0].strip("`") not in rows, line
            rows[cells[0].strip("`")] = cells[1:]
    return found


def value(cell: str) -> Any:
    """What a cell in backticks is as YAML in a study."""
    assert re.fullmatch(r"`[^`]+`", cell), cell
    return load(cell.strip("`"))


def all_names(node: Any) -> set[str]:
    """Every property name in a JSON schema, at any depth."""
    if isinstance(node, list):
        return set().union(*map(all_names, node))
    if not isinstance(node, dict):
        return set()
    inner = set().union(*map(all_names, node.values()))
    return inner | set(node["properties"]) if isinstance(node.get("properties"), dict) else inner


def test_every_key_of_the_schema_is_in_some_table() -> None:
    written = {key for rows in tables().values() for key in rows}
    assert all_names(Study.model_json_schema()) == written


def test_the_sections_cover_every_model_of_the_schema() -> None:
    models = {model.__name__ for group in SECTIONS.values() for model in group}
    assert models == {"Study", *Study.model_json_schema()["$defs"]}
    assert set(tables()) == set(SECTIONS)


@pytest.mark.parametrize("heading", SECTIONS)
def test_each_table_has_the_keys_the_defaults_and_valid_examples(heading: str) -> None:
    fields: dict[str, FieldInfo] = {}
    for model in reversed(SECTIONS[heading]):
        fields |= {field.alias or key: field for key, field in model.model_fields.items()}
    rows = tables()[heading]
    assert set(rows) == set(fields)
    for key, (_, default, _, example) in rows.items():
        field = fields[key]
        found = field.get_default(call_default_factory=True)
        if heading == "methods.<name>" and key == "kind":
            kinds = [kind.model_fields["kind"].annotation for kind in methods.KINDS]
            assert value(example) in [name for kind in kinds for name in get_args(kind)]
            continue
        if found is PydanticUndefined:
            assert default == "required", key
        elif found is None:
            assert default == "none", key
        elif isinstance(found, BaseModel):
            assert default == "see there", key
        elif found in ((), {}, []):
            assert default == "empty", key
        else:
            assert value(default) == to_jsonable_python(found), key
        typed: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])
        typed.validate_json(json.dumps(value(example)), strict=True)


def unfenced(path: Path) -> str:
    return re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_and_paths_exist(document: Path) -> None:
    text = unfenced(document)
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text)
    absent = [link for link in links if not (document.parent / link).exists()]
    assert not absent, "links are relative to their document"
    named = re.findall(r"`([\w./-]+\.(?:py|yaml|md|smk))`", text)
    places = [Path(), document.parent, Path("src/lora_ledger")]
    assert not [path for path in named if not any((p / path).exists() for p in places)]


def test_examples_of_the_study_file_are_valid(tmp_path: Path) -> None:
    """The fenced examples of the keys' document, the later ones joined to the first."""
    fenced = re.findall(r"^```yaml\n(.*?)^```", KEYS.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    smallest, several, arms, own, source = (load(text) for text in fenced)
    own["catalogue"]["my-model"]["source"]["path"] = str(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(study_config()), "utf-8")
    from lora_ledger.study.file import parse

    assert parse(json.dumps(smallest)).name == "mine"
    assert set(parse(json.dumps({**smallest, **arms})).methods) == {"ia3", "vera", "prefix"}
    assert parse(json.dumps({**smallest, **own})).corpus_entry("my-notes").content == "text"
    model = smallest.pop("model")
    entry = catalogue.entries()[model].model_dump(mode="json")
    bases = {"catalogue": dict.fromkeys(several["models"], entry)}
    study = parse(json.dumps({**smallest, **several, **bases}))
    assert study.models_of("code") == tuple(several["models"])
    assert catalogue.TrainedSource.model_validate(source["source"]).study == "my-pretraining"


def study_config() -> dict[str, object]:
    """A config.json of a model folder."""
    entry = catalogue.entries()["tiny-random-llama"]
    assert isinstance(entry, catalogue.ModelEntry)
    return dict(entry.config)


def test_citation_has_the_version_of_the_package() -> None:
    import tomllib

    cited = yaml.safe_load(Path("CITATION.cff").read_text("utf-8"))
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    assert str(cited["version"]) == project["version"]
    assert cited["license"] == project["license"]
    assert cited["title"] == project["name"]
    assert len(cited["references"]) == 4
