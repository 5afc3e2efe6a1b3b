"""What each job's outcome depends on, as the two parameters that say whether it is out of date.

In: a validated `Study`, a stage's name, and the job's wildcards.
Out: the digest of the stage's code, and the digest of the part of study and catalogue that the
stage reads; both are the stage's own facts. Nothing here runs a job.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import import_module
from pathlib import Path

from lora_ledger.study.cells import Cell, cells, evaluations
from lora_ledger.study.rates import selected_rate, selection
from lora_ledger.study.schema import Study

from .stage import Stage

STAGES = Path(__file__).parents[1] / "stages"


def names() -> list[str]:
    """The stages: the files of the folder `stages` that have no underscore in front."""
    return sorted(path.stem for path in STAGES.glob("*.py") if not path.stem.startswith("_"))


@cache
def stage(name: str) -> Stage:
    """The facts of a stage; raises ValueError for a name that is none."""
    if name not in names():
        raise ValueError(f"stage: found {name!r}, expected one of {', '.join(names())}")
    found: Stage = import_module(f"lora_ledger.stages.{name}").STAGE
    return found


def science(study: Study, name: str, **wildcards: str) -> str:
    """Digest of what a job's stage reads from the study and the catalogue.

    `wildcards` are the job's names: model, corpus, other, setting, method, budget, seed, run,
    task, cell.
    """
    return stage(name).science(study, wildcards)


def code(study: Study, name: str, **wildcards: str) -> str:
    """Digest of the code that a job runs, with the modules that it finds by a name."""
    return stage(name).code(study, wildcards)


def rate_so_far(study: Study, out: Path, setting: str, method: str) -> dict[str, str]:
    """{"rate"} that the record of the cell's selection holds; empty where none has been written.

    `out` is the study's folder of results. A record that cannot be read counts as none.
    """
    chosen = selection(study, setting, method)
    if chosen is None:
        return {}
    try:
        record = json.loads((out / "select" / chosen[0] / f"{chosen[1]}.json").read_text("utf-8"))
        rate = float(record["science"]["results"]["learning_rate"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {"rate": repr(selected_rate(study, setting, method, rate))}


def training(study: Study, out: Path, names: dict[str, str]) -> str:
    """`science` of a training job, with the rate that the cell's selection has chosen so far."""
    rate = {} if "rate" in names else rate_so_far(study, out, names["setting"], names["method"])
    return science(study, "train", **names, **rate)


def trained_as_asked(study: Study, out: Path, names: dict[str, str]) -> bool:
    """Whether the cell in `out` was trained by today's code at the rate that is selected today.

    Its record and its weights are there, and the record holds both digests of today.
    """
    rate = names.get("rate")
    cell = Cell(
        names["setting"],
        names["method"],
        names["budget"],
        int(names["seed"]),
        names.get("model"),
        None if rate is None else float(rate),
    )
    folder = out / "train" / cell.label
    try:
        run = json.loads((folder / "record.json").read_text("utf-8"))["run"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    told = (run.get("code_digest"), run.get("stage_digest"))
    asked = (code(study, "train", **names), training(study, out, names))
    whole = not study.keep_weights or (folder / study.methods[cell.method].artefact).is_dir()
    return told == asked and whole


def without_weights(study: Study, out: Path, cell: Cell) -> bool:
    """Whether a cell was trained, and its weights were not kept."""
    folder = out / "train" / cell.label
    kept = (folder / study.methods[cell.method].artefact).is_dir()
    return (folder / "record.json").is_file() and not kept


def to_train_again(study: Study, out: Path) -> list[str]:
    """The labels of cells that are asked something new and have no weights any more."""
    return [
        cell.label
        for cell in cells(study)
        if without_weights(study, out, cell)
        and not all((out / f"{path}.json").is_file() for path in evaluations(study, cell.label))
    ]
