"""Measures: one quantity, measured on the same units for the base model and for trained cells.

In: `Evidence`.
Out: `Measure`s, whose series are sums to be divided (nats in bits over bytes, hits over items), and
the intervals over them: a level, a paired change, a change beyond another arm's.
It formats nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from lora_ledger.analysis.statistics import (
    Array,
    Interval,
    Resampling,
    bootstrap_ratio,
    paired_ratio,
    paired_stratified_ratio,
    stratified_ratio,
    wilson,
)
from lora_ledger.study.cells import BASE, is_base
from lora_ledger.study.regimes import REGIMES

from .evidence import Evidence, EvidenceError

T = TypeVar("T")
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
    """`after` by cell label; `before` likewise, or the base's one series for all. Of several models
    `before` has the bases' own series too, by their labels.

    `chances`: what guessing gives on each unit, if it can be guessed. `share`: units are right or
    wrong. `strata`: the task of each unit, where the value is the mean of the tasks' values, each
    task weighing the same; the ids then begin with `<task>/`. `run`: the key of the evaluation that
    the units come from. `note`: what is to be known of it beside the numbers.
    """

    name: str
    units: str
    digits: int
    after: Mapping[str, Series]
    before: Mapping[str, Series]
    groups: tuple[str, ...] | None = None
    chances: tuple[float, ...] | None = None
    share: bool = False
    strata: tuple[str, ...] | None = None
    run: str = ""
    note: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        """The units; none where nothing was measured."""
        return next((s.ids for s in (*self.before.values(), *self.after.values())), ())

    @property
    def chance(self) -> float | None:
        """The value of guessing, if there is one."""
        if not self.chances:
            return None
        return float(np.mean([np.mean(part) for part in self.by_stratum(self.chances)]))

    def by_stratum(self, values: Array | Sequence[float]) -> list[Array]:
        """A value for each unit, by stratum; all of them where there are none."""
        found = np.asarray(values, dtype=np.float64)
        if self.strata is None:
            return [found]
        names = np.asarray(self.strata)
        return [found[names == name] for name in dict.fromkeys(self.strata)]

    def value(self, series: Series) -> float:
        """The measure's value from a series."""
        parts = zip(self.by_stratum(series.numer), self.by_stratum(series.denom), strict=True)
        ratios = [
            float(top.sum()) / size if (size := float(low.sum())) else math.nan
            for top, low in parts
        ]
        return math.fsum(ratios) / len(ratios)

    @property
    def base(self) -> Series | None:
        return self.before.get(BASE)

    @property
    def bases(self) -> dict[str, Series]:
        """The series of the untouched models, by their labels."""
        return {label: series for label, series in self.before.items() if is_base(label)}

    def before_of(self, label: str) -> Series | None:
        return self.before.get(label, self.base)

    def befores(self, labels: Sequence[str]) -> list[Series]:
        """What the cells are held against: one series where it is the same for all, else one for
        each; none where one of them has none."""
        found = [self.before_of(label) for label in labels]
        known = [series for series in found if series is not None]
        if len(known) < len(found):
            return []
        return known[:1] if all(series is known[0] for series in known) else known


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
    units = REGIMES[evidence.study.settings[setting].regime].resampled
    return Measure("validation, bits per byte", units, 3, after, before) if after else None


def target_scores(evidence: Evidence, run: str, labels: Sequence[str]) -> list[Measure]:
    """Metrics and the companion of a generation run, for the base and those of `labels` that have
    records."""
    held = evidence.of_run("score", run)
    wanted = (*evidence.bases(labels), *labels)
    records = {label: held[label].results for label in wanted if label in held}
    if not records:
        return []
    measures = []
    first = next(iter(records.values()))
    groups = clusters(first)
    units = "groups of problems" if groups else "problems"
    note = asked(next(held[label].science.settings for label in records))
    for metric in first["metrics"]:
        series = {label: mean_of(r["ids"], r["metrics"][metric]) for label, r in records.items()}
        measures.append(
            against_base(
                evidence, f"{run}, {metric}", units, series, groups, share=True, run=run, note=note
            )
        )
    if all((r.get("companion") or {}).get("bytes") for r in records.values()):
        series = {
            label: bits_per_byte(r["ids"], r["companion"]["nats"], r["companion"]["bytes"])
            for label, r in records.items()
        }
        name = f"{run}, reference, bits per byte"
        measures.append(against_base(evidence, name, units, series, groups, run=run, note=note))
    return measures


ROWS = {
    "same rows": "same rows as upstream",
    "rebuilt rows": "rebuilt rows",
    "other text": "other text than upstream's",
    "own task": "own task",
}


def asked(settings: Mapping[str, Any]) -> str:
    """Few-shot count of a task as a record has it, and what its rows are of upstream's."""
    shots = settings.get("num_fewshot")
    equals = ROWS.get(str((settings.get("task") or {}).get("equals", "")), "")
    return "; ".join(filter(None, ["" if shots is None else f"{shots}-shot", equals]))


