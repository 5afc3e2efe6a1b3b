"""Arms: whose rows stand in a table, and under which names.

In: `Evidence`.
Out: `Arm`s: each trained cell alone, the mean over the seeds of several, somebody else's models.
It measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lora_ledger.study.cells import BASE, Cell, derived_of, index, is_base, model_of
from lora_ledger.study.rates import written

from .document import Column, Value
from .evidence import Evidence

DIVERGED = "diverged"
EXTERNAL = "external"
ARM = (
    Column("method", "method"),
    Column("budget", "budget"),
    Column("seed", "seed", right=True),
)


RATE = Column("lr", "lr", right=True)
MODEL = Column("model", "model")


def columns_of_arms(evidence: Evidence) -> tuple[Column, ...]:
    """What names a row: the arm, its model where there are several, and its rate where a grid is
    reported."""
    reported = any(cell.rate is not None for cell in evidence.cells)
    model = [MODEL] if evidence.study.several else []
    return (ARM[0], *model, ARM[1], *([RATE] if reported else []), ARM[2])


def named(cell: Cell, seed: str) -> dict[str, Value]:
    """A cell's values of those columns."""
    model: dict[str, Value] = {} if cell.model is None else {"model": cell.model}
    rate: dict[str, Value] = {} if cell.rate is None else {"lr": written(cell.rate)}
    return {"method": cell.method, **model, "budget": cell.budget, **rate, "seed": seed}


def named_base(evidence: Evidence, label: str) -> dict[str, Value]:
    """An untouched model's values of those columns."""
    model = {"model": model_of(evidence.study, label)} if evidence.study.several else {}
    return {"method": BASE, **model}


@dataclass(frozen=True)
class Arm:
    """One row: `labels` of the records behind it; `cells` likewise, none for another's model.

    `derived`: it was made from the weights of the row above, and is shown, but no arm of the study.
    """

    setting: str
    named: dict[str, Value]
    labels: tuple[str, ...]
    cells: tuple[Cell, ...] = ()
    derived: bool = False


@dataclass(frozen=True)
class Family:
    """The arms of one section, under one heading; no arm where the base stands alone."""

    heading: str
    arms: tuple[Arm, ...]

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(label for arm in self.arms for label in arm.labels))


def heading(evidence: Evidence, setting: str) -> str:
    """A setting's name, and whether it is a control."""
    role = evidence.study.settings[setting].role
    return f"{setting} (control)" if role == "control" else setting


def trained(evidence: Evidence, found: Iterable[Cell]) -> Iterator[Arm]:
    """Each cell alone, and after the last seed their mean if it has several.

    Diverged cells are arms of their own and have no part in a mean.
    """
    families: dict[tuple[object, ...], list[Cell]] = {}
    for cell in found:
        # Seeds that have bases of their own are one family, and the base a block of it; models that
        # all seeds are trained on are told apart.
        model = None if evidence.study.model_of_seed else cell.model
        key = cell.setting, cell.method, cell.budget, cell.rate, model
        families.setdefault(key, []).append(cell)
    for family in families.values():
        yield from (_arm(evidence, str(cell.seed), [cell]) for cell in family)
        alive = [cell for cell in family if not evidence.diverged(cell.label)]
        if len(alive) > 1:
            left = f" of {len(family)}" if len(alive) < len(family) else ""
            yield _arm(evidence, f"mean of {len(alive)}{left}", alive)


def _arm(evidence: Evidence, seed: str, cells: Sequence[Cell]) -> Arm:
    labels = tuple(cell.label for cell in cells)
    where = heading(evidence, cells[0].setting)
    names = named(cells[0], seed)
    models = {cell.model for cell in cells}
    if len(models) > 1:
        names["model"] = f"{len(models)} bases"
    return Arm(where, names, labels, tuple(cells))


def with_derived(evidence: Evidence, arms: Iterable[Arm]) -> Iterator[Arm]:
    """The arms, each trained cell followed by what is made from its weights."""
    for arm in arms:
        yield arm
        if len(arm.cells) == 1:
            for one in derived_of(evidence.study, arm.cells[0].label):
                names = {**arm.named, "method": one.label}
                yield Arm(arm.setting, names, (one.label,), derived=True)


def derived_labels(evidence: Evidence, labels: Iterable[str]) -> list[str]:
    """The labels of what is made from the weights of these cells."""
    return [one.label for label in labels for one in derived_of(evidence.study, label)]


def derived_note(evidence: Evidence) -> tuple[str, ...]:
    """What rows of derived cells are; none where the study has none."""
    every = index(evidence.study).derived
    if not every:
        return ()
    same = {
        label: None
        for (_, label), record in (*evidence.retain.items(), *evidence.generate.items())
        if label in every and record.science.settings.get("derived", {}).get("tensors") == 0
    }
    listed = ", ".join(label for label in every if label in same)
    alike = (f"derived: nothing to change, so the same as the row above: {listed}",)
    return (
        "derived: made from the weights of the row above without training; rewound: W₀ + λΔW; "
        "intruders: the first intruder of each matrix at λ times its size, or a step of the same "
        "norm along its neighbour, in a random direction, or back towards the base (shrink); "
        "random: an update of ΔW's norms in random directions; no arm of the study",
        *(alike if same else ()),
    )


def external(evidence: Evidence, labels: Iterable[str]) -> list[Arm]:
    """Somebody else's models among `labels`, in the study's order."""
    wanted = set(labels)
    return [
        Arm(EXTERNAL, {"method": name}, (label,))
        for name, label in evidence.others.items()
        if label in wanted
    ]


def untrained(evidence: Evidence, labels: Iterable[str]) -> Family | None:
    """The family outside all settings: somebody else's models; in a study without settings the base
    alone, or several, where no such model was evaluated; else None."""
    found = set(labels)
    arms = external(evidence, found)
    if arms:
        return Family(EXTERNAL, tuple(arms))
    alone = not evidence.study.settings and any(map(is_base, found))
    return Family(BASE, ()) if alone else None


def external_note(evidence: Evidence) -> tuple[str, ...]:
    """A note that names somebody else's models; none where the study has none."""
    named = [
        name + (f" ({other.title})" if other.title else "")
        for name, other in evidence.study.others.items()
    ]
    if not named:
        return ()
    return (f"{EXTERNAL}: models of others, evaluated and not trained here: {', '.join(named)}",)
