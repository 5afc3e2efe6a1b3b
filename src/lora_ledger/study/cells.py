"""What a study asks for: its cells, its jobs, and which of them are asked what.

In: a validated `Study`. Out: cells, and the names that fill the workflow's wildcards. What is asked
for one job takes as long in a study of thousands of cells as in a small one.
Rates are `rates`, sources and files `sources`, and what an outcome depends on is `staleness`.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from itertools import combinations

from lora_ledger.catalogue import TokenRoles
from lora_ledger.data.tasks import TaskInfo, describe

from .cell import Cell as Cell
from .cell import cell_of as cell_of
from .cell import label_of as label_of
from .derived import DERIVED, Derived, expand
from .rates import all_tuned, reported
from .schema import Study

BASE = "base"
OTHER = "other"


class Index:
    """What is looked up in a study by name, made once."""

    def __init__(self, study: Study) -> None:
        several = study.several
        self.cells = tuple(
            cell_of(study, setting, method, budget, seed, model, rate)
            if study.budgets[budget].trunk
            else Cell(setting, method, budget, seed, model, rate)
            for setting in study.settings
            for method in study.methods_of(setting)
            for budget in study.budgets_of(setting)
            for rate in reported(study, setting, method)
            for seed in study.seeds
            for model in (study.models_at(setting, seed) if several else (None,))
        )
        self.by_label = {cell.label: cell for cell in self.cells}
        self.bases = {f"{BASE}/{name}": name for name in study.model_names}
        if not several:
            self.bases = {BASE: study.model_names[0]}
        self.branches: dict[str, list[Cell]] = {}
        for cell in self.cells:
            if cell.parent is not None:
                self.branches.setdefault(cell.parent, []).append(cell)
        self.derived = {one.label: one for one in expand(study, self.cells)}
        self.derived_of: dict[str, list[Derived]] = {}
        for one in self.derived.values():
            self.derived_of.setdefault(one.of.label, []).append(one)
        self.permissions: dict[tuple[str, str], str] = {}
        for pair in study.contamination:
            self.permissions.setdefault((pair.corpus, pair.task), pair.reason)


# A study holds dicts and so has no hash; an index lives as long as its study.
_INDEXES: dict[int, tuple[weakref.ref[Study], Index]] = {}


def index(study: Study) -> Index:
    """The study's index, made when it is first asked for."""
    key = id(study)
    held = _INDEXES.get(key)
    if held is None or held[0]() is not study:
        held = (weakref.ref(study, lambda _: _INDEXES.pop(key, None)), Index(study))
        _INDEXES[key] = held
    return held[1]


def cells(study: Study) -> list[Cell]:
    """All trained cells, in the order of the study file."""
    return list(index(study).cells)


def cell(study: Study, label: str) -> Cell | None:
    """The trained cell of a label; None for all else that is evaluated like one."""
    return index(study).by_label.get(label)


def derived(study: Study, label: str) -> Derived | None:
    """What is made of a trained cell's weights under a label; None for all else."""
    return index(study).derived.get(label)


def derived_of(study: Study, label: str) -> list[Derived]:
    """What is made of a trained cell's weights."""
    return index(study).derived_of.get(label, [])


def weights_of(study: Study, label: str) -> Cell | None:
    """The trained cell whose weights an evaluation loads: its own, or those that it is derived
    from; None for an untouched model, and for somebody else's."""
    made = derived(study, label)
    return made.of if made else cell(study, label)


def other_of(label: str) -> str | None:
    """The key of `others` behind a label; None for the untouched model and trained cells."""
    first, _, name = label.partition("/")
    return name if first == OTHER and "/" not in name else None


def generate_runs(study: Study, label: str) -> list[str]:
    """The generation runs of a cell: its setting's tasks; those of another's model; for the base,
    all."""
    found, other = weights_of(study, label), other_of(label)
    if found:
        return list(study.settings[found.setting].tasks)
    if other and study.others[other].tasks is not None:
        return list(study.others[other].tasks or ())
    return list(study.evaluation.generate)


