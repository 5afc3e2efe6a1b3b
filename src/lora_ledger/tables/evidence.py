"""The records of a study, put in their places.

In: a `Study` and the paths of records, in any order.
Out: `Evidence`: each record by its stage and by the names that stand in it, all of them the
study's. A path says nothing. It reads records only and computes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_ledger.common.errors import nearest
from lora_ledger.records.record import Input, Record, read_record
from lora_ledger.study.cells import (
    OTHER,
    Cell,
    base_of,
    bases,
    cells,
    labels,
    packed,
    retained,
    weights_of,
)
from lora_ledger.study.rates import selected_rate, selection
from lora_ledger.study.schema import Study

Pair = tuple[str, str]


class EvidenceError(ValueError):
    """A record that does not belong to the study, or does not fit the others."""


@dataclass(frozen=True)
class Evidence:
    """`train` and `spectrum` are keyed by cell, `prepare` by packed data, `subspaces` by setting,
    `select` by (setting, method), `contaminate` by (corpus of a setting, run), all others by (run,
    cell): a run is a key of the study's `evaluation`.
    """

    study: Study
    cells: tuple[Cell, ...]
    train: dict[str, Record] = field(default_factory=dict)
    prepare: dict[str, Record] = field(default_factory=dict)
    generate: dict[Pair, Record] = field(default_factory=dict)
    retain: dict[Pair, Record] = field(default_factory=dict)
    score: dict[Pair, Record] = field(default_factory=dict)
    diversity: dict[Pair, Record] = field(default_factory=dict)
    select: dict[Pair, Record] = field(default_factory=dict)
    contaminate: dict[Pair, Record] = field(default_factory=dict)
    spectrum: dict[str, Record] = field(default_factory=dict)
    subspaces: dict[str, Record] = field(default_factory=dict)

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

    def bases(self, found: Iterable[str]) -> list[str]:
        """The untouched models that these cells are held against; of no cell all of them."""
        return list(dict.fromkeys(self.base(label) for label in found)) or bases(self.study)

    def base(self, label: str) -> str:
        """The untouched model that a cell is held against."""
        return base_of(self.study, label)

    def model(self, label: str) -> str | None:
        """The model of a trained cell, or of what is made from one, where the study has several."""
        found = weights_of(self.study, label)
        return found.model if found else None

    def diverged(self, label: str) -> bool:
        return label in self.train and self.train[label].status == "diverged"

    def of_run(self, stage: str, run: str) -> dict[str, Record]:
        """The records of a stage on one run that have results, by cell, the base first."""
        held: dict[Pair, Record] = getattr(self, stage)
        found = {x: held[run, x] for x in labels(self.study) if (run, x) in held}
        return {label: record for label, record in found.items() if record.results}

    def has(self, stage: str, run: str, label: str) -> bool:
        """Whether there is a record of a stage on one run of one cell that has results."""
        held: dict[Pair, Record] = getattr(self, stage)
        return (run, label) in held and bool(held[run, label].results)

    def every(self) -> list[Record]:
        """All records, whatever they stand under."""
        return [record for stage in STAGES for record in getattr(self, stage).values()]

    def ids(self) -> dict[str, Input]:
        """Both hashes of every record, for the inputs of what is made from them."""
        return {
            f"{stage}/{key if isinstance(key, str) else '/'.join(key)}": record.input
            for stage in STAGES
            for key, record in getattr(self, stage).items()
        }


STAGES = (
    "train", "prepare", "generate", "retain", "score", "diversity", "select", "contaminate",
    "spectrum", "subspaces",
)  # fmt: skip


def gather(study: Study, records: Iterable[Path]) -> Evidence:
    """Read and place records.

    Raises EvidenceError naming the file that fits nowhere, stands for what another one stands for,
    or was trained at another rate than the one that was selected.
    """
    places = _places(study)
    found: dict[str, dict[Any, Record]] = {stage: {} for stage in STAGES}
    where: dict[tuple[str, str], Path] = {}
    for path in records:
        record = read_record(path)
        if record.stage not in places:
            raise EvidenceError(
                f"{path}: found a record of {record.stage}, expected one of "
                f"{', '.join(places)}; leave the file out"
            )
        name = _name(record)
        known = places[record.stage]
        if name not in known:
            near = nearest(name, list(known))
            hint = f"; did you mean {near!r}?" if near else ""
            raise EvidenceError(
                f"{path}: found {record.stage} of {name!r}, expected one of the study "
                f"{study.name!r}{hint}; leave the file out or run the stage again"
            )
        first = where.setdefault((record.stage, name), path)
        if known[name] in found[record.stage]:
            raise EvidenceError(
                f"{path}: found a second record for {record.stage} of {name!r}, expected one; "
                f"the first is {first}: leave one of them out"
            )
        found[record.stage][known[name]] = record
    evidence = Evidence(study, tuple(cells(study)), **found)
    _check_rates(evidence, where)
    return evidence


def _places(study: Study) -> dict[str, dict[str, str | Pair]]:
    """By stage, the names that a record may have and the keys that they are put under."""
    every, runs = labels(study), list(study.evaluation.generate)
    corpora = dict.fromkeys(setting.corpus for setting in study.settings.values())

    def by_run(names: Iterable[str]) -> dict[str, str | Pair]:
        return {f"{run}/{label}": (run, label) for run in names for label in every}

    generated = by_run(runs)
    return {
        "train": {cell.label: cell.label for cell in cells(study)},
        "prepare": {name: name for name in packed(study)},
        "generate": generated,
        "retain": by_run(retained(study)),
        "score": generated,
        "diversity": generated,
        "spectrum": {label: label for label in every},
        "subspaces": {setting: setting for setting in study.settings},
        "select": {f"{s}/{m}": (s, m) for s in study.settings for m in study.methods},
        "contaminate": {
            f"{corpus}/{run}": (corpus, run)
            for corpus in corpora
            for run in (*runs, *study.evaluation.likelihood)
        },
    }


def _name(record: Record) -> str:
    """The record's names as one: `<run>/<cell>` where a cell is evaluated."""
    if record.stage in ("generate", "retain", "score", "diversity"):
        run = record.names.get("run") or record.names.get("task")
        return f"{run}/{record.cell}"
    return record.cell


def _check_rates(evidence: Evidence, where: dict[tuple[str, str], Path]) -> None:
    """Refuse a cell that was trained before a selection changed."""
    study = evidence.study
    for cell in evidence.cells:
        chosen = selection(study, cell.setting, cell.method)
        if cell.label not in evidence.train or chosen is None or chosen not in evidence.select:
            continue
        rate = evidence.select[chosen].results.get("learning_rate")
        if rate is not None:
            rate = selected_rate(study, cell.setting, cell.method, rate)
        trained = evidence.train[cell.label].results.get("learning_rate")
        if not _same(trained, rate):
            raise EvidenceError(
                f"{where['train', cell.label]}: found {cell.label} trained at the learning rate "
                f"{_shown(trained)}, expected {_shown(rate)}, by the choice of "
                f"{where['select', '/'.join(chosen)]}; give the same command again: it trains "
                "those cells"
            )


def _same(one: float | None, other: float | None) -> bool:
    """Whether two rates are one, but for the last digits of a product."""
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-9)


def _shown(rate: float | None) -> str:
    return "none (every rate diverged)" if rate is None else f"{rate:g}"
