"""What every cell is evaluated on: generation tasks, general text, tasks answered by likelihoods.

In: the section `evaluation` of a study file. Out: frozen, typed entries. Whether the tasks and
corpora that they name are there is checked by `schema` and `file`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from lora_ledger.catalogue import Frozen
from lora_ledger.common.errors import KeyProblem, require

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]

LOWEST = 1e-6
"""The least temperature above 0."""


class TaskRun(Frozen):
    """One way to run a generation task."""

    task: Name = Field(description="A task file in `lora_ledger/data/tasks`.")
    corpus: Name | None = Field(
        None, description="Which of the task's corpora; default: the first that its file names."
    )
    limit: PositiveInt | None = Field(None, description="Problems; default: all.")
    samples: PositiveInt = 1
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = Field(0, description="0: off.")
    max_gen_toks: PositiveInt = 256
    num_fewshot: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Solved examples before each item; default: the task file's number."
    )
    batch_size: PositiveInt = 16
    diversity: bool = False

    @model_validator(mode="after")
    def _samples_differ(self) -> TaskRun:
        if 0 < self.temperature < LOWEST:
            raise KeyProblem(
                "temperature",
                self.temperature,
                f"0, which is greedy, or at least {LOWEST:g}: logits over less are beyond fp32",
            )
        if self.samples > 1 and self.temperature == 0:
            raise KeyProblem("temperature", 0.0, "above 0 when there are several samples")
        if self.diversity and self.samples < 2:
            raise KeyProblem("samples", self.samples, "2 or more when diversity is counted")
        return self


class RetainText(Frozen):
    """Held-out general text whose bits per byte are measured."""

    corpus: Name
    kilobytes: PositiveInt = 32
    sequence_length: PositiveInt = 512
    divergence: bool = Field(
        False, description="Measure KL(base ‖ cell) and KL(cell ‖ base) of the next token."
    )
    csd: bool = Field(
        False, description="Measure ‖ΔW h‖² over the matrices of the blocks, h being the base's."
    )


class LikelihoodTask(Frozen):
    """A task of the source domain answered by likelihoods: several choices, or one continuation."""

    task: Name
    corpus: Name | None = Field(
        None, description="Which of the task's corpora; default: the first that its file names."
    )
    limit: PositiveInt | None = None
    num_fewshot: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Solved examples before each item; default: the task file's number."
    )


class Prompts(Frozen):
    """A generation task's prompts, on which a cell's next tokens are held against its base's."""

    task: Name
    corpus: Name | None = Field(
        None, description="Which of the task's corpora; default: the first that its file names."
    )
    limit: PositiveInt | None = Field(None, description="Prompts; default: all.")
    num_fewshot: Annotated[int, Field(ge=0)] = Field(
        0, description="Solved examples before each prompt; they would outweigh it."
    )
    csd: bool = Field(
        False, description="Measure ‖ΔW h‖² over the matrices of the blocks, h being the base's."
    )


class Memorised(Frozen):
    """Examples of a training corpus that every cell is to go on with, greedily."""

    corpus: Name
    examples: PositiveInt = Field(64, description="Of the split `train`; fewer where it has fewer.")
    prefix: PositiveInt = Field(
        32, description="Words of a text that are given; of pairs, prompts."
    )
    words: PositiveInt = Field(16, description="Words that are to follow.")


class Spectrum(Frozen):
    """How the spectra of what training changed are measured (docs/spectra.md)."""

    layers: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = Field(
        None, description="Blocks, counted from 0; default: all."
    )
    k: PositiveInt = Field(10, description="Leading directions in which intruders are counted.")
    epsilon: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="A direction is an intruder where it is less like each of the base's."
    )
    numbers: tuple[PositiveInt, ...] = Field((1, 2, 5, 10, 20, 50, 100), description="Other k.")
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (0.01, 0.05, 0.1, 0.25, 0.5, 1.0), description="Other k, as shares of the directions."
    )
    epsilons: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), description="Other epsilons."
    )
    directions: PositiveInt = Field(
        8, description="Leading directions of a change that are kept, to compare cells by."
    )


class Evaluation(Frozen):
    """What every cell is evaluated on."""

    generate: dict[Name, TaskRun] = Field(default_factory=dict)
    texts: dict[Name, RetainText] = Field(default_factory=dict)
    likelihood: dict[Name, LikelihoodTask] = Field(default_factory=dict)
    prompts: dict[Name, Prompts] = Field(default_factory=dict)
    memorised: dict[Name, Memorised] = Field(default_factory=dict)
    gauntlet_mean: tuple[Name, ...] = Field(
        (),
        description="Keys of `likelihood` whose accuracies by the lowest mean loss per token are "
        "averaged without weights, as Biderman et al. do.",
    )
    batch_size: PositiveInt = 8
    spectrum: Spectrum | None = Field(
        None, description="Measure the spectra of what training changed; default: do not."
    )
    allow_code_execution: bool = Field(
        False, description="Consent to run generated code in a confined process."
    )
    sandbox_level: Annotated[int, Field(ge=1, le=3)] = Field(
        3,
        description="The least confinement of generated code that is accepted: 3 Landlock and "
        "seccomp, 2 seccomp, 1 limits and a process apart.",
    )
    bootstrap: PositiveInt = Field(2000, description="Resamples behind each interval.")
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95

    @property
    def beside_base(self) -> list[str]:
        """The keys of `texts` and `prompts` for which the base is in memory beside the cell."""
        texts = [f"texts.{name}" for name, one in self.texts.items() if one.divergence or one.csd]
        return [*texts, *(f"prompts.{name}" for name in self.prompts)]

    @property
    def drift(self) -> bool:
        """Whether CSD is measured anywhere."""
        asked = [one.csd for one in self.texts.values()]
        return any([*asked, *(one.csd for one in self.prompts.values())])

    @model_validator(mode="after")
    def _names_fit(self) -> Evaluation:
        both = sorted(set(self.generate) & set(self.likelihood))
        if both:
            raise KeyProblem("likelihood", both, "names that `generate` does not have")
        both = sorted(set(self.texts) & set(self.likelihood))
        if both:
            raise KeyProblem("likelihood", both, "names that `texts` does not have")
        others = {*self.generate, *self.likelihood, *self.texts}
        for key, names in (("prompts", self.prompts), ("memorised", self.memorised)):
            both = sorted(others & set(names))
            if both:
                raise KeyProblem(key, both, "names that nothing else in `evaluation` has")
            others.update(names)
        for name in self.gauntlet_mean:
            require("gauntlet_mean", name, self.likelihood, "one of likelihood")
        return self
