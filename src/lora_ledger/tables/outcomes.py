"""The rows of the tables of learning and forgetting.

In: `Evidence` and its measures.
Out: two `Table`s: one section for each measure, a row for the base, for each cell and, where a cell
was trained with several seeds, for their mean. Diverged cells keep their row and say so.
It judges nothing: intervals stand beside each other and no verdict is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ..plan import BASE, Cell
from .document import Column, Section, Table, Value
from .evidence import Evidence
from .measures import (
    Measure,
    at_chance,
    change,
    control_of,
    general,
    level,
    rate_note,
    resampling,
    target_scores,
    validation,
)

DIVERGED = "diverged"
ARM = (
    Column("method", "method"),
    Column("budget", "budget"),
    Column("seed", "seed", right=True),
)
UNITS = (Column("n", "n", right=True), Column("resampled", "resampled"))

Arm = tuple[str, list[Cell]]


def arms(evidence: Evidence, found: Iterable[Cell]) -> Iterator[Arm]:
    """(seed column, cells): each cell alone, and after the last seed their mean if it has several.

    Diverged cells are arms of their own and have no part in a mean.
    """
    families: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in found:
        families.setdefault((cell.setting, cell.method, cell.budget), []).append(cell)
    for family in families.values():
        yield from ((str(cell.seed), [cell]) for cell in family)
        alive = [cell for cell in family if not evidence.diverged(cell.label)]
        if len(alive) > 1:
            left = f" of {len(family)}" if len(alive) < len(family) else ""
            yield f"mean of {len(alive)}{left}", alive


def _named(seed: str, cell: Cell) -> dict[str, Value]:
    return {"method": cell.method, "budget": cell.budget, "seed": seed}


def learning(evidence: Evidence, notes: tuple[str, ...], interval: str) -> Table:
    """Loss on the target's validation split, accuracies and companions, for each setting."""
    columns = (
        *ARM,
        Column("rate", "learning rate"),
        Column("before", "before", right=True),
        Column("after", f"after [{interval}]", right=True),
        Column("change", f"change [{interval}]", signed=True, right=True),
        *UNITS,
    )
    sections = []
    for setting in evidence.study.settings:
        first = validation(evidence, setting)
        cells = evidence.of_setting(setting)
        if first is None and cells:
            first = Measure("validation, bits per byte", "units", 3, {}, {})
        for measure in filter(None, [first, *target_scores(evidence, setting)]):
            rows = list(_learning_rows(evidence, setting, measure))
            keys = {"setting": setting + _role(evidence, setting), "measure": measure.name}
            sections.append(Section(keys, tuple(rows), measure.digits))
    notes = (
        *notes,
        "change: after - before (validation), or cell - base; paired on the same units",
    )
    return Table("learning", "What was learned", notes, columns, tuple(sections))


def _learning_rows(
    evidence: Evidence, setting: str, measure: Measure
) -> Iterator[Mapping[str, Value]]:
    how = resampling(evidence, measure.units)
    if measure.base:
        value = level(measure, [measure.base], how)
        yield {"method": BASE, "after": value, "n": value.n, "resampled": value.resampled}
    for seed, cells in arms(evidence, evidence.of_setting(setting)):
        row = _named(seed, cells[0])
        rates = {rate_note(evidence, c, evidence.train[c.label]) for c in cells}
        row["rate"] = rates.pop() if len(rates) == 1 else "see the seeds"
        if evidence.diverged(cells[0].label):
            yield row | {"after": DIVERGED, "change": DIVERGED}
            continue
        after = [measure.after[c.label] for c in cells if c.label in measure.after]
        if not after:
            continue
        before = [s for c in cells if (s := measure.before_of(c.label))]
        value = level(measure, after, how)
        row |= {"after": value, "n": value.n, "resampled": value.resampled}
        if before:
            row["before"] = sum(s.ratio for s in before) / len(before)
            row["change"] = change(measure, after, before, how)
            row["resampled"] = _units(value.resampled, how.what)
        yield row


def _units(level_units: str, change_units: str) -> str:
    """Where the level's interval resampled nothing, the change's still did."""
    if level_units.startswith("none"):
        return f"{change_units}; after: Wilson"
    return level_units


def _role(evidence: Evidence, setting: str) -> str:
    return " (control)" if evidence.study.settings[setting].role == "control" else ""


def forgetting(evidence: Evidence, notes: tuple[str, ...], interval: str) -> Table:
    """General text and multiple choice: base, targets and repair controls side by side."""
    study = evidence.study
    controlled = any(s.role == "control" for s in study.settings.values())
    beyond = (
        Column("beyond", f"beyond the control [{interval}]", signed=True, right=True),
        Column("control", "its control"),
    )
    columns = (
        Column("setting", "setting"),
        *ARM,
        Column("value", f"value [{interval}]", right=True),
        Column("change", f"change against base [{interval}]", signed=True, right=True),
        *(beyond if controlled else ()),
        *UNITS,
    )
    sections = []
    for measure in general(evidence):
        chance = "base is at chance" if at_chance(measure) else ""
        if measure.chance is not None:
            chance = f"{chance or 'chance'}: {measure.chance:.3f}"
        keys = {"measure": measure.name, "note": chance}
        rows = tuple(_forgetting_rows(evidence, measure))
        sections.append(Section(keys, rows, measure.digits))
    extra = [
        "change: cell - base on the same units; forgotten is + for bits per byte and "
        "cross-entropy, - for accuracy"
    ]
    if study.model_entry().weights.startswith("dequantised"):
        extra.append(
            "no verdict on forgetting is given: training on any text repairs part of what "
            f"quantisation took from these weights ({study.model_entry().weights})"
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
    return Table("forgetting", "What was forgotten", (*notes, *extra), columns, tuple(sections))


def _forgetting_rows(evidence: Evidence, measure: Measure) -> Iterator[Mapping[str, Value]]:
    how = resampling(evidence, measure.units)
    base = measure.base
    if base:
        value = level(measure, [base], how)
        yield {
            "setting": BASE,
            "method": BASE,
            "value": value,
            "n": value.n,
            "resampled": value.resampled,
        }
    known = [c for c in evidence.cells if c.label in measure.after or evidence.diverged(c.label)]
    for seed, cells in arms(evidence, known):
        setting = cells[0].setting
        row = {"setting": setting + _role(evidence, setting), **_named(seed, cells[0])}
        if evidence.diverged(cells[0].label):
            yield row | {"value": DIVERGED, "change": DIVERGED}
            continue
        after = [measure.after[c.label] for c in cells]
        value = level(measure, after, how)
        row |= {"value": value, "n": value.n, "resampled": _units(value.resampled, how.what)}
        if base:
            row["change"] = change(measure, after, [base], how)
        controls = [control_of(evidence, c) for c in cells]
        if not _role(evidence, setting) and all(controls):
            held = [measure.after[c.label] for c in controls if c and c.label in measure.after]
            if len(held) == len(after):
                row["beyond"] = change(measure, after, held, how)
                row["control"] = ", ".join(
                    dict.fromkeys(f"{c.setting}/{c.method}" for c in controls if c)
                )
        yield row
