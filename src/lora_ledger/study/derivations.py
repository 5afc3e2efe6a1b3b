"""The section `derived` of a study: what is to be made from the weights of trained cells.

In: the parsed section. Out: frozen, typed entries. Which cells they make, and whether they go
together with the rest of the study, is `derived`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, PositiveInt, model_validator

from lora_ledger.catalogue import Frozen
from lora_ledger.common.errors import KeyProblem

from .evaluation import Name

Lambdas = Annotated[
    tuple[Annotated[float, Field(ge=0, lt=1)], ...], Field(min_length=1, alias="lambda")
]


class Selection(Frozen):
    """Trained cells by their names; a key that is left out narrows nothing."""

    settings: tuple[Name, ...] = Field((), description="Default: all settings.")
    methods: tuple[Name, ...] = Field((), description="Default: all methods.")
    budgets: tuple[Name, ...] = Field((), description="Default: all budgets.")

    def takes(self, setting: str, method: str, budget: str) -> bool:
        """Whether a cell of these names is selected."""
        return all(
            not names or name in names
            for names, name in (
                (self.settings, setting),
                (self.methods, method),
                (self.budgets, budget),
            )
        )


class Rewound(Frozen):
    """W₀ + λΔW."""

    model_config = ConfigDict(serialize_by_alias=True)

    of: Selection = Field(Selection(), description="Which trained cells; default: all.")
    lambda_: Lambdas = Field(description="0 is the untouched model.")

    @model_validator(mode="after")
    def _differ(self) -> Rewound:
        _check_differ(self.lambda_)
        return self


class Intruders(Frozen):
    """The first intruder dimension of each matrix at λ times its size, and controls."""

    model_config = ConfigDict(serialize_by_alias=True)

    of: Selection = Field(Selection(), description="Which trained cells; default: all.")
    lambda_: Lambdas = Field(description="0 takes the intruder away.")
    k: PositiveInt = Field(10, description="Leading directions that are looked at.")
    epsilon: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="A direction is an intruder where it is less like each of the base's."
    )

    @model_validator(mode="after")
    def _differ(self) -> Intruders:
        _check_differ(self.lambda_)
        return self


class RandomUpdate(Frozen):
    """An update of the same norm as ΔW, matrix by matrix, in random directions."""

    like: Selection = Field(Selection(), description="Which trained cells; default: all.")
    rank: PositiveInt | Literal["full"] = Field("full", description="Of each matrix's update.")


class Derivations(Frozen):
    """What is made from trained weights and evaluated as a cell."""

    rewound: Rewound | None = None
    intruders: Intruders | None = None
    random: RandomUpdate | None = None


def _check_differ(values: tuple[float, ...]) -> None:
    if len(set(values)) < len(values):
        raise KeyProblem("lambda", list(values), "values that differ")
