"""Cells that are made from the weights of trained ones, without training.

In: the section `derived` of a study, and its trained cells. Out: for each derived cell its label
and what is done to which weights; a KeyProblem where the section names what is not there. How it is
done is `inference.derived`; nothing here loads a weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from lora_ledger.common.errors import KeyProblem, require
from lora_ledger.models import architecture

from .cell import Cell
from .derivations import Derivations, Selection
from .schema import Study

DERIVED = "derived"
CONTROLS = ("", "neighbour", "direction", "shrink")
"""What is done beside the intervention itself, by steps of the same norm."""


@dataclass(frozen=True)
class Derived:
    """A cell that is made from the weights of the trained cell `of` when it is evaluated.

    `value` is λ, `rank` None a full one; `k` and `epsilon` say what an intruder is.
    """

    kind: Literal["rewound", "intruders", "random"]
    of: Cell
    value: float = 0.0
    control: str = ""
    k: int = 0
    epsilon: float = 0.0
    rank: int | None = None

    @property
    def label(self) -> str:
        if self.kind == "random":
            name = f"rank-{self.rank or 'full'}"
        else:
            name = "-".join(filter(None, ["lambda", written(self.value), self.control]))
        return f"{DERIVED}/{self.kind}/{self.of.label}/{name}"

    @property
    def asked(self) -> dict[str, Any]:
        """What is made, as plain values for a record."""
        first = {"kind": self.kind, "of": self.of.label}
        if self.kind == "random":
            return {**first, "rank": self.rank or "full", "seed": self.of.seed}
        found: dict[str, Any] = {**first, "lambda": self.value}
        if self.kind == "intruders":
            found |= {"k": self.k, "epsilon": self.epsilon}
        if self.control:
            found["control"] = self.control
        if self.control == "direction":
            found["seed"] = self.of.seed
        return found


def written(value: float) -> str:
    """A λ as labels have it: no exponent, no zeros behind."""
    return format(Decimal(repr(value)).normalize(), "f")


def expand(study: Study, cells: Sequence[Cell]) -> Iterator[Derived]:
    """The derived cells of a study's trained ones, each kind in the order of those."""
    what = study.derived
    for cell in cells:
        if what.rewound and _takes(what.rewound.of, cell):
            for value in what.rewound.lambda_:
                yield Derived("rewound", cell, value)
        if what.intruders and _takes(what.intruders.of, cell):
            k, epsilon = what.intruders.k, what.intruders.epsilon
            for value in what.intruders.lambda_:
                for control in CONTROLS:
                    yield Derived("intruders", cell, value, control, k, epsilon)
        if what.random and _takes(what.random.like, cell):
            rank = what.random.rank
            yield Derived("random", cell, rank=None if rank == "full" else rank)


def check(study: Study, cells: Sequence[Cell]) -> None:
    """Refuse derived cells of what the study has not, or whose method leaves no ΔW.

    Raises KeyProblem.
    """
    for key, selection in _selections(study.derived):
        for axis, known in (
            ("settings", study.settings),
            ("methods", study.methods),
            ("budgets", study.budgets),
        ):
            for name in getattr(selection, axis):
                require(f"{key}.{axis}", name, known, "one of")
        chosen = [cell for cell in cells if _takes(selection, cell)]
        if not chosen:
            found = selection.model_dump(mode="json", exclude_defaults=True)
            raise KeyProblem(key, found, "names of which some trained cell has all")
        for method in dict.fromkeys(cell.method for cell in chosen):
            if not study.methods[method].merges:
                fitting = [name for name, one in study.methods.items() if one.merges]
                raise KeyProblem(
                    f"{key}.methods",
                    method,
                    f"methods that merge into the base's weights: {', '.join(fitting) or 'none'}",
                )


def check_rank(study: Study, model: str, config: architecture.Config) -> None:
    """Refuse a random update of a rank that a matrix of the model with this config cannot have."""
    asked = study.derived.random
    if asked is None or asked.rank == "full":
        return
    sides = architecture.read(config).modules
    name = min(sides, key=lambda one: min(sides[one]))
    if asked.rank > min(sides[name]):
        raise KeyProblem(
            "derived.random.rank",
            asked.rank,
            f"full, or {min(sides[name])} at most, the rank of {name} of {model}",
        )


def _takes(selection: Selection, cell: Cell) -> bool:
    return selection.takes(cell.setting, cell.method, cell.budget)


def _selections(what: Derivations) -> Iterator[tuple[str, Selection]]:
    if what.rewound:
        yield "derived.rewound.of", what.rewound.of
    if what.intruders:
        yield "derived.intruders.of", what.intruders.of
    if what.random:
        yield "derived.random.like", what.random.like
