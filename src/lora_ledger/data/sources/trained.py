"""A source that a study of this project trained: the folder of one of its cells.

In: a study's cell, whose results lie below `results/`, or a folder with `model/` and
`record.json`; and the hash that it must have. Out: the folder, its record, both checked. It knows
no study file: whether the study has such a cell is for `study.models` to say.
"""

from __future__ import annotations

import json
from pathlib import Path

from lora_ledger.catalogue import TrainedSource
from lora_ledger.common.errors import KeyProblem
from lora_ledger.records.record import Record, digest_file, read_record

from .cache import SourceError

RESULTS = Path("results")
WEIGHTS = "model.safetensors"


def folder(source: TrainedSource) -> Path:
    """Where the cell lies, there or not."""
    if source.folder:
        return Path(source.folder).expanduser()
    return RESULTS / source.study / "train" / source.cell


def config(source: TrainedSource) -> dict[str, object]:
    """config.json of the trained model; empty where it is not there."""
    path = folder(source) / "model/config.json"
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def check(source: TrainedSource, where: str = "") -> Record | None:
    """The record, if it is there. Raises KeyProblem, with `where` before the key, for one that is
    none of a training, that diverged or left an adapter, or has another hash than the entry."""
    path = folder(source) / "record.json"
    if not path.is_file():
        return None
    key = f"{where}{'folder' if source.folder else 'cell'}"
    named = source.folder or source.cell
    record = read_record(path)
    weights = record.results.get("weights") or {}
    if record.stage != "train":
        raise KeyProblem(key, named, f"a trained cell ({path} is a record of {record.stage})")
    if record.status == "diverged":
        raise KeyProblem(key, named, f"a cell that did not diverge, as {path} says of this one")
    if (path.parent / "adapter").is_dir():
        raise KeyProblem(
            key,
            named,
            "a cell with a model of its own (this one left an adapter: merge it into its base, "
            "save that with save_pretrained, and name the folder as a model of format folder)",
        )
    for name, found, wanted in (
        ("id", record.id, source.id),
        ("sha256", weights.get("sha256"), source.sha256),
    ):
        if wanted is not None and found != wanted:
            raise KeyProblem(f"{where}{name}", wanted, f"{found}, which is that of {path}")
    return record


def record_of(source: TrainedSource) -> Record:
    """The cell's record, checked; SourceError where it is not there."""
    record = check(source)
    if record is None:
        raise SourceError(f"{folder(source)} has no record.json; {remedy(source)}")
    return record


def locate(source: TrainedSource) -> Path:
    """The folder of the model. Raises SourceError where it is not there, with what trains it."""
    record_of(source)
    found = folder(source) / "model"
    if not (found / WEIGHTS).is_file():
        raise SourceError(f"{found} has no weights: they were not kept; {remedy(source)}")
    return found


def remedy(source: TrainedSource) -> str:
    """How the weights come to be there."""
    if source.folder:
        return "bring the folder of the cell there, with model/ and record.json"
    return f"train it, with `keep_weights: true` in that study: {command(source)}"


def command(source: TrainedSource) -> str:
    """What trains the cell and nothing that is asked of it."""
    return f"snakemake {folder(source)}/record.json --config study={source.study}"


def obtain(source: TrainedSource) -> Path:
    """The folder of the model, its weights hashed. Raises SourceError for others than recorded."""
    found = locate(source)
    wanted = (record_of(source).results.get("weights") or {}).get("sha256")
    have = digest_file(found / WEIGHTS)
    if have != wanted:
        raise SourceError(
            f"{found / WEIGHTS}: found sha256 {have}, expected {wanted}, as its record has it; "
            f"{remedy(source)}"
        )
    return found
