"""Parts of a study that have sections of their own: settings, somebody else's models, permissions.

In: the parsed sections. Out: frozen values, each checked by itself; whether they go together is
the `Study`'s to say, which holds them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from lora_ledger.catalogue import Frozen, HubSource, LocalSource, TokenRoles
from lora_ledger.methods.recipe import Optimiser, Schedule, Share

from .evaluation import Name
from .regimes import RegimeName


class Setting(Frozen):
    """What is trained on, how it is batched, and which tasks it aims at."""

    corpus: Name
    regime: RegimeName
    model: Name | None = Field(
        None, description="One of `models`; default: what `model_of_seed` says, or each of them."
    )
    domain: Annotated[str, Field(pattern=r"^[a-z0-9-]*$")] = Field(
        "", description="What it is about, such as code or math: claims speak of it."
    )
    role: Literal["target", "control"] = Field(
        "target",
        description="control: the same tokens of general text, which show how much of a "
        "change is repair of the base model.",
    )
    sequence_length: PositiveInt = 512
    batch_size: PositiveInt = Field(8, description="Sequences of one optimiser step.")
    micro_batch_size: PositiveInt = Field(2, description="Sequences of one forward pass.")
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    max_grad_norm: PositiveFloat = Field(1.0, description="Largest norm of the gradient.")
    validation_examples: PositiveInt = Field(
        64, description="Validation blocks or examples, at most."
    )
    dropped_allowed: Share = Field(
        0.2, description="Share of a split's examples that may be dropped over `sequence_length`."
    )
    validation_points: Annotated[int, Field(ge=0)] = Field(
        2, description="How often the validation loss is measured between start and end."
    )
    methods: tuple[Name, ...] | None = Field(None, description="Default: all methods.")
    budgets: tuple[Name, ...] | None = Field(None, description="Default: all budgets.")
    tuning_budget: Name | None = Field(None, description="Default: the first of its budgets.")
    learning_rates: dict[Name, tuple[PositiveFloat, ...]] = Field(
        default_factory=dict, description="Grids of single methods in this setting."
    )
    report: Literal["selected", "grid"] = Field(
        "selected",
        description="`selected`: a cell trains at the rate that was chosen for it. `grid`: every "
        "rate of a grid makes cells, with all seeds, and none is chosen.",
    )
    tasks: tuple[Name, ...] = ()


class Other(Frozen):
    """Somebody else's model or adapter, evaluated like a cell and trained by no one here."""

    source: Annotated[LocalSource | HubSource, Field(discriminator="kind")] = Field(
        description="A folder with config.json, or with adapter_config.json for an adapter of the "
        "study's model."
    )
    model: Name | None = Field(
        None, description="One of `models`, which an adapter is of; default: the first."
    )
    title: str = ""
    tasks: tuple[Name, ...] | None = Field(
        None, description="Keys of `evaluation.generate`; default: all."
    )
    tokens: TokenRoles | None = Field(None, description="Default: those of the study's model.")
    licence: str = ""
    citation: str = ""


class Permission(Frozen):
    """A pair of corpus and task that the contamination gate is to let pass, and why."""

    corpus: Name
    task: Name = Field(description="A key of `evaluation.generate` or `evaluation.likelihood`.")
    reason: Annotated[str, Field(min_length=10)]
