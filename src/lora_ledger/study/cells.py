"""What a study asks for: its cells, its jobs, and what each job's outcome depends on.

In: a validated `Study`.
Out: cells, the names that fill the workflow's wildcards, and the sources and files behind them.
What a job's outcome depends on is `staleness`. Nothing here runs a job or changes a result.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_ledger.catalogue import (
    CorpusEntry,
    HubSource,
    LocalSource,
    ModelEntry,
    Source,
    TokenRoles,
)
from lora_ledger.data.tasks import TaskInfo, describe

from .schema import Study

BASE = "base"
OTHER = "other"


@dataclass(frozen=True)
class Cell:
    """One trained model: a point on the study's four axes."""

    setting: str
    method: str
    budget: str
    seed: int

    @property
    def label(self) -> str:
        return f"{self.setting}/{self.method}/{self.budget}/s{self.seed}"


def cells(study: Study) -> list[Cell]:
    """All trained cells, in the order of the study file."""
    return [
        Cell(setting, method, budget, seed)
        for setting in study.settings
        for method in study.methods_of(setting)
        for budget in study.budgets_of(setting)
        for seed in study.seeds
    ]


def cell(study: Study, label: str) -> Cell | None:
    """The cell of a label; None for the untouched model."""
    return {c.label: c for c in cells(study)}.get(label)


def tuned(study: Study) -> list[tuple[str, str]]:
    """(setting, method) pairs that have a grid of rates to choose from."""
    return [
        (setting, method)
        for setting in study.settings
        for method in study.methods_of(setting)
        if len(study.rates_of(setting, method)) > 1
    ]


def selection(study: Study, setting: str, method: str) -> tuple[str, str] | None:
    """The (setting, method) whose selected rate a cell needs, or None when its rate is given."""
    reference = study.methods[method].reference()
    chosen = (setting, reference[1] if reference and not _own(study, setting, method) else method)
    return chosen if len(study.rates_of(*chosen)) > 1 else None


def _own(study: Study, setting: str, method: str) -> bool:
    return method in study.settings[setting].learning_rates


def all_tuned(study: Study) -> list[tuple[str, str]]:
    """The pairs to tune: those with a grid of their own, and those that others refer to."""
    wanted = dict.fromkeys(tuned(study))
    for c in cells(study):
        chosen = selection(study, c.setting, c.method)
        if chosen:
            wanted[chosen] = None
    return list(wanted)


def other_of(label: str) -> str | None:
    """The key of `others` behind a label; None for the untouched model and trained cells."""
    first, _, name = label.partition("/")
    return name if first == OTHER and "/" not in name else None


def generate_runs(study: Study, label: str) -> list[str]:
    """The generation runs of a cell: its setting's tasks; those of another's model; for the base,
    all."""
    found, other = cell(study, label), other_of(label)
    if found:
        return list(study.settings[found.setting].tasks)
    if other and study.others[other].tasks is not None:
        return list(study.others[other].tasks or ())
    return list(study.evaluation.generate)


def labels(study: Study) -> list[str]:
    """The untouched model, somebody else's models as `other/<name>`, and every trained cell."""
    return [BASE, *(f"{OTHER}/{name}" for name in study.others), *(c.label for c in cells(study))]


def folder(label: str) -> str:
    """Where a cell's weights lie below the study's results; empty for the untouched model."""
    if label == BASE:
        return ""
    return label if other_of(label) else f"train/{label}"


def scored(study: Study) -> Iterator[tuple[str, str]]:
    """(run, label) of every generation."""
    for label in labels(study):
        for run in generate_runs(study, label):
            yield run, label


def task_of(study: Study, run: str) -> TaskInfo:
    """The task file behind a run of `generate` or a `likelihood` entry."""
    evaluation = study.evaluation
    named = evaluation.generate.get(run) or evaluation.likelihood[run]
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
    found = [p.reason for p in study.contamination if (p.corpus, p.task) == (corpus, run)]
    return found[0] if found else ""


def corpora(study: Study) -> list[str]:
    """Every corpus that the study needs."""
    names = [s.corpus for s in study.settings.values()]
    names += [task_of(study, run).corpus for run, _ in scored(study)]
    names += [text.corpus for text in study.evaluation.texts.values()]
    names += [task_of(study, name).corpus for name in study.evaluation.likelihood]
    return list(dict.fromkeys(names))


