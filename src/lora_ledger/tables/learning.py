"""The rows of the tables of learning and forgetting.

In: `Evidence` and its measures.
Out: two `Table`s: one section for each measure, a row for the base, for each cell and, where a cell
was trained with several seeds, for their mean; somebody else's models stand under `external`.
Diverged cells keep their row and say so.
It judges nothing: intervals stand beside each other and no verdict is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lora_ledger.study.cells import BASE

from .arms import ARM, DIVERGED, Arm, external, external_note, heading, trained, untrained
from .clean import clean, permitted
from .document import Column, Section, Table, Value
from .evidence import Evidence
from .measures import (
    Measure,
    at_chance,
    change,
    control_of,
    level,
    rate_note,
    resampling,
    target_scores,
    validation,
)
from .retention import gauntlet_note, general

UNITS = (Column("n", "n", right=True), Column("resampled", "resampled"))
CLEAN = (
    "clean subset: without the items whose question stands in the setting's corpus, whole or by 13 "
    "words in a row"
)


def learning(evidence: Evidence, notes: tuple[str, ...], interval: str) -> Table:
    """Loss on the target's validation split, accuracies and companions, for each setting.

    After the settings come the runs that somebody else's models were evaluated on and, in a study
    without settings, those of the base.
    """
    study = evidence.study
    columns = (
        *ARM,
        Column("rate", "learning rate"),
        Column("before", "before", right=True),
        Column("after", f"after [{interval}]", right=True),
        Column("change", f"change [{interval}]", signed=True, right=True),
        *UNITS,
    )
    sections = [x for name in study.settings for x in _of_setting(evidence, name)]
    sections += _outside(evidence)
    extra = ["change: after - before (validation), or cell - base; paired on the same units"]
    extra += external_note(evidence)
    extra += permitted(evidence, study.evaluation.generate)
    if any("clean subset" in section.keys["measure"] for section in sections):
        extra.append(CLEAN)
    return Table("learning", "What was learned", (*notes, *extra), columns, tuple(sections))


def _of_setting(evidence: Evidence, setting: str) -> Iterator[Section]:
    """A setting's measures, and after each its clean subset if some of its units overlap."""
    study = evidence.study
    cells = evidence.of_setting(setting)
    labels = [cell.label for cell in cells]
    first = validation(evidence, setting)
    if first is None and cells:
        first = Measure("validation, bits per byte", "units", 3, {}, {})
    scored = [
        measure
        for run in study.evaluation.generate
        if any((run, label) in evidence.score for label in labels)
        for measure in target_scores(evidence, run, labels)
    ]
    name, arms = heading(evidence, setting), list(trained(evidence, cells))
    for measure in filter(None, [first, *scored]):
        yield _learned(evidence, name, measure, arms)
        left = clean(evidence, study.settings[setting].corpus, measure)
        if left and left.measure:
            yield _learned(evidence, name, left.measure, arms)
        elif left:
            row: dict[str, Value] = {"method": "all", "after": left.absent, "n": 0}
            yield Section({"setting": name, "measure": left.name}, (row,))


def _outside(evidence: Evidence) -> Iterator[Section]:
    """The runs of what no setting trained: somebody else's models, or the base alone."""
    for run in evidence.study.evaluation.generate:
        family = untrained(evidence, [label for one, label in evidence.score if one == run])
        for measure in target_scores(evidence, run, family.labels) if family else ():
            assert family is not None
            yield _learned(evidence, family.heading, measure, family.arms)


def _learned(evidence: Evidence, name: str, measure: Measure, arms: Sequence[Arm]) -> Section:
    rows = tuple(_learning_rows(evidence, measure, arms))
    keys = {"setting": name, "measure": measure.name}
    return Section(keys | ({"note": measure.note} if measure.note else {}), rows, measure.digits)


def _learning_rows(
    evidence: Evidence, measure: Measure, arms: Sequence[Arm]
) -> Iterator[Mapping[str, Value]]:
    how = resampling(evidence, measure.units)
    if measure.base:
        value = level(measure, [measure.base], how)
        yield {"method": BASE, "after": value, "n": value.n, "resampled": value.resampled}
    for arm in arms:
        row = dict(arm.named)
        if arm.cells:
            rates = {rate_note(evidence, c, evidence.train[c.label]) for c in arm.cells}
            row["rate"] = rates.pop() if len(rates) == 1 else "see the seeds"
        if evidence.diverged(arm.labels[0]):
            yield row | {"after": DIVERGED, "change": DIVERGED}
            continue
        after = [measure.after[label] for label in arm.labels if label in measure.after]
        if not after:
            continue
        before = [s for label in arm.labels if (s := measure.before_of(label))]
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
        *ARM,
        Column("value", f"value [{interval}]", right=True),
        Column("change", f"change against base [{interval}]", signed=True, right=True),
        *(beyond if controlled else ()),
        *UNITS,
    )
    sections = []
    for measure in general(evidence):
        known = [
            c for c in evidence.cells if c.label in measure.after or evidence.diverged(c.label)
        ]
        arms = [*trained(evidence, known), *external(evidence, measure.after)]
        sections.append(_forgotten(evidence, measure, arms))
        for corpus in evidence.corpora:
            left = clean(evidence, corpus, measure)
            mine = [c for c in known if c in evidence.of_corpus(corpus)]
            if left and left.measure:
                arms = list(trained(evidence, mine))
                sections.append(_forgotten(evidence, left.measure, arms, f"corpus: {corpus}"))
            elif left:
                keys = {"measure": left.name, "note": f"corpus: {corpus}"}
                row: dict[str, Value] = {"setting": "all", "value": left.absent, "n": 0}
                sections.append(Section(keys, (row,)))
    extra = _forgetting_notes(evidence, controlled, sections)
    return Table("forgetting", "What was forgotten", (*notes, *extra), columns, tuple(sections))


def _forgetting_notes(
    evidence: Evidence, controlled: bool, sections: Sequence[Section]
) -> list[str]:
    study = evidence.study
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
    if study.evaluation.gauntlet_mean:
        extra.append(gauntlet_note(evidence))
    extra += external_note(evidence)
    extra += permitted(evidence, study.evaluation.likelihood)
    if any("clean subset" in section.keys["measure"] for section in sections):
        extra.append(CLEAN)
    return extra


def _forgotten(
    evidence: Evidence, measure: Measure, arms: Sequence[Arm], above: str = ""
) -> Section:
    """A section; its note says chance, then what the task is, then `above`."""
    chance = "base is at chance" if at_chance(measure) else ""
    if measure.chance is not None:
        chance = f"{chance or 'chance'}: {measure.chance:.3f}"
    note = "; ".join(filter(None, [chance, measure.note, above]))
    rows = tuple(_forgetting_rows(evidence, measure, arms))
    return Section({"measure": measure.name, "note": note}, rows, measure.digits)


def _forgetting_rows(
    evidence: Evidence, measure: Measure, arms: Sequence[Arm]
) -> Iterator[Mapping[str, Value]]:
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
    for arm in arms:
        row: dict[str, Value] = {"setting": arm.setting, **arm.named}
        if evidence.diverged(arm.labels[0]):
            yield row | {"value": DIVERGED, "change": DIVERGED}
            continue
        after = [measure.after[label] for label in arm.labels]
        value = level(measure, after, how)
        row |= {"value": value, "n": value.n, "resampled": _units(value.resampled, how.what)}
        if base:
            row["change"] = change(measure, after, [base], how)
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
    return {
        "beyond": change(measure, after, held, resampling(evidence, measure.units)),
        "control": ", ".join(names),
    }
