"""Whether a corpus entry names a reader that is there, and options and sources that it takes.

In: an entry, before anything is fetched. Out: nothing, or EntryError. The reader itself is asked:
it is started with sources that end it when it looks at a file, by when it has seen its options.
It does not know whether the bytes can be had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_ledger.catalogue import CorpusEntry, ModelEntry
from lora_ledger.common.errors import KeyProblem, nearest, require
from lora_ledger.data.corpora import reader
from lora_ledger.data.corpora import readers as folder


class EntryError(ValueError):
    """An entry that no corpus can be made of. One line for a person."""


class _Looked(Exception):
    """The reader has come to its data."""


class _Sources(Mapping[str, Path]):
    """The names of an entry's sources, without a file behind any of them."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def __getitem__(self, name: str) -> Path:
        if name not in self.names:
            found = ", ".join(self.names) or "none"
            near = nearest(name, self.names)
            hint = f" in place of {near!r}" if near else ""
            raise EntryError(f"sources: found {found}, expected {name!r}{hint}")
        raise _Looked

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def names() -> list[str]:
    """The names of all readers, sorted."""
    return sorted(path.stem for path in Path(folder.__path__[0]).glob("[!_]*.py"))


def holds(entry: CorpusEntry, name: str, split: str, what: str) -> None:
    """KeyProblem unless the entry `name` has the split that `what` reads."""
    if split not in entry.splits:
        raise KeyProblem(
            f"catalogue.{name}.splits", list(entry.splits), f"{split} among them, for {what}"
        )


def check(entry: CorpusEntry, known: Mapping[str, CorpusEntry | ModelEntry], key: str) -> None:
    """Raises KeyProblem or EntryError, which names the key below `key`."""
    require(f"{key}.reader", entry.reader, names(), "one of")
    corpora = [name for name, one in known.items() if one.type == "corpus"]
    for name in entry.derived_from:
        require(f"{key}.derived_from", name, corpora, "a corpus")
    near = entry.options.get("near_duplicates", True)
    if not isinstance(near, bool):
        raise KeyProblem(f"{key}.options.near_duplicates", near, "true or false")
    if entry.mixture:
        return
    try:
        next(reader(entry.reader)(_Sources(list(entry.sources)), entry.options), None)
    except _Looked:
        pass
    except ValueError as error:
        raise EntryError(f"{key}.{error}") from None