def bases(study: Study) -> list[str]:
    """The untouched model, or each of several, as `base/<model>`."""
    return list(index(study).bases)


def is_base(label: str) -> bool:
    """Whether a label is that of an untouched model."""
    return label.partition("/")[0] == BASE


def model_of(study: Study, label: str) -> str:
    """The model that a cell stands on; of somebody else's, the one that its adapter is of."""
    found, other = weights_of(study, label), other_of(label)
    own = found.model if found else study.others[other].model if other else None
    return index(study).bases.get(label) or own or study.model_names[0]


def base_of(study: Study, label: str) -> str:
    """The label of the untouched model that a cell is held against."""
    return f"{BASE}/{model_of(study, label)}" if study.several else BASE


def packed(study: Study) -> dict[str, tuple[str, str]]:
    """The data to be packed, by its path below `packed/`: setting and model. It is packed for each
    model by itself, as their tokenizers may differ."""
    return {
        f"{model}/{setting}" if study.several else setting: (setting, model)
        for setting in study.settings
        for model in study.models_of(setting)
    }


def branches(study: Study) -> dict[str, list[Cell]]:
    """By the label of a trunk, the cells that branch off its run."""
    return index(study).branches


def labels(study: Study) -> list[str]:
    """The untouched models, somebody else's as `other/<name>`, every trained cell, and what is made
    from them as `derived/<kind>/<cell>/<how>`."""
    return [*with_weights(study), *index(study).derived]


def with_weights(study: Study) -> list[str]:
    """All of these but what is derived."""
    return [*bases(study), *(f"{OTHER}/{name}" for name in study.others), *index(study).by_label]


def folder(study: Study, label: str) -> str:
    """Where the weights that a cell loads lie below the study's results; empty for an untouched
    model."""
    found = weights_of(study, label)
    return f"train/{found.label}" if found else label if other_of(label) else ""


def scored(study: Study) -> Iterator[tuple[str, str]]:
    """(run, label) of every generation."""
    for label in labels(study):
        for run in generate_runs(study, label):
            yield run, label


def retained(study: Study) -> list[str]:
    """The names of what every cell is asked of the source domain: texts, likelihood tasks,
    prompts, examples of training corpora."""
    asked = study.evaluation
    return [*asked.texts, *asked.likelihood, *asked.prompts, *asked.memorised]


def evaluations(study: Study, label: str) -> list[str]:
    """The records of all that a cell's weights are asked, those of what is derived from it with
    them, as paths below the study's results, without `.json`."""
    every = [label, *(one.label for one in derived_of(study, label))]
    generated = [f"generate/{run}/{one}" for run in generate_runs(study, label) for one in every]
    spectrum = [f"spectrum/{label}"] if study.evaluation.spectrum else []
    retention = [f"retain/{task}/{one}" for task in retained(study) for one in every]
    return [*generated, *retention, *spectrum]


def compared(study: Study, setting: str) -> list[tuple[str, str]]:
    """The cells of a setting whose changes are compared: those that differ in seed or in method
    alone, and have a ΔW."""
    found = [
        cell
        for cell in index(study).cells
        if cell.setting == setting and study.methods[cell.method].merges
    ]
    return [
        (one.label, two.label)
        for one, two in combinations(found, 2)
        if (one.model, one.budget) == (two.model, two.budget)
        and one.rate == two.rate
        and (one.method == two.method) != (one.seed == two.seed)
    ]


def subspaces(study: Study) -> list[str]:
    """The settings whose cells' changes are compared."""
    asked = study.evaluation.spectrum is not None
    return [setting for setting in study.settings if asked and compared(study, setting)]


def corpus_of(study: Study, name: str) -> str:
    """The corpus behind a text, a run of `generate`, a `likelihood` entry, prompts or a `memorised`
    entry."""
    evaluation = study.evaluation
    text = evaluation.texts.get(name) or evaluation.memorised.get(name)
    return text.corpus if text else task_of(study, name).corpus


