"""What a study asks for: its cells, its jobs, and what each job's outcome depends on.

In: a validated `Study`.
Out: cells, the names that fill the workflow's wildcards, and for each stage the two parameters that
decide whether a job is out of date: the digest of its code and the digest of the part of the study
that it reads. Nothing here runs a job or touches a result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from .catalogue import PROSE, CorpusEntry, LocalSource, Source
from .digests import code_digest
from .records import digest_json
from .study import Study
from .tasks import TaskInfo, describe

BASE = "base"


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


def generate_runs(study: Study, label: str) -> list[str]:
    """The generation runs of a cell: its setting's tasks; for the base, those of any setting."""
    found = cell(study, label)
    if found:
        return list(study.settings[found.setting].tasks)
    return list(dict.fromkeys(t for s in study.settings.values() for t in s.tasks))


def labels(study: Study) -> list[str]:
    """The untouched model and every trained cell."""
    return [BASE, *(c.label for c in cells(study))]


def scored(study: Study) -> Iterator[tuple[str, str]]:
    """(run, label) of every generation."""
    for label in labels(study):
        for run in generate_runs(study, label):
            yield run, label


def task_of(study: Study, run: str) -> TaskInfo:
    """The task file behind a run of `generate` or a `choices` entry."""
    evaluation = study.evaluation
    named = evaluation.generate.get(run) or evaluation.choices[run]
    return describe(named.task)


def corpora(study: Study) -> list[str]:
    """Every corpus that the study needs."""
    names = [s.corpus for s in study.settings.values()]
    names += [task_of(study, run).corpus for run, _ in scored(study)]
    names += [text.corpus for text in study.evaluation.texts.values()]
    names += [task_of(study, name).corpus for name in study.evaluation.choices]
    return list(dict.fromkeys(names))


def wanted_sources(study: Study, out: Path) -> dict[str, Source]:
    """The sources of the model and the corpora that have no record below `out` yet, by name."""
    found: dict[str, Source] = {}
    for folder, names in (("models", [study.model]), ("data", corpora(study))):
        for name in names:
            if (out / folder / name / "record.json").is_file():
                continue
            entry = study.known()[name]
            own = entry.sources if isinstance(entry, CorpusEntry) else {"source": entry.source}
            found |= {f"{name}.{key}": source for key, source in own.items()}
    return found


def local_files(study: Study, name: str) -> list[str]:
    """The files on the user's own disk that an entry of the catalogue is made from."""
    entry = study.known()[name]
    sources = entry.sources.values() if isinstance(entry, CorpusEntry) else [entry.source]
    found: list[Path] = []
    for source in sources:
        if isinstance(source, LocalSource):
            path = Path(source.path).expanduser()
            found += [p for p in sorted(path.iterdir()) if p.is_file()] if path.is_dir() else [path]
    return [str(path) for path in found]


def figures(study: Study) -> list[str]:
    """The names of the figures: one for each general text, the first under the plain name."""
    texts = list(study.evaluation.texts)[1:]
    return ["learning-forgetting", *(f"learning-forgetting-{text}" for text in texts)]


def jobs(study: Study) -> dict[str, int]:
    """How many jobs each stage has."""
    runs = list(scored(study))
    pairs = all_tuned(study)
    return {
        "fetch": 1 + len(corpora(study)),
        "prepare": len(study.settings),
        "tune": sum(len(study.rates_of(*pair)) for pair in pairs),
        "select": len(pairs),
        "train": len(cells(study)),
        "generate": len(runs),
        "score": len(runs),
        "retain": len(labels(study)),
        "diversity": sum(study.evaluation.generate[run].diversity for run, _ in runs),
        "tabulate": 1,
        "figures": 1,
    }


def _lean(model: BaseModel) -> dict[str, Any]:
    """The keys that are not at their default, as JSON values."""
    return model.model_dump(mode="json", exclude_defaults=True)


def _compute(study: Study, role: str) -> dict[str, Any]:
    compute = study.compute
    return {
        "device": compute.device,
        "threads": compute.threads,
        "precision": getattr(compute.precision, role),
    }


