"""The table of forgetting: what each cell lost of the source domain.

In: `Evidence` and what `retain` measured.
Out: a `Table`: one section for each measure, with base, targets, repair controls and somebody
else's models side by side, and after it the subset without a corpus's items. Diverged cells keep
their row and say so.
It judges nothing: intervals stand beside each other and no verdict is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from lora_ledger.study.cells import BASE, Cell, retained

from .arms import (
    DIVERGED,
    Arm,
    columns_of_arms,
    derived_note,
    external,
    external_note,
    named_base,
    trained,
    with_derived,
)
from .beside_base import beside_base_notes
from .clean import CLEAN, clean, permitted
from .document import UNITS, Column, Section, Table, Value
from .evidence import Evidence
from .measures import Measure, blocked, change, guesses, level, resampling, what_was_resampled
from .notes import cut
from .retention import gauntlet_note, memorised_notes, retention


def forgetting(evidence: Evidence, notes: tuple[str, ...], interval: str) -> Table:
    """General text, choices and continuations: base, targets, controls and others side by side."""
    study = evidence.study
    controlled = any(s.role == "control" for s in study.settings.values())
    beyond = (
        Column("beyond", f"beyond the control [{interval}]", signed=True, right=True),
        Column("control", "its control"),
    )
    columns = (
        Column("setting", "setting"),
        *columns_of_arms(evidence),
        Column("value", f"value [{interval}]", right=True),
        Column("change", f"change against base [{interval}]", signed=True, right=True),
        *(beyond if controlled else ()),
        *UNITS,
    )
    sections = []
    for measure in retention(evidence):
        known = [
            c for c in evidence.cells if c.label in measure.after or evidence.diverged(c.label)
        ]
        arms = [*_shown(evidence, measure, known), *external(evidence, measure.after)]
        sections.append(_forgotten(evidence, measure, arms))
        for corpus in evidence.corpora:
            left = clean(evidence, corpus, measure)
            mine = [c for c in known if c in evidence.of_corpus(corpus)]
            if left and left.measure:
                arms = list(_shown(evidence, left.measure, mine))
                sections.append(_forgotten(evidence, left.measure, arms, f"corpus: {corpus}"))
            elif left:
                keys = {"measure": left.name, "note": f"corpus: {corpus}"}
                row: dict[str, Value] = {"setting": "all", "value": left.absent, "n": 0}
                sections.append(Section(keys, (row,)))
    extra = _forgetting_notes(evidence, controlled, sections)
    return Table("forgetting", "What was forgotten", (*notes, *extra), columns, tuple(sections))


def _shown(evidence: Evidence, measure: Measure, known: Sequence[Cell]) -> Iterator[Arm]:
    """The arms of these cells, with what is made from them and was measured."""
    for arm in with_derived(evidence, trained(evidence, known)):
        if not arm.derived or arm.labels[0] in measure.after:
            yield arm


def _forgetting_notes(
    evidence: Evidence, controlled: bool, sections: Sequence[Section]
) -> list[str]:
    study = evidence.study
    extra = [
        "change: cell - base on the same units; forgotten is + for bits per byte and "
        "cross-entropy, - for accuracy"
    ]
    weights = dict.fromkeys(study.model_entry(name).weights for name in study.model_names)
    repaired = [one for one in weights if one.startswith("dequantised")]
    if repaired:
        extra.append(
            "no verdict on forgetting is given: training on any text repairs part of what "
            f"quantisation took from these weights ({', '.join(repaired)})"
        )
    if controlled:
        extra.append(
            "control: the same budget of general text; beyond the control: the cell's change less "
            "the control's, paired; the control is of the same method, else of the same kind and "
            "the nearest rank"
        )
    if any("at chance" in section.keys["note"] for section in sections):
        extra.append(
            "base is at chance: within two standard errors of guessing; such a measure "
            "can show no forgetting"
        )
    if study.evaluation.gauntlet_mean:
        extra.append(gauntlet_note(evidence))
    extra += [*beside_base_notes(evidence), *memorised_notes(evidence)]
    asked = [*study.evaluation.likelihood, *study.evaluation.prompts, *study.evaluation.memorised]
    extra += cut(evidence, "retain", asked)
    extra += (*external_note(evidence), *derived_note(evidence))
    extra += permitted(evidence, study.evaluation.likelihood)
    if any("clean subset" in section.keys["measure"] for section in sections):
        extra.append(CLEAN)
    return extra


def _forgotten(
    evidence: Evidence, measure: Measure, arms: Sequence[Arm], above: str = ""
) -> Section:
    """A section; its note says chance, then what the task is, then `above`."""
    guessed = [label for label, base in measure.bases.items() if guesses(measure, base)]
    which = f" ({', '.join(guessed)})" if evidence.study.several else ""
    chance = f"base is at chance{which}" if guessed else ""
    if measure.chance is not None:
        chance = f"{chance or 'chance'}: {measure.chance:.3f}"
    note = "; ".join(filter(None, [chance, measure.note, above]))
    rows = tuple(_forgetting_rows(evidence, measure, arms))
    return Section({"measure": measure.name, "note": note}, rows, measure.digits)


def _forgetting_rows(
    evidence: Evidence, measure: Measure, arms: Sequence[Arm]
) -> Iterator[Mapping[str, Value]]:
    how = resampling(evidence, measure.units)
    for label, base in measure.bases.items():
        value = level(measure, [base], how)
        yield {
            "setting": BASE,
            **named_base(evidence, label),
            "value": value,
            "n": value.n,
            "resampled": value.resampled,
        }
    for arm in arms:
        row: dict[str, Value] = {"setting": arm.setting, **arm.named}
        if evidence.diverged(arm.labels[0]):
            yield row | {"value": DIVERGED, "change": DIVERGED}
            continue
        after = [measure.after[label] for label in arm.labels]
        before, drawn = measure.befores(arm.labels), blocked(evidence, how, arm.labels)
        value = level(measure, after, drawn)
        row |= {
            "value": value,
            "n": value.n,
            "resampled": what_was_resampled(value.resampled, how.what),
        }
        if before:
            row["change"] = change(measure, after, before, drawn)
        yield row | _beyond(evidence, measure, arm)


def _beyond(evidence: Evidence, measure: Measure, arm: Arm) -> dict[str, Value]:
    """The arm's change less that of its repair control, where each of its cells has one."""
    controls = [control_of(evidence, c) for c in arm.cells]
    target = all(evidence.study.settings[c.setting].role == "target" for c in arm.cells)
    held = [measure.after[c.label] for c in controls if c and c.label in measure.after]
    if not controls or not target or len(held) < len(controls):
        return {}
    after = [measure.after[label] for label in arm.labels]
    names = dict.fromkeys(f"{c.setting}/{c.method}" for c in controls if c)
    how = blocked(evidence, resampling(evidence, measure.units), arm.labels)
    return {
        "beyond": change(measure, after, held, how),
        "control": ", ".join(names),
    }


def control_of(evidence: Evidence, cell: Cell) -> Cell | None:
    """The repair control of a cell: same model, budget and seed, the method most alike.

    Most alike: the same method, else the same kind with the nearest rank. Where both report a grid
    it has the same rate too.
    """
    study = evidence.study

    def unlike(other: Cell) -> float:
        return study.methods[cell.method].distance(study.methods[other.method])

    found = [
        other
        for other in evidence.cells
        if study.settings[other.setting].role == "control"
        and (other.model, other.budget, other.seed) == (cell.model, cell.budget, cell.seed)
        and (None in (other.rate, cell.rate) or other.rate == cell.rate)
        and math.isfinite(unlike(other))
        and any(evidence.has("retain", run, other.label) for run in retained(study))
    ]
    return min(found, key=lambda other: (other.method != cell.method, unlike(other)), default=None)
