"""Measures: one quantity, measured on the same units for the base model and for trained cells.

In: `Evidence`.
Out: `Measure`s, whose series are sums to be divided (nats in bits over bytes, hits over items), and
the intervals over them: a level, a paired change, a change beyond another arm's.
It formats nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..plan import BASE, Cell
from ..records import Record
from ..statistics import Array, Interval, Resampling, bootstrap_ratio, paired_ratio, wilson
from .evidence import Evidence, EvidenceError

BITS_PER_NAT = 1 / math.log(2)


@dataclass(frozen=True)
class Series:
    """A numerator and a denominator for each unit, under the unit's id."""

    ids: tuple[str, ...]
    numer: Array
    denom: Array

    @property
    def ratio(self) -> float:
        total = float(self.denom.sum())
        return float(self.numer.sum()) / total if total else math.nan


@dataclass(frozen=True)
class Measure:
    """`after` by cell label; `before` likewise, or the base's one series for all.

    `chance`: the value of guessing, if there is one. `share`: units are right or wrong.
    """

    name: str
    units: str
    digits: int
    after: Mapping[str, Series]
    before: Mapping[str, Series]
    groups: tuple[str, ...] | None = None
    chance: float | None = None
    share: bool = False

    @property
    def base(self) -> Series | None:
        return self.before.get(BASE)

    def before_of(self, label: str) -> Series | None:
        return self.before.get(label, self.base)


def bits_per_byte(ids: Sequence[object], nats: Sequence[float], size: Sequence[int]) -> Series:
    """Bits per byte as a ratio of sums, so that long texts weigh by their length."""
    return Series(
        tuple(map(str, ids)),
        np.asarray(nats, dtype=np.float64) * BITS_PER_NAT,
        np.asarray(size, dtype=np.float64),
    )


def mean_of(ids: Sequence[object], values: Sequence[float]) -> Series:
    """A mean over units."""
    numer = np.asarray(values, dtype=np.float64)
    return Series(tuple(map(str, ids)), numer, np.ones_like(numer))


def validation(evidence: Evidence, setting: str) -> Measure | None:
    """Target loss on the validation split, before and after each cell's training."""
    before, after = {}, {}
    for cell in evidence.of_setting(setting):
        found = evidence.train[cell.label].results.get("validation")
        if found and not evidence.diverged(cell.label):
            ids = range(len(found["bytes"]))
            before[cell.label] = bits_per_byte(ids, found["start"], found["bytes"])
            after[cell.label] = bits_per_byte(ids, found["end"], found["bytes"])
    units = "blocks" if evidence.study.settings[setting].regime == "cpt" else "examples"
    return Measure("validation, bits per byte", units, 3, after, before) if after else None


def target_scores(evidence: Evidence, setting: str) -> list[Measure]:
    """Metrics and the companion of every generation run that the setting's cells have."""
    labels = [cell.label for cell in evidence.of_setting(setting)]
    measures = []
    for run in evidence.study.evaluation.generate:
        mine = [label for label in labels if (run, label) in evidence.score]
        records = {
            label: evidence.score[run, label].results
            for label in (BASE, *mine)
            if (run, label) in evidence.score and evidence.score[run, label].results
        }
        if not mine or not records:
            continue
        first = next(iter(records.values()))
        groups = clusters(first)
        units = "groups of problems" if groups else "problems"
        for metric in first["metrics"]:
            series = {
                label: mean_of(r["ids"], r["metrics"][metric]) for label, r in records.items()
            }
            measures.append(_against_base(f"{run}, {metric}", units, series, groups, share=True))
        if all((r.get("companion") or {}).get("bytes") for r in records.values()):
            series = {
                label: bits_per_byte(r["ids"], r["companion"]["nats"], r["companion"]["bytes"])
                for label, r in records.items()
            }
            name = f"{run}, reference, bits per byte"
            measures.append(_against_base(name, units, series, groups))
    return measures


def general(evidence: Evidence) -> list[Measure]:
    """What `retain` measured: bits per byte of texts, then multiple choice."""
    records = {
        label: evidence.retain[label].results
        for label in (BASE, *(c.label for c in evidence.cells))
        if label in evidence.retain and evidence.retain[label].results
    }
    return [*_texts(records), *_choices(records)]


SAME = "none differs"