def science(study: Study, stage: str, **names: str) -> str:
    """Digest of what a job's stage reads from the study and the catalogue.

    `names` are the job's wildcards: model, corpus, setting, method, budget, seed, run, cell.
    """
    return digest_json({"stage": stage, **_reads(study, stage, names)})


def _reads(study: Study, stage: str, names: dict[str, str]) -> dict[str, Any]:
    evaluation = study.evaluation
    if stage == "fetch":
        name = names.get("model") or names["corpus"]
        entry = study.known()[name].model_dump(mode="json", exclude_defaults=True, exclude=PROSE)
        if "splits" in entry:
            entry["splits"] = {split: what["role"] for split, what in entry["splits"].items()}
        return entry
    if stage == "prepare":
        setting = study.settings[names["setting"]]
        keys = {"corpus", "regime", "sequence_length", "validation"}
        return {
            **setting.model_dump(mode="json", include=keys),
            "tokens": _lean(study.model_entry().tokens),
        }
    if stage in ("tune", "train"):
        return _train(study, stage, names)
    if stage == "select":
        return {"rates": study.rates_of(names["setting"], names["method"])}
    if stage in ("generate", "score", "diversity"):
        run = evaluation.generate[names["run"]]
        lean = run.model_dump(mode="json", exclude_defaults=True, exclude={"diversity"})
        common = {"run": lean, "task": task_of(study, names["run"]).digest}
        if stage == "generate":
            common |= {
                "compute": _compute(study, "evaluate"),
                "tokens": _lean(study.model_entry().tokens),
            }
        return common
    if stage == "retain":
        return {
            "texts": {name: _lean(text) for name, text in evaluation.texts.items()},
            "choices": {
                name: {**_lean(choice), "digest": task_of(study, name).digest}
                for name, choice in evaluation.choices.items()
            },
            "batch_size": evaluation.batch_size,
            "compute": _compute(study, "evaluate"),
            "tokens": _lean(study.model_entry().tokens),
        }
    if stage in ("tabulate", "figures"):
        left_out = {"compute", "checkpoint_steps", "catalogue"}
        return {
            "study": study.model_dump(mode="json", exclude_defaults=True, exclude=left_out),
            "model": _lean(study.model_entry()),
        }
    raise ValueError(f"stage: found {stage!r}, expected a stage of the workflow")


def _train(study: Study, stage: str, names: dict[str, str]) -> dict[str, Any]:
    setting = study.settings[names["setting"]]
    method = study.methods[names["method"]]
    left_out = {"methods", "budgets", "tuning_budget", "learning_rates", "tasks", "corpus", "role"}
    rates = study.rates_of(names["setting"], names["method"])
    budget = names.get("budget") or setting.tuning_budget or study.budgets_of(names["setting"])[0]
    reads: dict[str, Any] = {
        "setting": setting.model_dump(mode="json", exclude_defaults=True, exclude=left_out),
        "method": method.model_dump(
            mode="json", exclude_defaults=True, exclude={"learning_rates", "at"}
        ),
        "budget": _lean(study.budgets[budget]),
        "compute": _compute(study, "train"),
        "evaluate": study.compute.precision.evaluate,
    }
    if stage == "tune":
        index = int(names["index"])
        return {**reads, "rate": rates[index], "seed": study.tuning_seed}
    if len(rates) == 1:
        reads["rate"] = rates[0]
    elif not rates:
        factor, other = method.reference() or (1.0, "")
        grid = study.rates_of(names["setting"], other)
        reads["rate"] = {"factor": factor, "of": grid[0] if len(grid) == 1 else "selection"}
    return {**reads, "seed": int(names["seed"])}


def code(study: Study, stage: str, **names: str) -> str:
    """Digest of the code that a job runs, with the modules that it imports by name."""
    if stage == "fetch" and "model" in names:
        return code_digest("pretrained")
    if stage == "fetch":
        entry = study.known()[names["corpus"]]
        assert isinstance(entry, CorpusEntry)
        return code_digest("corpora.selection", ("corpora.store", f"corpora.{entry.reader}"))
    if stage in ("tune", "train"):
        kind = study.methods[names["method"]].kind.replace("-", "_")
        return code_digest(stage, (f"methods.{kind}",))
    return code_digest(stage)
