"""Where a study's bytes come from: its corpora, their sources, the user's own files behind them.

In: a validated `Study`, and perhaps the folder of its results. Out: names and sources. Nothing is
fetched here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lora_ledger.catalogue import (
    CorpusEntry,
    HubSource,
    LocalSource,
    ModelEntry,
    ModelSource,
    Source,
)
from lora_ledger.data.tasks import describe

from .schema import Study


def corpora(study: Study) -> list[str]:
    """Every corpus that the study needs."""
    evaluation = study.evaluation
    names = [s.corpus for s in study.settings.values()]
    names += [describe(run.task, run.corpus).corpus for run in evaluation.generate.values()]
    names += [text.corpus for text in evaluation.texts.values()]
    names += [describe(one.task, one.corpus).corpus for one in evaluation.likelihood.values()]
    names += [describe(one.task, one.corpus).corpus for one in evaluation.prompts.values()]
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


def sources(study: Study, out: Path | None = None) -> dict[str, ModelSource]:
    """All sources of the study by name; with `out`, those that no record below it was made from."""
    found: dict[str, ModelSource] = {}

    def add(place: str, name: str, said: Mapping[str, Any], own: Mapping[str, ModelSource]) -> None:
        if out is None or not _made(out / place / name / "record.json", said):
            prefix = "others." if place == "other" else ""
            found.update({f"{prefix}{name}.{key}": source for key, source in own.items()})

    for name in study.model_names:
        model = study.model_entry(name)
        add("models", name, _said(model), {"source": model.source})
    for name in corpora(study):
        add("data", name, _said(study.corpus_entry(name)), corpus_sources(study, name))
    for name, other in study.others.items():
        said = {"source": other.source.model_dump(mode="json")}
        add("other", name, said, {"source": other.source})
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
    """The files on the user's own disk behind an entry of the catalogue, or of `others`.

    What another study trained is none of them: the entry has its hash, so its age says nothing.
    """
    own: Iterable[ModelSource]
    if other:
        own = [study.others[other].source]
    else:
        known = study.entry(entry)
        own = corpus_sources(study, entry).values() if known.type == "corpus" else [known.source]
    found: list[Path] = []
    for source in own:
        if isinstance(source, LocalSource):
            path = Path(source.path).expanduser()
            found += [p for p in sorted(path.iterdir()) if p.is_file()] if path.is_dir() else [path]
    return [str(path) for path in found]
