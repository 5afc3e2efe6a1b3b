"""The points of the dot plots: accuracies with their intervals and what guessing gives.

In: `Evidence`.
Out: plain values for the figures `forgetting-gauntlet`, in a study that names a `gauntlet_mean`,
and `benchmarks`, in a study without settings.
It draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from lora_ledger.study.cells import BASE, Cell

from .arms import Arm, external, trained
from .evidence import Evidence
from .measures import Measure, Series, at_chance, level, resampling, target_scores
from .retention import GAUNTLET, PER_TOKEN, gauntlet, general, members

FORGETTING_GAUNTLET = "forgetting-gauntlet"
BENCHMARKS = "benchmarks"


def dots(evidence: Evidence) -> dict[str, list[dict[str, Any]]]:
    """By figure, its measures, each with its arms' [estimate, low, high].

    Of several seeds the mean stands for all; a diverged arm has no value.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    if evidence.study.evaluation.gauntlet_mean:
        both = (*gauntlet(evidence), *members(evidence))
        found[FORGETTING_GAUNTLET] = [_dots(evidence, m) for m in both]
    if not evidence.study.settings:
        found[BENCHMARKS] = [_dots(evidence, m) for m in _accuracies(evidence)]
    return found


def _accuracies(evidence: Evidence) -> Iterator[Measure]:
    """Every share of right answers: of generations, then of choices and continuations."""
    others = list(evidence.others.values())
    for run in evidence.study.evaluation.generate:
        yield from (m for m in target_scores(evidence, run, others) if m.share)
    yield from (m for m in general(evidence) if m.share)


def _dots(evidence: Evidence, measure: Measure) -> dict[str, Any]:
    how = resampling(evidence, measure.units)

    def value(series: list[Series]) -> list[float] | None:
        found = level(measure, series, how) if series else None
        return [found.estimate, found.low, found.high] if found else None

    rows: list[dict[str, Any]] = []
    if measure.base:
        rows.append({"kind": "base", "method": BASE, "value": value([measure.base])})
    cells = [c for c in evidence.cells if c.label in measure.after or evidence.diverged(c.label)]
    for arm in (*_last(evidence, cells), *external(evidence, measure.after)):
        rows.append(
            {
                "kind": "cell" if arm.cells else "other",
                "setting": arm.setting,
                **arm.named,
                "value": value([measure.after[x] for x in arm.labels if x in measure.after]),
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
        key = (arm.setting, arm.named["method"], arm.named["budget"])
        if key not in families or not evidence.diverged(arm.labels[0]):
            families[key] = arm
    yield from families.values()
