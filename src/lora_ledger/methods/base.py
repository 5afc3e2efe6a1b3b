"""What every method is: how a model is parameterised for training, at which rates, and its facts.

In: an entry of a study's `methods`. Out: a frozen value that knows what trains, what a trained cell
holds, what it costs, which models it fits, and how it looks in pictures. A subclass stands in a
file of its own beside this one and adds its keys.
A method does not train, and does not know data, schedule or optimiser. The class level needs
pydantic alone; torch and peft are imported where a model is at hand.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, model_validator
from pydantic_core import to_jsonable_python

from lora_ledger.catalogue import Frozen
from lora_ledger.common.errors import KeyProblem

from .products import Product
from .recipe import Optimiser, Schedule

NOT_OF_THE_WEIGHTS = {"title", "learning_rates", "at", "optimiser", "schedule", "max_grad_norm"}
"""Keys that say how a rate is come by, only what is shown, or what stands in place of the setting's
own and is recorded there."""

Groups = Sequence[tuple[Sequence[Any], float]]
"""Weights that train, with the factor by which their learning rate differs from the cell's."""


class MethodBase(Frozen):
    """The keys and the facts that all methods have."""

    artefact: ClassVar[Literal["adapter", "model"]]
    """The folder that a trained cell holds."""

    kind: str
    title: str = Field("", description="What pictures call it; default: its key. Changes nothing.")
    learning_rates: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = None
    at: Annotated[str, Field(pattern=r"^([0-9.]+x )?[a-z0-9-]+$")] | None = Field(
        None,
        description="`full` or `10x full`: the rate that the named method selected, times "
        "the factor.",
    )

    optimiser: Optimiser | None = Field(
        None, description="Keys that stand in place of the setting's."
    )
    schedule: Schedule | None = Field(
        None, description="Keys that stand in place of the setting's."
    )
    max_grad_norm: PositiveFloat | None = Field(None, description="In place of the setting's.")
    attention_dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Of the attention's weights while training; default: the model's own."
    )

    seed_offset: Annotated[int, Field(ge=0, le=2**31)] = Field(
        0,
        description="Added to a cell's seed where initialisation, order and dropout are drawn: the "
        "same method under a second name then differs as another seed would (an A/A arm).",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.learning_rates is None) == (self.at is None):
            raise KeyProblem("learning_rates", self.learning_rates, "learning_rates or at, one")
        if self.learning_rates and len(set(self.learning_rates)) < len(self.learning_rates):
            raise KeyProblem("learning_rates", self.learning_rates, "rates that differ")
        factor = (self.at or "").rpartition(" ")[0]
        if factor and not _is_factor(factor):
            raise KeyProblem("at", self.at, "a factor above 0 that is a number, as in '10x full'")
        return self

    @property
    def merges(self) -> bool:
        """Whether what trained becomes weights of the base's own shapes, so that any back-end can
        evaluate it; what does not is evaluated as it is, by the plain one."""
        return True

    @property
    def engine(self) -> Literal["fast", "plain"]:
        """What trains it: `plain` where only transformers' own forward does what it asks for."""
        return "fast"

    @property
    def virtual_tokens(self) -> int:
        """Positions of the model's window that the method takes from the text."""
        return 0

    @property
    def depends_on_length(self) -> bool:
        """Whether what it does at a step depends on how many steps the run has, so that no shorter
        run can branch off a longer one."""
        return False

    @property
    def starts_from_base(self) -> bool:
        """Whether the model's outputs before the first step are the base's, bit for bit."""
        return True

    @property
    def activations(self) -> int:
        """How many times what the base's blocks keep for the backward pass is kept, rounded up."""
        return 1

    def seeded(self, seed: int) -> int:
        """The seed that a cell of this seed draws from."""
        return seed + self.seed_offset

    def reference(self) -> tuple[float, str] | None:
        """`at` as (factor, method), or None."""
        if self.at is None:
            return None
        factor, _, name = self.at.rpartition(" ")
        return (float(factor.rstrip("x")) if factor else 1.0, name)

    def resolved(self, *, defaults: bool = True) -> dict[str, Any]:
        """Each key that decides the weights, with the value that is used, as plain JSON values.

        Without `defaults` the keys at their default are left out; a default that is computed from
        other keys is a value like any other, so that a change of its formula shows.
        """
        found = self.model_dump(mode="json", exclude=NOT_OF_THE_WEIGHTS, exclude_none=True)
        found |= self.computed()
        if defaults:
            return found
        fields = type(self).model_fields
        return {
            key: value
            for key, value in found.items()
            if fields[key].is_required() or value != to_jsonable_python(fields[key].get_default())
        }

    def computed(self) -> dict[str, Any]:
        """The values of keys whose default follows from other keys."""
        return {}

    def distance(self, other: MethodBase) -> float:
        """How unlike two methods of a study are: 0 for alike, infinite for another kind."""
        return 0.0 if type(other) is type(self) else math.inf

    def check(self, config: Mapping[str, object], where: str = "") -> None:
        """Refuse what a model with this config.json cannot be trained with; `where` stands before
        the key, as in `methods.mine.`. Raises KeyProblem or ArchitectureError."""

    def check_optimiser(self, optimiser: Optimiser, where: str, setting: str) -> None:
        """Refuse an optimiser that the method cannot be trained with in `setting`; `where` stands
        before the method's key. Raises KeyProblem."""

    def check_run(self, *, checkpointing: bool, where: str) -> None:
        """Refuse what a study says of its runs and the method cannot have; `where` is the method's
        key. Raises KeyProblem."""

    @classmethod
    @abstractmethod
    def colours(cls, methods: Sequence[Self]) -> list[str]:
        """A colour (#rrggbb) for each of the study's methods of this kind."""

    @abstractmethod
    def apply(self, model: Any, seed: int) -> Any:
        """The model with the method's weights, and no others, set to train, all of them in fp32.

        `model` is changed. Raises KeyProblem for a setting that the model's shapes rule out.
        """

    def notes(self, config: Mapping[str, object]) -> dict[str, str]:
        """What log and record should say of how the method meets a model with this config.json."""
        return {}

    def groups(self, model: Any) -> Groups:
        """The weights that train, by the factor of their learning rate."""
        return [([weight for weight in model.parameters() if weight.requires_grad], 1.0)]

    def begin(self, model: Any, steps: int) -> None:
        """Told once of the number of optimiser steps, before the first and after a resume."""

    def after_update(self, model: Any, step: int) -> None:
        """Told of each update, counted from 1, while its gradients are still there."""

    def penalty(self, model: Any) -> Any | None:
        """What is added to a step's mean loss, a scalar tensor, or None for nothing. The curves of
        a run are without it."""
        return None

    def state(self, model: Any) -> dict[str, Any]:
        """What a resumed run needs beside the weights that train: tensors and plain values."""
        return {}

    def restore(self, model: Any, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""

    def load(self, model: Any, folder: Path) -> Any:
        """The base `model` as a trained cell has it; `folder` is its `adapter`. Merged, if it
        merges."""
        from peft import PeftModel

        loaded = PeftModel.from_pretrained(model, str(folder))
        return loaded.merge_and_unload(safe_merge=True) if self.merges else loaded

    def products(self, folder: Path) -> Mapping[str, Product] | None:
        """What a trained cell's `adapter` adds to each weight of the base, as thin factors; None
        where ΔW is no such product: then it is what the merged model has and the base has not."""
        return None

    @abstractmethod
    def save(self, model: Any, out: Path, name: str, source: Path) -> Path:
        """Write the trained weights into the new folder `out`; returns the file of weights.

        `name` is the base model's name in the catalogue, `source` its folder. No file depends on
        the machine or the time.
        """

    @abstractmethod
    def trainable_parameters(self, config: Mapping[str, object]) -> int:
        """The number of weights that train, from config.json alone."""

    def held_parameters(self, config: Mapping[str, object]) -> int:
        """The number of weights that a gradient and the optimiser's state are held for."""
        return self.trainable_parameters(config)

    def trained(self, model: Any) -> int:
        """The number of weights that train, counted on the model."""
        return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)

    @abstractmethod
    def flops_per_token(self, config: Mapping[str, object], sequence_length: int) -> float:
        """Floating-point operations of forward and backward for one token of a full sequence.

        A weight costs 2 in the forward pass, 2 to pass the gradient on, and 2 more for its own
        gradient where it trains (Kaplan et al. 2020, section 2.1; Schulman et al. 2025 for LoRA).
        """

    @classmethod
    def module(cls) -> str:
        """The file that the class stands in, below the package, such as `methods.lora`.

        No import statement leads to it, so a code digest has to be told.
        """
        return cls.__module__.partition(".")[2]


def _is_factor(text: str) -> bool:
    """Whether the text before the name in `at` is one number, neither 0 nor infinite."""
    try:
        value = float(text.removesuffix("x"))
    except ValueError:
        return False
    return 0 < value < math.inf
