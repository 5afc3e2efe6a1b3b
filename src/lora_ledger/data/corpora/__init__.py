"""Corpora: sources become examples.

Each module here has one public function

    read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]

where `sources` maps the names of the catalogue entry's sources to files on disk. A reader cleans
and yields; it does not de-duplicate, split, tokenise or download. `fetch` does the rest, the same
way for every corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path


@dataclass(frozen=True)
class Example:
    """One document, one pair, one problem or one multiple-choice item.

    `group` is what must stay on one side of a split: a source file, a country, a template.
    `split` is empty for the hash of the group to decide, or the name of a published split.
    `text` holds a document; `prompt` and `response` a pair or a problem with its reference;
    `fields` holds whatever else a task needs (tests, entry point, choices, gold), as plain JSON
    values.
    """

    group: str
    text: str = ""
    prompt: str = ""
    response: str = ""
    split: str = ""
    fields: dict[str, object] = field(default_factory=dict)


Reader = Callable[[Mapping[str, Path], Mapping[str, object]], Iterator[Example]]


def reader(name: str) -> Reader:
    """The `read` function of the module `lora_ledger.data.corpora.<name>`."""
    read: Reader = import_module(f"lora_ledger.data.corpora.readers.{name}").read
    return read
