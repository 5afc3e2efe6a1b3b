"""Stage `fetch`: what the catalogue names becomes a model folder or a corpus of examples.

In: a catalogue entry and its sources (from the cache, the mirror or upstream, hash-checked).
Out: `models/<model>/`, an ordinary transformers folder, or `data/<corpus>/` with one folder for
each split, and a record beside them.
It tokenises nothing; `prepare` does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .catalogue import PROSE, CorpusEntry, GeneratedSource, LocalSource, ModelEntry, Source
from .digests import code_digest
from .records import digest_file, replace_folder, write_record
from .sources import SourceError, obtain
from .study import Study, require
from .study_file import StudyError, load


def source_digests(sources: Mapping[str, Source]) -> dict[str, str]:
    """What pins each source: its hash, or the seed of what is made on the spot."""
    digests = {}
    for name, source in sources.items():
        if isinstance(source, GeneratedSource):
            digests[name] = f"seed {source.seed}"
        elif isinstance(source, LocalSource) and source.sha256 is None:
            path = Path(source.path).expanduser()
            digests[name] = digest_file(path) if path.is_file() else f"folder {path.name}"
        else:
            digests[name] = source.sha256 or ""
    return digests


def fetch_model(study: Study, name: str, out: Path) -> None:
    """Write the model folder `out` and its record."""
    from .pretrained import write_model

    entry = study.known()[name]
    assert isinstance(entry, ModelEntry)
    results = write_model(name, entry, out)
    write_record(
        out / "record.json",
        stage="fetch",
        cell=name,
        inputs=source_digests({"source": entry.source}),
        code=code_digest("pretrained"),
        settings=entry.model_dump(mode="json", exclude=PROSE),
        results=results,
    )


def fetch_corpus(study: Study, name: str, out: Path) -> None:
    """Write the splits of a corpus below `out` and their record."""
    from .corpora import reader
    from .corpora.selection import select
    from .corpora.store import save

    entry = study.known()[name]
    assert isinstance(entry, CorpusEntry)
    files = {
        key: obtain(source)
        for key, source in entry.sources.items()
        if not isinstance(source, GeneratedSource)
    }
    examples = reader(entry.reader)(files, entry.options)
    near = bool(entry.options.get("near_duplicates", True))
    splits, counts = select(examples, near_duplicates=near)
    unknown = sorted(set(splits) - set(entry.splits))
    if any(splits[split] for split in unknown):
        raise SourceError(
            f"catalogue.{name}.splits: found examples of {', '.join(unknown)}, expected a role "
            "for each split; add it to the entry"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        save({s: splits.get(s, []) for s in entry.splits}, Path(temporary))
        write_record(
            Path(temporary) / "record.json",
            stage="fetch",
            cell=name,
            inputs=source_digests(entry.sources),
            code=code_digest("corpora.selection", ("corpora.store", f"corpora.{entry.reader}")),
            settings=entry.model_dump(mode="json", exclude=PROSE),
            results={"counts": counts},
        )
        replace_folder(Path(temporary), out)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lora_ledger.fetch", description=__doc__)
    parser.add_argument("--study", required=True)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model")
    what.add_argument("--corpus")
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    try:
        study = load(args.study)
        require("--model or --corpus", args.model or args.corpus, study.known(), "an entry")
        if args.model:
            fetch_model(study, args.model, args.out)
        else:
            fetch_corpus(study, args.corpus, args.out)
    except (StudyError, SourceError, ValueError, OSError) as error:
        print(f"fetch: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