SAME = "none differs"


def clusters(found: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The group of each unit (a template, a country); None where no two units share one."""
    groups = tuple(map(str, found.get("groups") or ()))
    return groups if len(set(groups)) < len(groups) else None


def against_base(
    evidence: Evidence,
    name: str,
    units: str,
    series: Mapping[str, Series],
    groups: tuple[str, ...] | None = None,
    chances: tuple[float, ...] | None = None,
    *,
    share: bool = False,
    strata: tuple[str, ...] | None = None,
    run: str = "",
    note: str = "",
) -> Measure:
    """A measure paired with the series of each cell's base; raises EvidenceError when the units
    differ."""
    for label, other in series.items():
        first = next(iter(series))
        if other.ids != series[first].ids:
            raise EvidenceError(
                f"{name}: found other units for {label} than for {first}, expected the same ones; "
                "evaluate both again with the same study"
            )
    before = {label: found for label, found in series.items() if is_base(label)}
    after = {label: found for label, found in series.items() if not is_base(label)}
    if BASE not in before:
        own = {label: before.get(evidence.base(label)) for label in after}
        before |= {label: found for label, found in own.items() if found is not None}
    return Measure(name, units, 3, after, before, groups, chances, share, strata, run, note)


def without(measure: Measure, dirty: Collection[str], name: str) -> Measure:
    """The measure under another name, on the units whose ids are not in `dirty`."""
    keep = [i for i, one in enumerate(measure.ids) if one not in dirty]

    def kept(series: Series) -> Series:
        return Series(measure_ids, series.numer[keep], series.denom[keep])

    def some(values: tuple[T, ...] | None) -> tuple[T, ...] | None:
        return None if values is None else tuple(values[i] for i in keep)

    measure_ids = tuple(measure.ids[i] for i in keep)
    return replace(
        measure,
        name=name,
        after={label: kept(series) for label, series in measure.after.items()},
        before={label: kept(series) for label, series in measure.before.items()},
        groups=some(measure.groups),
        chances=some(measure.chances),
        strata=some(measure.strata),
    )


def resampling(evidence: Evidence, units: str) -> Resampling:
    """The study's number of resamples and confidence."""
    evaluation = evidence.study.evaluation
    return Resampling(units, evaluation.bootstrap, evaluation.confidence)


def blocked(evidence: Evidence, how: Resampling, labels: Sequence[str]) -> Resampling:
    """With the model that each cell stands on as a block, where these cells stand on several."""
    models = [evidence.model(label) for label in labels]
    return replace(how, blocks=tuple(map(str, models))) if len(set(models)) > 1 else how


def level(measure: Measure, series: Sequence[Series], how: Resampling) -> Interval:
    """Interval of one arm's value, its seeds crossed with the units.

    Where a share is 0 or 1 throughout, or every unit is right or wrong, a bootstrap says too
    little, and Wilson's interval stands in its place; over groups, only where all units agree, and
    then each group counts once.
    """
    if measure.strata is not None:
        return stratified_ratio(*_stacked(series), measure.strata, how, measure.groups)
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


def what_was_resampled(level_units: str, change_units: str) -> str:
    """Where the level's interval resampled nothing, the change's still did."""
    if level_units.startswith("none"):
        return f"{change_units}; after: Wilson"
    return level_units


def change(
    measure: Measure, after: Sequence[Series], before: Sequence[Series], how: Resampling
) -> Interval | str:
    """Interval of the paired change from `before` to `after`.

    Where no unit of a share differs, resampling would give an interval of no width and look
    certain; then a word says so.
    """
    if measure.share and np.array_equal(_stacked(after)[0], _stacked(before)[0]):
        return SAME
    if measure.strata is not None:
        return paired_stratified_ratio(
            _stacked(after), _stacked(before), measure.strata, how, measure.groups
        )
    return paired_ratio(_stacked(after), _stacked(before), how, measure.groups)


def _stacked(series: Sequence[Series]) -> tuple[Array, Array]:
    return np.stack([s.numer for s in series]), np.stack([s.denom for s in series])


def at_chance(measure: Measure) -> bool:
    """Whether the base, or one of several, lies within two standard errors of guessing.

    That of a share is sqrt(c (1 - c) / n) at the chance c; over H strata it is the square root of
    the sum of their squares, divided by H.
    """
    return any(guesses(measure, base) for base in measure.bases.values())


def guesses(measure: Measure, base: Series) -> bool:
    """Whether a base lies so near to guessing; see `at_chance`."""
    if measure.chances is None or len(base.numer) < 2:
        return False
    squares = []
    for values, guess in zip(
        measure.by_stratum(base.numer), measure.by_stratum(measure.chances), strict=True
    ):
        chance = float(guess.mean())
        spread = chance * (1 - chance) if measure.share else float(values.var(ddof=1))
        squares.append(spread / len(values))
    error = math.sqrt(sum(squares)) / len(squares)
    assert measure.chance is not None
    return abs(measure.value(base) - measure.chance) <= 2 * error