def asked_alike(study: Study) -> list[tuple[list[str], str]]:
    """(generation runs, a pattern of labels) for each kind of cell, so that one rule fits all cells
    of a kind: the base, each of somebody else's models, and the cells of each setting."""
    kinds = {label: label for label in bases(study)}
    kinds |= {f"{OTHER}/{name}": f"{OTHER}/{name}" for name in study.others}
    made = f"({DERIVED}/[a-z]+/)?" if index(study).derived else ""
    kinds |= {cell.label: f"{made}{cell.packed}/.+" for cell in index(study).cells}
    found = {pattern: generate_runs(study, label) for label, pattern in kinds.items()}
    return [(runs, pattern) for pattern, runs in found.items()]


def task_of(study: Study, run: str) -> TaskInfo:
    """The task file behind a run of `generate`, a `likelihood` entry or prompts."""
    evaluation = study.evaluation
    named = (
        evaluation.generate.get(run) or evaluation.likelihood.get(run) or evaluation.prompts[run]
    )
    return describe(named.task, named.corpus)


def gated(study: Study, setting: str) -> list[str]:
    """The runs whose items the setting's corpus is searched for: all that its cells are asked."""
    return [*study.settings[setting].tasks, *study.evaluation.likelihood]


def pairs(study: Study) -> list[tuple[str, str]]:
    """Each (corpus, run) that the contamination gate measures."""
    found = [
        (what.corpus, run) for name, what in study.settings.items() for run in gated(study, name)
    ]
    return list(dict.fromkeys(found))


def permission(study: Study, corpus: str, run: str) -> str:
    """The reason that the study gives for letting a pair pass; empty without one."""
    return index(study).permissions.get((corpus, run), "")


def figures(study: Study) -> list[str]:
    """The names of the figures: one for each general text, the first under the plain name, or, in a
    study without settings, the benchmarks; and what a `gauntlet_mean` lost beside the base's."""
    names = ["benchmarks"]
    if study.settings:
        texts = list(study.evaluation.texts)[1:]
        names = ["learning-forgetting", *(f"learning-forgetting-{text}" for text in texts)]
    if study.evaluation.gauntlet_mean and (study.settings or study.others):
        names.append("forgetting-gauntlet")
    if study.evaluation.spectrum:
        names += [f"spectra-{setting}" for setting in study.settings]
    return names


def tables(study: Study) -> list[str]:
    """The names of the tables."""
    names = ["learning", "forgetting", "diversity", "cost"]
    return [*names, "spectra", "subspaces"] if study.evaluation.spectrum else names


def records(study: Study) -> list[str]:
    """The records that the tables are made from, as paths below the study's results, without
    `.json`."""
    runs = list(scored(study))
    return [
        *(f"packed/{name}/record" for name in packed(study)),
        *(f"contaminate/{corpus}/{run}" for corpus, run in pairs(study)),
        *(f"select/{setting}/{method}" for setting, method in all_tuned(study)),
        *(f"train/{cell.label}/record" for cell in index(study).cells),
        *(f"generate/{run}/{label}" for run, label in runs),
        *(f"score/{run}/{label}" for run, label in runs),
        *(f"diversity/{r}/{label}" for r, label in runs if study.evaluation.generate[r].diversity),
        *(f"retain/{task}/{label}" for task in retained(study) for label in labels(study)),
        *(f"spectrum/{label}" for label in with_weights(study) if study.evaluation.spectrum),
        *(f"subspaces/{setting}" for setting in subspaces(study)),
    ]


def tokens(study: Study, label: str) -> TokenRoles:
    """The token roles of a cell: those of somebody else's model if it names its own."""
    other = other_of(label)
    own = study.others[other].tokens if other else None
    return own or study.model_entry(model_of(study, label)).tokens
