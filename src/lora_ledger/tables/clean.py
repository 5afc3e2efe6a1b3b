"""Measures on the units that do not overlap with the corpus of a setting.

In: `Evidence` with contaminate records, and a measure.
Out: the same measure without the dirty units, and notes of the pairs that may overlap.
It finds no overlap; the stage `contaminate` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .evidence import Evidence
from .measures import Measure, without

CLEAN = (
    "clean subset: without the items whose question stands in the setting's corpus, whole or by 13 "
    "words in a row"
)


@dataclass(frozen=True)
class Clean:
    """`measure` is None where it has no clean unit, or one of its tasks has none: `absent`."""

    name: str
    measure: Measure | None
    absent: str = ""


def dirty(evidence: Evidence, corpus: str, measure: Measure) -> frozenset[str]:
    """The ids among the measure's units that overlap with the corpus."""

    def of(run: str) -> list[str]:
        record = evidence.contaminate.get((corpus, run))
        return [str(one) for one in record.results.get("dirty") or ()] if record else []

    if measure.strata is None:
        found = of(measure.run)
    else:
        found = [f"{run}/{one}" for run in dict.fromkeys(measure.strata) for one in of(run)]
    return frozenset(found).intersection(measure.ids)


def clean(evidence: Evidence, corpus: str, measure: Measure) -> Clean | None:
    """The measure on the units that do not overlap; None where all do not."""
    found = dirty(evidence, corpus, measure)
    if not found:
        return None
    total = len(measure.ids)
    word = "problems" if "problems" in measure.units else "items"
    name = f"{measure.name}, clean subset ({total - len(found)} of {total} {word})"
    left = without(measure, found, name)
    if measure.strata is not None:
        gone = [run for run in dict.fromkeys(measure.strata) if run not in (left.strata or ())]
        if gone:
            return Clean(name, None, f"no clean item is left in {', '.join(gone)}")
    return Clean(name, left) if left.ids else Clean(name, None, "no clean item is left")


def permitted(evidence: Evidence, runs: Iterable[str]) -> list[str]:
    """A note for each pair of corpus and run that the study lets pass, with its reason."""
    wanted = set(runs)
    notes = []
    for (corpus, run), record in evidence.contaminate.items():
        reason = record.science.settings.get("permitted")
        if run in wanted and reason:
            stops = ", ".join(stop["measure"] for stop in record.results["stops"])
            by = f", which would stop by {stops}" if stops else ""
            notes.append(f"contamination: permitted pair {corpus} and {run}{by}: {reason}")
    return notes
