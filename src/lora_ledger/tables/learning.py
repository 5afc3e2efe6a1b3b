"""The table of learning: what each cell learned of its target.

In: `Evidence` and its measures.
Out: a `Table`: one section for each setting and measure, a row for the base, for each cell and,
where a cell was trained with several seeds, for their mean; somebody else's models stand under
`external`. Diverged cells keep their row and say so.
It judges nothing: intervals stand beside each other and no verdict is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lora_ledger.records.record import Record
from lora_ledger.study.cells import Cell

from .arms import (
    DIVERGED,
    Arm,
    columns_of_arms,
    derived_labels,
    derived_note,
    external_note,
    heading,
    named_base,
    trained,
    untrained,
    with_derived,
)
from .clean import CLEAN, clean, permitted
from .document import UNITS, Column, Section, Table, Value
from .evidence import Evidence
from .measures import (
    Measure,
    blocked,
    change,
    level,
    resampling,
    target_scores,
    validation,
    what_was_resampled,
)
from .notes import cut


def learning(evidence: Evidence, notes: tuple[str, ...], interval: str) -> Table:
    """Loss on the target's validation split, accuracies and companions, for each setting.

    After the settings come the runs that somebody else's models were evaluated on and, in a study
    without settings, those of the base.
    """
    study = evidence.study
    columns = (
        *columns_of_arms(evidence),
        Column("rate", "learning rate"),
        Column("before", "before", right=True),
        Column("after", f"after [{interval}]", right=True),
        Column("change", f"change [{interval}]", signed=True, right=True),
        *UNITS,
    )
    sections = [x for name in study.settings for x in _of_setting(evidence, name)]
    sections += _outside(evidence)
    extra = ["change: after - before (validation), or cell - base; paired on the same units"]
    extra += cut(evidence, "generate", study.evaluation.generate)
    extra += (*external_note(evidence), *derived_note(evidence))
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
        for measure in target_scores(evidence, run, [*labels, *derived_labels(evidence, labels)])
    ]
    name = heading(evidence, setting)
    arms = list(with_derived(evidence, trained(evidence, cells)))
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
    for label, base in measure.bases.items():
        value = level(measure, [base], how)
        row = named_base(evidence, label) | {"after": value, "n": value.n}
        yield row | {"resampled": value.resampled}
    for arm in arms:
        row = dict(arm.named)
        if arm.cells:
            rates = {rate_note(evidence, c, evidence.train[c.label]) for c in arm.cells}
            row["rate"] = rates.pop() if len(rates) == 1 else "see the seeds"
        if evidence.diverged(arm.labels[0]):
            yield row | {"after": DIVERGED, "change": DIVERGED}
            continue
        labels = [label for label in arm.labels if label in measure.after]
        if not labels:
            continue
        after = [measure.after[label] for label in labels]
        before = [s for label in labels if (s := measure.before_of(label))]
        drawn = blocked(evidence, how, labels)
        value = level(measure, after, drawn)
        row |= {"after": value, "n": value.n, "resampled": value.resampled}
        if len(before) == len(after):
            row["before"] = sum(s.ratio for s in before) / len(before)
            row["change"] = change(measure, after, before, drawn)
            row["resampled"] = what_was_resampled(value.resampled, how.what)
        yield row


def rate_note(evidence: Evidence, cell: Cell, record: Record) -> str:
    """The learning rate and how it was come by."""
    study = evidence.study
    rate = record.results.get("learning_rate")
    number = f"{rate:.1e}".replace("e-0", "e-").replace(".0e", "e") if rate else "rate unknown"
    at = study.methods[cell.method].at
    if cell.rate is not None:
        return f"{number}, one of the grid"
    own = study.rates_of(cell.setting, cell.method)
    if at and not own:
        return f"{number}, at {at}"
    if len(own) == 1:
        return f"{number}, one rate, not tuned"
    chosen = evidence.select.get((cell.setting, cell.method))
    if chosen is None:
        return f"{number}, no selection given"
    return f"{number}, {'on edge, not tuned' if chosen.results.get('on_edge') else 'tuned'}"
