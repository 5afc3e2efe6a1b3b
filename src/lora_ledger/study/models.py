"""What is known of a study's models before one is loaded, and bases that other studies made.

In: catalogue entries, the config.json of local folders, and the studies whose cells are named as
bases. Out: configs, windows, the cell behind a base, and a KeyProblem for a base that cannot be
one. It fetches nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from lora_ledger.catalogue import LocalSource, ModelEntry, TrainedSource
from lora_ledger.common import yaml
from lora_ledger.common.errors import KeyProblem, require
from lora_ledger.data.sources import trained

from . import cells
from .schema import Study

CONFIG = Path("config")


def model_config(entry: ModelEntry) -> dict[str, Any]:
    """config.json of a local folder or of a trained cell, or what is known of it without one: what
    the catalogue says, and of a cell's what is known of the model that it was trained from."""
    source = entry.source
    if isinstance(source, TrainedSource):
        return trained.config(source) or dict(entry.config) or _config_of_origin(source)
    if entry.format == "folder" and isinstance(source, LocalSource):
        found = folder_config(Path(source.path))
        if not found:
            raise KeyProblem("source.path", source.path, "a model folder with config.json")
        return found
    return dict(entry.config)


def _config_of_origin(source: TrainedSource) -> dict[str, Any]:
    """Training changes no shape."""
    if source.folder:
        raise KeyProblem("folder", source.folder, "a folder with model/config.json")
    study, cell = origin(source)
    return model_config(study.model_entry(cell.model))


def folder_config(folder: Path) -> dict[str, Any]:
    """config.json of a folder; empty where it has none, as an adapter's."""
    path = folder.expanduser() / "config.json"
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def positions(config: Mapping[str, Any]) -> int | None:
    """The positions that a config.json gives, or None where it does not say."""
    found = config.get("max_position_embeddings")
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def origin(source: TrainedSource, where: str = "") -> tuple[Study, cells.Cell]:
    """The study that trains a base, and the cell that it is.

    Raises KeyProblem, with `where` before the key, for a study or cell that is not there, and a
    cell that leaves no model.
    """
    require(
        f"{where}study",
        source.study,
        sorted(path.stem for path in CONFIG.glob("*.yaml")),
        f"a study in {CONFIG}",
    )
    path = CONFIG / f"{source.study}.yaml"
    try:
        study = _read(path, path.stat().st_mtime_ns)
    except ValueError as error:
        said = " ".join(str(error).split())
        raise KeyProblem(
            f"{where}study", source.study, f"a study that can be run; {path}: {said}"
        ) from error
    if study.name != source.study:
        raise KeyProblem(
            f"{where}study", source.study, f"a study whose name is its file's (it is {study.name})"
        )
    labels = [cell.label for cell in cells.cells(study)]
    require(f"{where}cell", source.cell, labels, f"a cell of {source.study}")
    cell = cells.cell(study, source.cell)
    assert cell is not None
    if study.methods[cell.method].artefact != "model":
        whole = [c.label for c in cells.cells(study) if study.methods[c.method].artefact == "model"]
        raise KeyProblem(
            f"{where}cell",
            source.cell,
            f"a cell that leaves a model ({cell.method} leaves an adapter: merge it into its base, "
            "save that with save_pretrained, and name the folder as a model of format folder); of "
            f"{source.study} these do: {', '.join(whole) or 'none'}",
        )
    return study, cell


@lru_cache(maxsize=32)
def _read(path: Path, changed: int) -> Study:
    """A study by its schema alone, read once as long as its file is as old as `changed` says: what
    else is to be checked of it is said where it is run."""
    return Study.model_validate_json(json.dumps(yaml.read(path)), strict=True)


def check_base(study: Study, name: str) -> None:
    """Refuse a base that another study does not make, that was made as another one, or that is to
    be trained from itself."""
    where = f"catalogue.{name}.source."
    chain = [study.name]
    entry = study.model_entry(name)
    if isinstance(entry.source, TrainedSource):
        trained.check(entry.source, where)
    while isinstance(entry.source, TrainedSource) and entry.source.study:
        chain.append(entry.source.study)
        if chain[-1] in chain[:-1]:
            raise KeyProblem(
                f"{where}study",
                entry.source.study,
                f"a base that does not need itself: {' → '.join(chain)}",
            )
        made, cell = origin(entry.source, where)
        entry = made.model_entry(cell.model)
