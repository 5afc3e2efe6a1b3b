"""The records of a study, put in their places.

In: a `Study` and the paths of records.
Out: `Evidence`: records by cell, by (run, cell), by (setting, method) and by (corpus, run), each
known to the study. It reads records only and computes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_ledger.common.errors import nearest
from lora_ledger.records.record import Input, Record, read_record
from lora_ledger.study.cells import OTHER, Cell, cells, labels
from lora_ledger.study.schema import Study


class EvidenceError(ValueError):
    """A record that does not belong to the study, or does not fit the others."""


@dataclass(frozen=True)
class Evidence:
    """`score` and `diversity` are keyed (run of `evaluation.generate`, cell label).

    `contaminate` is keyed (corpus of a setting, key of `evaluation.generate` or `likelihood`).
    """

    study: Study
    cells: tuple[Cell, ...]
    train: dict[str, Record]
    retain: dict[str, Record]
    score: dict[tuple[str, str], Record]
    diversity: dict[tuple[str, str], Record]
    select: dict[tuple[str, str], Record]
    contaminate: dict[tuple[str, str], Record]

    def of_setting(self, setting: str) -> list[Cell]:
        """The setting's cells that have a training record, in the study's order."""
        return [c for c in self.cells if c.setting == setting and c.label in self.train]

    def of_corpus(self, corpus: str) -> list[Cell]:
        """The cells that are trained on a corpus, in the study's order."""
        return [c for c in self.cells if self.study.settings[c.setting].corpus == corpus]

    @property
    def corpora(self) -> list[str]:
        """The corpora that the settings train on, each once."""
        return list(dict.fromkeys(s.corpus for s in self.study.settings.values()))

    @property
    def others(self) -> dict[str, str]:
        """The labels of somebody else's models by their names."""
        return {name: f"{OTHER}/{name}" for name in self.study.others}

    def diverged(self, label: str) -> bool:
        return label in self.train and self.train[label].status == "diverged"

    def ids(self) -> dict[str, Input]:
        """Both hashes of every record, for the inputs of what is made from them."""
        found = {f"train/{label}": record.input for label, record in self.train.items()}
        found |= {f"retain/{label}": record.input for label, record in self.retain.items()}
        for stage, records in (
            ("score", self.score),
            ("diversity", self.diversity),
            ("select", self.select),
            ("contaminate", self.contaminate),
        ):
            found |= {f"{stage}/{a}/{b}": record.input for (a, b), record in records.items()}
        return found


def gather(
    study: Study,
    *,
    train: Sequence[Path] = (),
    retain: Sequence[Path] = (),
    score: Sequence[Path] = (),
    diversity: Sequence[Path] = (),
    select: Sequence[Path] = (),
    contaminate: Sequence[Path] = (),
) -> Evidence:
    """Read and place records; raises EvidenceError naming the file that fits nowhere."""
    known = tuple(cells(study))
    trained, all_labels = [c.label for c in known], labels(study)
    pairs = {f"{s}/{m}": (s, m) for s in study.settings for m in study.methods}
    runs = list(study.evaluation.generate)

    def place(path: Path, names: Sequence[str], what: str, label: str) -> str:
        if label not in names:
            near = nearest(label, names)
            hint = f"; did you mean {near!r}?" if near else ""
            raise EvidenceError(
                f"{path}: found the {what} {label!r}, expected one of the study {study.name!r}"
                f"{hint}; leave the file out or run the stage again"
            )
        return label

    def by_cell(paths: Sequence[Path], stage: str, names: Sequence[str]) -> dict[str, Record]:
        found = [(path, _read(path, stage)) for path in paths]
        return {place(path, names, "cell", record.cell): record for path, record in found}

    def by_run(paths: Sequence[Path], stage: str) -> dict[tuple[str, str], Record]:
        found: dict[tuple[str, str], Record] = {}
        for path in paths:
            record = _read(path, stage)
            label = place(path, all_labels, "cell", record.cell)
            found[place(path, runs, "run", _run_of(path, record, runs)), label] = record
        return found

    selected: dict[tuple[str, str], Record] = {}
    for path in select:
        record = _read(path, "select")
        name = record.cell if record.cell in pairs else f"{path.parent.name}/{path.stem}"
        selected[pairs[place(path, list(pairs), "setting and method", name)]] = record
    sets = [*runs, *study.evaluation.likelihood]
    overlaps = {
        f"{setting.corpus}/{run}": (setting.corpus, run)
        for setting in study.settings.values()
        for run in sets
    }
    contaminated: dict[tuple[str, str], Record] = {}
    for path in contaminate:
        record = _read(path, "contaminate")
        name = place(path, list(overlaps), "corpus and run", record.cell)
        contaminated[overlaps[name]] = record
    return Evidence(
        study,
        known,
        by_cell(train, "train", trained),
        by_cell(retain, "retain", all_labels),
        by_run(score, "score"),
        by_run(diversity, "diversity"),
        selected,
        contaminated,
    )


def _read(path: Path, stage: str) -> Record:
    record = read_record(path)
    if record.stage != stage:
        raise EvidenceError(f"{path}: found a record of {record.stage}, expected one of {stage}")
    return record


def _run_of(path: Path, record: Record, runs: Sequence[str]) -> str:
    """The run's name from the settings, else the folder above `<cell>.json`."""
    for key in ("run", "name"):
        if record.science.settings.get(key) in runs:
            return str(record.science.settings[key])
    return path.parents[record.cell.count("/")].name