def clusters(found: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The group of each unit (a template, a country); None where no two units share one."""
    groups = tuple(map(str, found.get("groups") or ()))
    return groups if len(set(groups)) < len(groups) else None


def _texts(records: Mapping[str, Mapping[str, Any]]) -> list[Measure]:
    measures = []
    for name in _names(records, "texts"):
        series = {
            label: bits_per_byte(t["documents"], t["nats"], t["bytes"])
            for label, results in records.items()
            if (t := results["texts"].get(name))
        }
        groups = clusters(next(r["texts"][name] for r in records.values() if name in r["texts"]))
        units = "groups of documents" if groups else "documents"
        measures.append(_against_base(f"{name}, bits per byte", units, series, groups))
    return measures


def _choices(records: Mapping[str, Mapping[str, Any]]) -> list[Measure]:
    measures = []
    for name in _names(records, "choices"):
        found = {
            label: results["choices"][name]
            for label, results in records.items()
            if name in results["choices"]
        }
        for key, heading in (
            ("acc", "accuracy"),
            ("acc_norm", "accuracy, length-normalised"),
            ("cross_entropy", "cross-entropy in nats"),
        ):
            series = {label: mean_of(c["items"], c[key]) for label, c in found.items() if key in c}
            if series:
                options = _options(next(iter(found.values())))
                groups = clusters(next(iter(found.values())))
                units = "groups of items" if groups else "items"
                share = key != "cross_entropy"
                chance = float(np.mean(1 / options if share else np.log(options)))
                measures.append(
                    _against_base(f"{name}, {heading}", units, series, groups, chance, share)
                )
    return measures


def _options(choices: Mapping[str, Any]) -> Array:
    """Choices of each item; without them in the record, as many as the golden answers show."""
    own = choices.get("options")
    return np.asarray(own or [max(choices["gold"], default=0) + 1], dtype=np.float64)


def _names(records: Mapping[str, Mapping[str, Any]], kind: str) -> list[str]:
    return list(dict.fromkeys(name for results in records.values() for name in results[kind]))


def _against_base(
    name: str,
    units: str,
    series: dict[str, Series],
    groups: tuple[str, ...] | None = None,
    chance: float | None = None,
    share: bool = False,
) -> Measure:
    """A measure paired with the base's series; raises EvidenceError when the units differ."""
    for label, other in series.items():
        first = next(iter(series))
        if other.ids != series[first].ids:
            raise EvidenceError(
                f"{name}: found other units for {label} than for {first}, expected the same ones; "
                "evaluate both again with the same study"
            )
    before = {BASE: series[BASE]} if BASE in series else {}
    after = {label: found for label, found in series.items() if label != BASE}
    return Measure(name, units, 3, after, before, groups, chance, share)


def resampling(evidence: Evidence, units: str) -> Resampling:
    """The study's number of resamples and confidence."""
    evaluation = evidence.study.evaluation
    return Resampling(units, evaluation.bootstrap, evaluation.confidence)


def level(measure: Measure, series: Sequence[Series], how: Resampling) -> Interval:
    """Interval of one arm's value, its seeds crossed with the units.

    Where a share is 0 or 1 throughout, or every unit is right or wrong, a bootstrap says too
    little, and Wilson's interval stands in its place; over groups, only where all units agree, and
    then each group counts once.
    """
    only = series[0].numer
    values = set(np.unique(only))
    if measure.share and len(series) == 1 and values <= {0.0, 1.0}:
        said = f"none: Wilson, {how.what}"
        if measure.groups is None:
            return wilson(float(only.sum()), len(only), how.confidence, said)
        if len(values) == 1:
            n = len(set(measure.groups))
            return wilson(float(only[0]) * n, n, how.confidence, said)
    numer, denom = _stacked(series)
    return bootstrap_ratio(numer, denom, how, measure.groups)


def change(
    measure: Measure, after: Sequence[Series], before: Sequence[Series], how: Resampling
) -> Interval | str:
    """Interval of the paired change from `before` to `after`.

    Where no unit of a share differs, resampling would give an interval of no width and look
    certain; then a word says so.
    """
    if measure.share and np.array_equal(_stacked(after)[0], _stacked(before)[0]):
        return SAME
    return paired_ratio(_stacked(after), _stacked(before), how, measure.groups)


def _stacked(series: Sequence[Series]) -> tuple[Array, Array]:
    return np.stack([s.numer for s in series]), np.stack([s.denom for s in series])


def at_chance(measure: Measure) -> bool:
    """Whether the base lies within two standard errors of guessing."""
    if measure.base is None or measure.chance is None or len(measure.base.numer) < 2:
        return False
    values = measure.base.numer
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    if measure.share:
        error = math.sqrt(measure.chance * (1 - measure.chance) / len(values))
    return abs(measure.base.ratio - measure.chance) <= 2 * error


def control_of(evidence: Evidence, cell: Cell) -> Cell | None:
    """The repair control to hold a cell against: same budget and seed, the method most alike.

    Most alike: the same method, else the same kind with the nearest rank.
    """
    study = evidence.study
    found = [
        other
        for other in evidence.cells
        if study.settings[other.setting].role == "control"
        and (other.budget, other.seed) == (cell.budget, cell.seed)
        and study.methods[other.method].kind == study.methods[cell.method].kind
        and other.label in evidence.retain
        and evidence.retain[other.label].results
    ]

    def distance(other: Cell) -> tuple[bool, float]:
        ranks = [getattr(study.methods[c.method], "rank", 1) for c in (cell, other)]
        return other.method != cell.method, abs(math.log(ranks[0] / ranks[1]))

    return min(found, key=distance, default=None)


def rate_note(evidence: Evidence, cell: Cell, record: Record) -> str:
    """The learning rate and how it was come by."""
    study = evidence.study
    rate = record.results.get("learning_rate")
    number = f"{rate:.1e}".replace("e-0", "e-").replace(".0e", "e") if rate else "rate unknown"
    at = study.methods[cell.method].at
    own = study.rates_of(cell.setting, cell.method)
    if at and not own:
        return f"{number}, at {at}"
    if len(own) == 1:
        return f"{number}, one rate, not tuned"
    chosen = evidence.select.get((cell.setting, cell.method))
    if chosen is None:
        return f"{number}, no selection given"
    return f"{number}, {'on edge, not tuned' if chosen.results.get('on_edge') else 'tuned'}"