def corpus_sources(study: Study, name: str) -> dict[str, Source]:
    """The sources of a corpus, those of a mixture's parts as `<part>.<source>`."""
    entry = study.corpus_entry(name)
    found = dict(entry.sources)
    for part in entry.mixture:
        found |= {f"{part}.{key}": source for key, source in corpus_sources(study, part).items()}
    return found


def ancestors(study: Study, name: str) -> set[str]:
    """The evaluation sets that a corpus, or a part of the mixture that it is, was made from."""
    entry = study.corpus_entry(name)
    return set(entry.derived_from).union(*(ancestors(study, part) for part in entry.mixture))


def sources(study: Study, out: Path | None = None) -> dict[str, Source]:
    """All sources of the study by name; with `out`, those that no record below it was made from."""
    found: dict[str, Source] = {}

    def add(place: str, name: str, said: Mapping[str, Any], own: Mapping[str, Source]) -> None:
        if out is None or not _made(out / place / name / "record.json", said):
            prefix = "others." if place == OTHER else ""
            found.update({f"{prefix}{name}.{key}": source for key, source in own.items()})

    model = study.model_entry()
    add("models", study.model, _said(model), {"source": model.source})
    for name in corpora(study):
        add("data", name, _said(study.corpus_entry(name)), corpus_sources(study, name))
    for name, other in study.others.items():
        said = {"source": other.source.model_dump(mode="json")}
        add(OTHER, name, said, {"source": other.source})
    return found


def _said(entry: ModelEntry | CorpusEntry) -> dict[str, Any]:
    keys = {"source"} if isinstance(entry, ModelEntry) else {"sources", "mixture"}
    return entry.model_dump(mode="json", include=keys)


def _made(record: Path, said: Mapping[str, Any]) -> bool:
    """Whether a record is there and was made from these sources."""
    if not record.is_file():
        return False
    try:
        settings = json.loads(record.read_text("utf-8"))["science"]["settings"]
    except (ValueError, KeyError):
        return False
    return all(_fits(settings.get(key), value) for key, value in said.items())


def _fits(found: Any, said: Any) -> bool:
    """Whether a record's source is the entry's; it has the commit where the entry has a branch."""
    if isinstance(said, dict) and isinstance(found, dict):
        branch = said.get("kind") == "hub" and not HubSource.model_validate(said).resolved
        keys = said.keys() - ({"revision"} if branch else set())
        return said.keys() == found.keys() and all(_fits(found[k], said[k]) for k in keys)
    return bool(found == said)


def local_files(study: Study, *, entry: str = "", other: str = "") -> list[str]:
    """The files on the user's own disk behind an entry of the catalogue, or of `others`."""
    own: Iterable[Source]
    if other:
        own = [study.others[other].source]
    else:
        known = study.known()[entry]
        own = corpus_sources(study, entry).values() if known.type == "corpus" else [known.source]
    found: list[Path] = []
    for source in own:
        if isinstance(source, LocalSource):
            path = Path(source.path).expanduser()
            found += [p for p in sorted(path.iterdir()) if p.is_file()] if path.is_dir() else [path]
    return [str(path) for path in found]


def figures(study: Study) -> list[str]:
    """The names of the figures: one for each general text, the first under the plain name, or, in a
    study without settings, the benchmarks; and what a `gauntlet_mean` lost beside the base's."""
    names = ["benchmarks"]
    if study.settings:
        texts = list(study.evaluation.texts)[1:]
        names = ["learning-forgetting", *(f"learning-forgetting-{text}" for text in texts)]
    if study.evaluation.gauntlet_mean and (study.settings or study.others):
        names.append("forgetting-gauntlet")
    return names


def jobs(study: Study) -> dict[str, int]:
    """How many jobs each stage has."""
    runs = list(scored(study))
    grids = all_tuned(study)
    return {
        "fetch": 1 + len(corpora(study)) + len(study.others),
        "contaminate": len(pairs(study)),
        "gate": len(study.settings),
        "prepare": len(study.settings),
        "tune": sum(len(study.rates_of(*pair)) for pair in grids),
        "select": len(grids),
        "train": len(cells(study)),
        "generate": len(runs),
        "score": len(runs),
        "retain": len(labels(study)),
        "diversity": sum(study.evaluation.generate[run].diversity for run, _ in runs),
        "tabulate": 1,
        "figures": 1,
    }


def tokens(study: Study, label: str) -> TokenRoles:
    """The token roles of a cell: those of somebody else's model if it names its own."""
    other = other_of(label)
    own = study.others[other].tokens if other else None
    return own or study.model_entry().tokens
