"""A catalogue entry becomes the splits of a corpus.

In: an entry that names a reader, and its sources. Out: the examples of each split that the entry
names, without copies, and the counts of what was read, dropped and kept. It writes nothing
(`store`); a mixture of several corpora is made by `readers.mixture`.
"""

from __future__ import annotations

from typing import Any

from lora_ledger.catalogue import CorpusEntry, GeneratedSource
from lora_ledger.data.sources import SourceError, obtain

from . import Example, reader
from .selection import select

Splits = dict[str, list[Example]]


def make(name: str, entry: CorpusEntry) -> tuple[Splits, dict[str, Any]]:
    """The splits of the corpus `name` as its reader and the selection make them, and `counts`.

    Raises SourceError for bytes that cannot be had, or examples of a split that the entry lacks.
    """
    files = {
        key: obtain(source)
        for key, source in entry.sources.items()
        if not isinstance(source, GeneratedSource)
    }
    splits, counts = select(
        reader(entry.reader)(files, entry.options),
        near_duplicates=bool(entry.options.get("near_duplicates", True)),
        published=[split for split, what in entry.splits.items() if what.as_published],
    )
    unknown = sorted(set(splits) - set(entry.splits))
    if any(splits[split] for split in unknown):
        raise SourceError(
            f"catalogue.{name}.splits: found examples of {', '.join(unknown)}, expected a role "
            "for each split; add it to the entry"
        )
    return {split: splits.get(split, []) for split in entry.splits}, {"counts": counts}
