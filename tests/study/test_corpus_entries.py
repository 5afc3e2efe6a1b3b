"""A corpus entry is checked by the reader that it names, before any bytes are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_ledger.catalogue import CorpusEntry, entries
from lora_ledger.study.corpus_entries import EntryError, check, names

FILE = {"kind": "local", "path": "nowhere.jsonl"}
ENTRY: dict[str, Any] = {
    "type": "corpus",
    "title": "mine",
    "reader": "jsonl",
    "content": "text",
    "sources": {"data": FILE},
    "splits": {role: {"role": role} for role in ("train", "validation", "test")},
    "licence": "mine",
    "citation": "me",
}


def test_every_committed_entry_passes_without_a_byte_of_it() -> None:
    readers = {path.stem for path in Path("src/lora_ledger/data/corpora/readers").glob("*.py")}
    assert set(names()) == readers - {"__init__"}
    for name, entry in entries().items():
        if isinstance(entry, CorpusEntry):
            check(entry, entries(), f"catalogue.{name}")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"reader": "jsnol"}, r"mine\.reader: found 'jsnol', .*did you mean 'jsonl'"),
        ({"reader": "../jsonl"}, r"mine\.reader: found '\.\./jsonl', expected one of: arc"),
        ({"reader": "__init__"}, r"mine\.reader: found '__init__', expected one of: arc"),
        ({"options": {"txt": "a"}}, r"mine\.options: found 'txt'.*did you mean 'text'"),
        (
            {"reader": "smoke", "options": {"kind": "txet"}},
            r"mine\.options\.kind: found 'txet', expected one of text, .*did you mean 'text'",
        ),
        (
            {"reader": "arc", "sources": {"hub": FILE}, "options": {"subset": "ARC-Chalenge"}},
            r"options\.subset: found 'ARC-Chalenge'.*did you mean 'ARC-Challenge'",
        ),
        (
            {
                "reader": "gsm_symbolic",
                "sources": {"reasoning-gym": FILE},
                "options": {"draws": "3"},
            },
            r"options\.draws: found '3', expected a whole number of at least 1",
        ),
        (
            {"options": {"near_duplicates": "no"}},
            r"options\.near_duplicates: found 'no', expected true or false",
        ),
        ({"sources": {"dta": FILE}}, r"mine\.sources: found dta, expected one that is called data"),
        (
            {"reader": "gsm_symbolic", "sources": {"reasoning-gim": FILE}},
            r"mine\.sources: found reasoning-gim, expected 'reasoning-gym'",
        ),
        (
            {"derived_from": ["gsm8"]},
            r"mine\.derived_from: found 'gsm8', expected a corpus: .*did you mean 'gsm8k'",
        ),
    ],
)
def test_a_name_that_is_not_there_is_refused(changed: dict[str, Any], message: str) -> None:
    entry = CorpusEntry.model_validate({**ENTRY, **changed})
    check(CorpusEntry.model_validate(ENTRY), entries(), "catalogue.mine")
    with pytest.raises((ValueError, EntryError), match=message):
        check(entry, entries(), "catalogue.mine")
