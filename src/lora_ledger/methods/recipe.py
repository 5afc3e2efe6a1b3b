"""Optimiser and schedule: what a setting says of training, and a method may say for itself.

In: the keys of a study's `optimiser` and `schedule` sections. Out: frozen values, and how one
section stands over another. Building them is `training`'s matter.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from lora_ledger.catalogue import Frozen
from lora_ledger.common.errors import KeyProblem

Share = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


READ = {
    "adamw": ("betas", "eps", "weight_decay"),
    "lion": ("betas", "weight_decay"),
    "muon": ("betas", "eps", "weight_decay", "momentum"),
    "sgd": ("weight_decay", "momentum"),
}
"""The keys that each optimiser reads."""
SHAPED = {
    "constant": ("warmup", "warmup_steps", "cooldown", "cooldown_steps"),
    "cosine": ("warmup", "warmup_steps", "final"),
    "inverse-sqrt": ("warmup", "warmup_steps", "cooldown", "cooldown_steps"),
}
"""The keys that each schedule reads."""


class Optimiser(Frozen):
    """`lion` is llm-foundry's DecoupledLionW: its decay is not multiplied by the rate.

    A beta of 1 and an `eps` that fp32 rounds to 0 divide by 0.
    """

    name: Literal["adamw", "lion", "muon", "sgd"] = "adamw"
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: Annotated[float, Field(ge=1e-30)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.95, description="Of `sgd`, and of `muon`, where it is Nesterov's."
    )

    def check(self, where: str, setting: str = "") -> None:
        """Refuse a key that was given and that the optimiser, which `setting` may have named, does
        not read."""
        for key in sorted(self.model_fields_set - {"name", *READ[self.name]}):
            raise KeyProblem(
                f"{where}{key}",
                getattr(self, key),
                f"a key that {self.name} reads{setting}: {', '.join(READ[self.name])}",
            )


class Schedule(Frozen):
    """Multiplier of the peak learning rate over the optimiser steps of one run."""

    name: Literal["cosine", "inverse-sqrt", "constant"] = "cosine"
    warmup: Share = Field(0.1, description="Share of the steps, unless `warmup_steps` is given.")
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    final: Share = Field(0.01, description="Cosine: multiplier at the end.")
    cooldown: Share = Field(
        0.2,
        description="Inverse square root: share of the steps that fall linearly to 0 at the "
        "end, unless `cooldown_steps` is given. Constant: the same where it is given, else none.",
    )
    cooldown_steps: Annotated[int, Field(ge=0)] | None = None

    @property
    def cools(self) -> bool:
        """Whether `cooldown` counts: a constant rate falls at the end only where it is told to."""
        return self.name != "constant" or "cooldown" in self.model_fields_set

    @model_serializer(mode="wrap")
    def _told(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A constant rate's cool-down as it is, so that one which was given and equals the inverse
        square root's default is not taken for none."""
        found: dict[str, Any] = handler(self)
        if self.name == "constant":
            if self.cools:
                found["cooldown"] = self.cooldown
            elif "cooldown" in found:
                found["cooldown"] = 0.0
        return found

    def check(self, where: str, setting: str = "", own: Schedule | None = None) -> None:
        """Refuse a key that was given and has no say: the schedule, which `setting` may have named,
        does not read it, or it is a share where a number of steps holds. `own` is what a method
        gave of it, if it is a method's."""
        for key in sorted(self.model_fields_set - {"name", *SHAPED[self.name]}):
            raise KeyProblem(
                f"{where}{key}",
                getattr(self, key),
                f"a key that {self.name} reads{setting}: {', '.join(SHAPED[self.name])}",
            )
        given = (self if own is None else own).model_fields_set
        for key in ("warmup", "cooldown"):
            steps = getattr(self, f"{key}_steps")
            if key in given and steps is not None:
                raise KeyProblem(
                    f"{where}{key}",
                    getattr(self, key),
                    f"no such key beside {key}_steps, which is {steps}{setting}; "
                    f"`{key}_steps: null` lets the share hold",
                )


Section = TypeVar("Section", Optimiser, Schedule)


def over(setting: Section, own: Section | None) -> Section:
    """The setting's section with a method's own keys over it.

    A section that names another optimiser or schedule stands whole: the setting's other keys are
    those of the one it names.
    """
    if own is None:
        return setting
    if "name" in own.model_fields_set and own.name != setting.name:
        return own
    keys = {**setting.model_dump(exclude_unset=True), **own.model_dump(exclude_unset=True)}
    return type(setting).model_validate(keys)
