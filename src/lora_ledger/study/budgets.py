"""How much one run trains, and from which longer run it may branch off.

In: an entry of a study's `budgets`. Out: a frozen value. Whether the study has what a branch leaves
is `branches`' matter, and how many steps a budget comes to that of `training.batching`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from lora_ledger.catalogue import Frozen
from lora_ledger.common.errors import KeyProblem

from .regimes import UNITS


class Budget(Frozen):
    """How much one run trains, in one of five units."""

    model_config = ConfigDict(serialize_by_alias=True)

    tokens: PositiveInt | None = Field(None, description="Tokens that bear loss.")
    epochs: PositiveFloat | None = Field(None, description="Passes over the data.")
    examples: PositiveInt | None = None
    steps: PositiveInt | None = Field(None, description="Optimiser steps.")
    episodes: PositiveInt | None = Field(None, description="Sampled answers that are rewarded.")
    trunk: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] | None = Field(
        None,
        alias="from",
        description="A longer budget, whose run this one leaves where its own cool-down begins.",
    )
    hot: bool = Field(False, description="A branch that does not cool down.")

    @model_validator(mode="after")
    def _one(self) -> Budget:
        given = [unit for unit in UNITS if getattr(self, unit) is not None]
        if len(given) != 1:
            raise KeyProblem(
                given[0] if given else "tokens",
                " and ".join(given) or None,
                f"one of {', '.join(UNITS[:-1])} or {UNITS[-1]}",
            )
        if self.hot and self.trunk is None:
            raise KeyProblem("hot", True, "a budget with `from`, the longer one that it leaves hot")
        return self

    @property
    def unit(self) -> str:
        """The key that is given."""
        return next(unit for unit in UNITS if getattr(self, unit) is not None)

    @property
    def size(self) -> float:
        """The value of that key."""
        return float(getattr(self, self.unit))
