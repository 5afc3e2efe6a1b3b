"""A study: one YAML file, typed, frozen and validated once.

In: the parsed content of a study file (`study_file.load` reads it).
Out: a `Study` with its four axes (setting, method, budget, seed), the learning rates, and what is
evaluated how. Everything that can be known to be wrong before any compute is refused here.
It does not say which jobs follow (`cells` does) and reads no file but the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from lora_ledger.catalogue import (
    CorpusEntry,
    Frozen,
    ModelEntry,
    entries,
)
from lora_ledger.common.errors import KeyProblem, require
from lora_ledger.methods import Method
from lora_ledger.methods.recipe import over

from .budgets import Budget as Budget
from .compute import Compute as Compute
from .compute import Precision as Precision
from .decisions import Decision
from .derivations import Derivations
from .evaluation import Evaluation, Name
from .parts import Other as Other
from .parts import Permission as Permission
from .parts import Setting as Setting
from .regimes import REGIMES, UNITS

RESERVED_NAMES = ("pinned", "published", "running")
RESERVED_SETTINGS = ("base", "other", "derived", "trunk", "sequence", "random")
"""First parts of what else is evaluated like a cell."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What numpy takes for one."""


class Study(Frozen):
    """One study. Cells are settings x methods x budgets x seeds, narrowed by each setting, on the
    study's model, or on each of several."""

    name: Name
    title: str
    model: Name | None = Field(None, description="A model of the catalogue.")
    models: tuple[Name, ...] = Field((), description="Several, in the place of `model`.")
    model_of_seed: dict[Seed, Name] = Field(
        default_factory=dict,
        description="Which of `models` the cells of a seed stand on; default: on each of them.",
    )
    compute: Compute = Compute()
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    tuning_seed: Seed = 1000
    keep_weights: bool = Field(
        False,
        description="Keep the weights of trained cells. Else they go once all that a cell is asked "
        "has been answered, and a cell that is asked more is trained again.",
    )
    checkpoint_steps: PositiveInt = Field(100, description="Optimiser steps between checkpoints.")
    catalogue: dict[Name, Annotated[ModelEntry | CorpusEntry, Field(discriminator="type")]] = Field(
        default_factory=dict, description="Entries of the study's own, such as local files."
    )
    to_be_pinned: bool = Field(
        False, description="Refuse what cannot be pinned: a hub source without a commit."
    )
    settings: dict[Name, Setting] = Field(
        default_factory=dict, description="Without one, the untouched model alone is evaluated."
    )
    methods: dict[Name, Method] = Field(default_factory=dict)
    budgets: dict[Name, Budget] = Field(default_factory=dict)
    others: dict[Name, Other] = Field(
        default_factory=dict, description="Somebody else's models and adapters."
    )
    derived: Derivations = Field(
        Derivations(), description="Cells made from the weights of trained ones, without training."
    )
    contamination: tuple[Permission, ...] = ()
    evaluation: Evaluation = Evaluation()
    decisions: dict[Name, Decision] = Field(
        default_factory=dict, description="By which rules claims are decided."
    )

    @model_validator(mode="after")
    def _cross_check(self) -> Study:
        if self.name in RESERVED_NAMES:
            raise KeyProblem("name", self.name, f"a name that is not {_either(RESERVED_NAMES)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise KeyProblem("seeds", list(self.seeds), "seeds that differ")
        if self.tuning_seed in self.seeds:
            raise KeyProblem("tuning_seed", self.tuning_seed, "a seed that is not among seeds")
        known = self.known()
        _check_models(self, [n for n, e in known.items() if e.type == "model"])
        if self.settings:
            for key in ("methods", "budgets"):
                if not getattr(self, key):
                    raise KeyProblem(key, {}, "one or more, since there are settings")
        elif not (self.evaluation.generate or self.evaluation.texts or self.evaluation.likelihood):
            raise KeyProblem("settings", {}, "a setting, or something in evaluation")
        for name, setting in self.settings.items():
            _check_setting(self, known, name, setting)
        for name, other in self.others.items():
            for task in other.tasks or ():
                require(f"others.{name}.tasks", task, self.evaluation.generate, "one of")
        runs = [*self.evaluation.generate, *self.evaluation.likelihood]
        for i, pair in enumerate(self.contamination):
            corpora = list(dict.fromkeys(setting.corpus for setting in self.settings.values()))
            require(f"contamination.{i}.corpus", pair.corpus, corpora, "a setting's corpus")
            require(f"contamination.{i}.task", pair.task, runs, "a key of evaluation")
        for name, method in self.methods.items():
            at = method.reference()
            if at:
                require(f"methods.{name}.at", at[1], self.methods, "a method")
                if self.methods[at[1]].at is not None:
                    raise KeyProblem(
                        f"methods.{name}.at", method.at, "a method with learning_rates"
                    )
        trained = {setting.corpus for setting in self.settings.values()}
        for name, one in self.evaluation.memorised.items():
            require(
                f"evaluation.memorised.{name}.corpus", one.corpus, trained, "a setting's corpus"
            )
        beside = self.evaluation.beside_base
        if beside and self.compute.backend == "vllm":
            raise KeyProblem(
                "compute.backend",
                "vllm",
                f"fast or plain: evaluation.{beside[0]} needs the logits of a whole vocabulary",
            )
        for name, text in self.evaluation.texts.items():
            corpus(known, f"evaluation.texts.{name}.corpus", text.corpus, ("text",))
        return self

    def known(self) -> Mapping[str, ModelEntry | CorpusEntry]:
        """The catalogue together with the study's own entries."""
        return {**entries(), **self.catalogue}

    def entry(self, name: str) -> ModelEntry | CorpusEntry:
        """One entry: the study's own, else the catalogue's."""
        return self.catalogue[name] if name in self.catalogue else entries()[name]

    @property
    def model_names(self) -> tuple[str, ...]:
        """The models, one or several."""
        return self.models or (str(self.model),)

    @property
    def several(self) -> bool:
        """Whether cells are told apart by their model too."""
        return len(self.model_names) > 1

    def models_at(self, setting: str, seed: int) -> tuple[str, ...]:
        """The models that a setting's cells of one seed stand on."""
        own = self.settings[setting].model or self.model_of_seed.get(seed)
        return (own,) if own else self.model_names

    def models_of(self, setting: str) -> tuple[str, ...]:
        """The models that a setting's cells stand on; rates are tuned on the first."""
        own, of_seed = self.settings[setting].model, self.model_of_seed
        if own or not of_seed:
            return (own,) if own else self.model_names
        return tuple(dict.fromkeys(of_seed[seed] for seed in self.seeds))

    def model_entry(self, name: str | None = None) -> ModelEntry:
        """The entry of a model; without a name of the study's one, or of the first of several."""
        entry = self.entry(name or self.model_names[0])
        assert isinstance(entry, ModelEntry)
        return entry

    def corpus_entry(self, name: str) -> CorpusEntry:
        entry = self.entry(name)
        assert isinstance(entry, CorpusEntry)
        return entry

    def methods_of(self, setting: str) -> tuple[str, ...]:
        return self.settings[setting].methods or tuple(self.methods)

    def budgets_of(self, setting: str) -> tuple[str, ...]:
        return self.settings[setting].budgets or tuple(self.budgets)

    def recipe_of(self, setting: str, method: str) -> Setting:
        """The setting as it trains a method: with what the method says for itself over it."""
        found, own = self.settings[setting], self.methods[method]
        return found.model_copy(
            update={
                "optimiser": over(found.optimiser, own.optimiser),
                "schedule": over(found.schedule, own.schedule),
                "max_grad_norm": own.max_grad_norm or found.max_grad_norm,
            }
        )

    def rates_of(self, setting: str, method: str) -> tuple[float, ...]:
        """The grid of a method in a setting; empty when it follows another method's selection."""
        own = self.settings[setting].learning_rates.get(method)
        return own or self.methods[method].learning_rates or ()


def corpus(
    known: Mapping[str, ModelEntry | CorpusEntry], key: str, name: str, contents: tuple[str, ...]
) -> CorpusEntry:
    """The corpus `name`, refused when it is unknown or of another content."""
    entry = known.get(name)
    if not isinstance(entry, CorpusEntry):
        require(key, name, [n for n, e in known.items() if e.type == "corpus"], "a corpus")
    assert isinstance(entry, CorpusEntry)
    if entry.content not in contents:
        fitting = [
            n for n, e in known.items() if isinstance(e, CorpusEntry) and e.content in contents
        ]
        raise KeyProblem(
            key,
            name,
            f"a corpus of {' or '.join(contents)} (it holds {entry.content}): "
            + ", ".join(fitting),
        )
    return entry


def _check_models(study: Study, known: Sequence[str]) -> None:
    """Refuse models that are not there, and models, seeds and settings that do not go together."""
    if bool(study.model) == bool(study.models):
        given = {"model": study.model, "models": list(study.models)} if study.model else None
        raise KeyProblem("model", given, "a model here, or several in models")
    if study.model:
        require("model", study.model, known, "a model")
    for name in study.models:
        require("models", name, known, "a model")
    if len(set(study.models)) < len(study.models):
        raise KeyProblem("models", list(study.models), "models that differ")
    names = study.model_names
    for name in names if study.several else ():
        if name in RESERVED_SETTINGS:
            raise KeyProblem("models", name, f"a name that is not {_either(RESERVED_SETTINGS)}")
    of_seed = study.model_of_seed
    if of_seed and not study.several:
        raise KeyProblem("model_of_seed", of_seed, "several models, of which each seed has one")
    if of_seed and set(of_seed) != set(study.seeds):
        listed = ", ".join(map(str, study.seeds))
        raise KeyProblem("model_of_seed", sorted(of_seed), f"a model for each of seeds: {listed}")
    named = {f"model_of_seed.{seed}": name for seed, name in of_seed.items()}
    named |= {f"settings.{x}.model": one.model for x, one in study.settings.items() if one.model}
    named |= {f"others.{x}.model": one.model for x, one in study.others.items() if one.model}
    for key, name in named.items():
        require(key, name, names, "one of models" if study.several else "the study's model")
    trained_on = {name for setting in study.settings for name in study.models_of(setting)}
    for name in names if study.settings else ():
        if name not in trained_on:
            raise KeyProblem("models", name, "a model that a setting or model_of_seed names")


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _check_setting(
    study: Study, known: Mapping[str, ModelEntry | CorpusEntry], name: str, setting: Setting
) -> None:
    """Refuse a setting that names what is not there or trains on what it may not."""
    here = f"settings.{name}"
    if name in RESERVED_SETTINGS:
        raise KeyProblem("settings", name, f"a name that is not {_either(RESERVED_SETTINGS)}")
    regime = REGIMES[setting.regime]
    entry = corpus(known, f"{here}.corpus", setting.corpus, (regime.content,))
    if "train" not in entry.splits or entry.splits["train"].role != "train":
        roles = {split: what.role for split, what in entry.splits.items()}
        raise KeyProblem(f"{here}.corpus", roles, "a corpus with a split whose role is train")
    for key, found_names, known_names in (
        ("methods", setting.methods or (), study.methods),
        ("budgets", setting.budgets or (), study.budgets),
        ("tuning_budget", filter(None, [setting.tuning_budget]), study.budgets),
        ("learning_rates", setting.learning_rates, study.methods),
        ("tasks", setting.tasks, study.evaluation.generate),
    ):
        for found in found_names:
            require(f"{here}.{key}", found, known_names, "one of")
    for budget in dict.fromkeys((*study.budgets_of(name), *filter(None, [setting.tuning_budget]))):
        unit = study.budgets[budget].unit
        if unit not in regime.budgets:
            raise KeyProblem(
                f"budgets.{budget}.{unit}",
                getattr(study.budgets[budget], unit),
                f"{_either([one for one in UNITS if one in regime.budgets])}, since "
                f"settings.{name} is of the regime {setting.regime}",
            )
    setting.optimiser.check(f"{here}.optimiser.")
    setting.schedule.check(f"{here}.schedule.")
    for method in study.methods_of(name):
        own, recipe = f"methods.{method}.", study.recipe_of(name, method)
        optimiser, schedule = recipe.optimiser, study.methods[method].schedule
        optimiser.check(f"{own}optimiser.", f", as {here} has it trained")
        if schedule is not None:
            recipe.schedule.check(f"{own}schedule.", f", as {here} has it trained", schedule)
        study.methods[method].check_optimiser(optimiser, own, here)
    if setting.batch_size % setting.micro_batch_size:
        raise KeyProblem(
            f"{here}.micro_batch_size",
            setting.micro_batch_size,
            f"a divisor of batch_size, which is {setting.batch_size}",
        )
    widths = {m: len(study.rates_of(name, m)) for m in study.methods_of(name)}
    tuned = {m: width for m, width in widths.items() if width > 1}
    if len(set(tuned.values())) > 1:
        raise KeyProblem(
            f"{here}.learning_rates", tuned, "grids of equal width, so that no arm is tuned harder"
        )
