"""Stage `fetch`: what the catalogue names becomes a model folder or a corpus of examples.

In: a catalogue entry and its sources (from the cache, the mirror or upstream, hash-checked), or one
of the study's `others`.
Out: `models/<model>/`, an ordinary transformers folder; `data/<corpus>/` with one folder for each
split; or `other/<name>/` with `model/` or `adapter/`; and a record in each.
It tokenises nothing; `prepare` does.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lora_ledger.catalogue import PROSE, CorpusEntry, ModelEntry
from lora_ledger.common.errors import require
from lora_ledger.data.sources import SourceError, obtain
from lora_ledger.data.sources.pins import pinned, pins
from lora_ledger.records.atomic import new_folder
from lora_ledger.scheduling.stage import Names, Stage, lean
from lora_ledger.study import cells, sources
from lora_ledger.study.file import load
from lora_ledger.study.models import model_config
from lora_ledger.study.schema import Study

from ._main import flag, place
from ._main import run as run_stage


def reads(study: Study, names: Names) -> dict[str, Any]:
    """An entry without its prose, and the entries of a mixture's parts; of `others`, the source."""
    if "other" in names:
        other = study.others[names["other"]]
        return lean(other, "title", "tasks", "licence", "citation")
    return _entry(study, names.get("model") or names["corpus"])


def _entry(study: Study, name: str) -> dict[str, Any]:
    known = study.known()[name]
    entry = lean(known, *PROSE)
    if isinstance(known, CorpusEntry):
        for split in entry["splits"].values():
            split.pop("description", None)
        if known.mixture:
            entry["parts"] = {part: _entry(study, part) for part in known.mixture}
    return entry


def modules(study: Study, names: Names) -> tuple[str, ...]:
    """What makes a model folder, somebody else's, or the splits of a corpus with its readers."""
    if "other" in names:
        return ("models.external",)
    if "model" in names:
        return ("models.pretrained",)
    entry = study.corpus_entry(names["corpus"])
    read = [entry.reader, *(study.corpus_entry(part).reader for part in entry.mixture)]
    return (
        "data.corpora.make",
        "data.corpora.store",
        *(f"data.corpora.readers.{reader}" for reader in read),
    )


def asks(study: Study, names: Names) -> dict[str, Any]:
    """As `reads`, without where the bytes come from: what pins them is an input."""
    found = reads(study, names)
    for entry in (found, *found.get("parts", {}).values()):
        entry.pop("source", None)
        entry.pop("sources", None)
    return found


STAGE = Stage("fetch", ("the first",), reads, asks=asks, modules=modules, whole=False)


def fetch_model(study: Study, name: str, out: Path) -> None:
    """Write the model folder `out` and its record."""
    from lora_ledger.models.pretrained import write_model

    entry = study.known()[name]
    assert isinstance(entry, ModelEntry)
    results = write_model(name, entry, out)
    digests, commits, resolved = pins({"source": entry.source})
    STAGE.record(
        out / "record.json",
        study,
        {"model": name},
        name,
        inputs=digests,
        settings=pinned(entry.model_dump(mode="json", exclude=PROSE), commits),
        results=results,
        run=resolved,
    )


def fetch_corpus(study: Study, name: str, out: Path) -> None:
    """Write the splits of a corpus below `out` and their record."""
    from lora_ledger.data.corpora.make import make
    from lora_ledger.data.corpora.readers import mixture
    from lora_ledger.data.corpora.store import save

    entry = study.corpus_entry(name)
    splits, results = mixture.make(name, study.known()) if entry.mixture else make(name, entry)
    digests, commits, resolved = pins(sources.corpus_sources(study, name))
    with new_folder(out) as folder:
        save({s: splits.get(s, []) for s in entry.splits}, folder)
        STAGE.record(
            folder / "record.json",
            study,
            {"corpus": name},
            name,
            inputs=digests,
            settings=pinned(entry.model_dump(mode="json", exclude=PROSE), commits),
            results=results,
            run=resolved,
        )


def fetch_other(study: Study, name: str, out: Path, model: Path | None = None) -> None:
    """Write somebody else's model or adapter below `out`, checked, and its record.

    `model` is the folder of the model that it may be an adapter of; without it the catalogue says
    what that is like.
    """
    from lora_ledger.models.external import write
    from lora_ledger.models.pretrained import read_json

    other = study.others[name]
    base = (
        read_json(model / "config.json") if model else model_config(study.model_entry(other.model))
    )
    origin = obtain(other.source)
    if not origin.is_dir():
        raise SourceError(
            f"others.{name}.source: found the file {origin}, expected a folder with config.json "
            "or adapter_config.json"
        )
    with new_folder(out) as folder:
        tokens = cells.tokens(study, f"{cells.OTHER}/{name}")
        try:
            results = write(origin, folder, base, tokens)
        except SourceError as error:
            raise SourceError(f"others.{name}: {error}") from error
        digests, commits, resolved = pins({"source": other.source})
        described = other.model_dump(
            mode="json", include={"source", "title", "licence", "citation"}
        )
        STAGE.record(
            folder / "record.json",
            study,
            {"other": name},
            f"{cells.OTHER}/{name}",
            inputs=digests,
            settings={**pinned(described, commits), "kind": results.pop("kind")},
            results=results,
            run=resolved,
        )


FLAGS = (
    flag("study"),
    flag("model", "an entry; with --other, the model's folder", required=False),
    flag("corpus", required=False),
    flag("other", required=False),
    place("out", "folder to write"),
)


def main(args: argparse.Namespace) -> None:
    """Fetch the one thing that is named."""
    if bool(args.corpus) + bool(args.other or args.model) != 1:
        raise ValueError("found none or several of --model, --corpus and --other, expected one")
    study = load(args.study)
    if args.other:
        require("--other", args.other, study.others, "one of others")
        fetch_other(study, args.other, args.out, Path(args.model) if args.model else None)
        return
    require("--model or --corpus", args.model or args.corpus, study.known(), "an entry")
    if args.model:
        fetch_model(study, args.model, args.out)
    else:
        fetch_corpus(study, args.corpus, args.out)


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main))
