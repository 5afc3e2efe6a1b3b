"""The points of the figures, as plain values.

In: `Evidence`.
Out: `plane`: what each cell learned and forgot, for `learning-forgetting`. `intervals`: accuracies
with what guessing gives, for `forgetting-gauntlet`, in a study that names a `gauntlet_mean`, and
`benchmarks`, in a study without settings. `diverged`: the cells that have no point.
It draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lora_ledger.study.cells import Cell

from .arms import Arm, external, named_base, trained
from .evidence import Evidence
from .measures import (
    Measure,
    Series,
    at_chance,
    blocked,
    change,
    level,
    resampling,
    target_scores,
    validation,
)
from .retention import GAUNTLET, PER_TOKEN, gauntlet, members, retention, texts

FORGETTING_GAUNTLET = "forgetting-gauntlet"
BENCHMARKS = "benchmarks"


def plane(evidence: Evidence) -> list[dict[str, Any]]:
    """For each complete cell: change of target loss, and of each general text, in bits per byte."""
    measured = texts(evidence)
    found = []
    for setting, facts in evidence.study.settings.items():
        target = validation(evidence, setting)
        for cell in evidence.of_setting(setting):
            series = target.after.get(cell.label) if target else None
            if target is None or series is None:
                continue
            before = target.before_of(cell.label)
            sides = {
                m.run: _change(evidence, m, s, base)
                for m in measured
                if (s := m.after.get(cell.label)) and (base := m.before_of(cell.label))
            }
            found.append(
                {
                    "setting": setting,
                    "role": facts.role,
                    "method": cell.method,
                    "budget": cell.budget,
                    **({"model": cell.model} if cell.model else {}),
                    "rate": cell.rate,
                    "seed": cell.seed,
                    "target": _change(evidence, target, series, before),
                    "texts": sides,
                }
            )
    return found


def diverged(evidence: Evidence) -> dict[str, list[str]]:
    """By setting, the cells that diverged, as `method budget s<seed>`, with their model where there
    are several."""
    found: dict[str, list[str]] = {}
    for cell in evidence.cells:
        if evidence.diverged(cell.label):
            rate = "" if cell.rate is None else f" {cell.rate:g}"
            model = "" if cell.model is None else f" {cell.model}"
            name = f"{cell.method}{model} {cell.budget}{rate} s{cell.seed}"
            found.setdefault(cell.setting, []).append(name)
    return found


def _change(
    evidence: Evidence, measure: Measure, after: Series, before: Series | None
) -> list[float]:
    """[estimate, low, high]."""
    assert before is not None
    found = change(measure, [after], [before], resampling(evidence, measure.units))
    assert not isinstance(found, str), "a loss has an interval"
    return [found.estimate, found.low, found.high]


def intervals(evidence: Evidence) -> dict[str, list[dict[str, Any]]]:
    """By figure, its measures, each with its arms' [estimate, low, high].

    Of several seeds the mean stands for all; a diverged arm has no value.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    if evidence.study.evaluation.gauntlet_mean:
        both = (*gauntlet(evidence), *members(evidence))
        found[FORGETTING_GAUNTLET] = [_with_rows(evidence, m) for m in both]
    if not evidence.study.settings:
        found[BENCHMARKS] = [_with_rows(evidence, m) for m in _accuracies(evidence)]
    return found


def _accuracies(evidence: Evidence) -> Iterator[Measure]:
    """Every share of right answers: of generations, then of choices and continuations."""
    others = list(evidence.others.values())
    for run in evidence.study.evaluation.generate:
        yield from (m for m in target_scores(evidence, run, others) if m.share)
    yield from (m for m in retention(evidence) if m.share)


def _with_rows(evidence: Evidence, measure: Measure) -> dict[str, Any]:
    how = resampling(evidence, measure.units)

    def value(series: list[Series], labels: Sequence[str] = ()) -> list[float] | None:
        found = level(measure, series, blocked(evidence, how, labels)) if series else None
        return [found.estimate, found.low, found.high] if found else None

    rows: list[dict[str, Any]] = [
        {"kind": "base", **named_base(evidence, label), "value": value([base])}
        for label, base in measure.bases.items()
    ]
    cells = [c for c in evidence.cells if c.label in measure.after or evidence.diverged(c.label)]
    for arm in (*_last(evidence, cells), *external(evidence, measure.after)):
        labels = [label for label in arm.labels if label in measure.after]
        rows.append(
            {
                "kind": "cell" if arm.cells else "other",
                "setting": arm.setting,
                **arm.named,
                "value": value([measure.after[label] for label in labels], labels),
            }
        )
    mean = measure.strata is not None
    name = measure.name.removesuffix(f", {PER_TOKEN}") if mean else measure.name
    return {
        "run": GAUNTLET if mean else measure.run,
        "what": name.removeprefix(f"{measure.run}, "),
        "mean": mean,
        "note": measure.note,
        "chance": measure.chance,
        "at_chance": at_chance(measure),
        "rows": rows,
    }


def _last(evidence: Evidence, cells: Iterable[Cell]) -> Iterator[Arm]:
    """Of arms that differ in their seeds alone the mean, or else the last one that is alive."""
    families: dict[tuple[object, ...], Arm] = {}
    for arm in trained(evidence, cells):
        model = None if evidence.study.model_of_seed else arm.named.get("model")
        key = (arm.setting, model, *(arm.named.get(name) for name in ("method", "budget", "lr")))
        if key not in families or not evidence.diverged(arm.labels[0]):
            families[key] = arm
    yield from families.values()
