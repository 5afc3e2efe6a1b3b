"""Arms: whose rows stand in a table, and under which names.

In: `Evidence`.
Out: `Arm`s: each trained cell alone, the mean over the seeds of several, somebody else's models.
It measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lora_ledger.study.cells import BASE, Cell

from .document import Column, Value
from .evidence import Evidence

DIVERGED = "diverged"
EXTERNAL = "external"
ARM = (
    Column("method", "method"),
    Column("budget", "budget"),
    Column("seed", "seed", right=True),
)


@dataclass(frozen=True)
class Arm:
    """One row: `labels` of the records behind it; `cells` likewise, none for another's model."""

    setting: str
    named: dict[str, Value]
    labels: tuple[str, ...]
    cells: tuple[Cell, ...] = ()


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
    families: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in found:
        families.setdefault((cell.setting, cell.method, cell.budget), []).append(cell)
    for family in families.values():
        yield from (_arm(evidence, str(cell.seed), [cell]) for cell in family)
        alive = [cell for cell in family if not evidence.diverged(cell.label)]
        if len(alive) > 1:
            left = f" of {len(family)}" if len(alive) < len(family) else ""
            yield _arm(evidence, f"mean of {len(alive)}{left}", alive)


def _arm(evidence: Evidence, seed: str, cells: Sequence[Cell]) -> Arm:
    first = cells[0]
    named: dict[str, Value] = {"method": first.method, "budget": first.budget, "seed": seed}
    labels = tuple(cell.label for cell in cells)
    return Arm(heading(evidence, first.setting), named, labels, tuple(cells))


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
    alone where no such model was evaluated; else None."""
    found = set(labels)
    arms = external(evidence, found)
    if arms:
        return Family(EXTERNAL, tuple(arms))
    return None if evidence.study.settings or BASE not in found else Family(BASE, ())


def external_note(evidence: Evidence) -> tuple[str, ...]:
    """A note that names somebody else's models; none where the study has none."""
    named = [
        name + (f" ({other.title})" if other.title else "")
        for name, other in evidence.study.others.items()
    ]
    if not named:
        return ()
    return (f"{EXTERNAL}: models of others, evaluated and not trained here: {', '.join(named)}",)
