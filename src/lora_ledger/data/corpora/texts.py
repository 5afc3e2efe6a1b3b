"""What of a corpus may be trained on, and what of it a task asks: the texts that are compared.

In: a catalogue entry, a corpus's folder. Out: names of splits; ids with texts, a few in memory at a
time; ids with questions. It compares nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lora_ledger.catalogue import CorpusEntry
from lora_ledger.common.errors import KeyProblem
from lora_ledger.common.startup import loading

from .store import load

BATCH = 1000


def training_splits(entry: CorpusEntry) -> list[str]:
    """The splits that a cell may have seen in training: roles train and validation."""
    return [name for name, what in entry.splits.items() if what.role in ("train", "validation")]


def noise_splits(entry: CorpusEntry) -> list[str]:
    """What a task's own corpus was published to train on; empty when there is nothing.

    A handful of exemplars that somebody wrote is no such split; a published one is whole.
    """
    own = training_splits(entry)
    if any(entry.splits[name].role == "train" for name in own):
        return own
    return own + [
        name
        for name, what in entry.splits.items()
        if what.role == "exemplars" and what.as_published
    ]


def examples(folder: Path, splits: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(id, text) of every example, a few in memory at a time; a pair as prompt, line, response.

    Raises FileNotFoundError for a split that is not there.
    """
    with loading():
        from datasets import load_from_disk

    for split in splits:
        if not (folder / split).is_dir():
            raise FileNotFoundError(
                f"{folder / split}: found nothing, expected the split '{split}' that the catalogue "
                "names; run the fetch stage for this corpus"
            )
        data = load_from_disk(str(folder / split))
        for batch in data.select_columns(["id", "text", "prompt", "response"]).iter(BATCH):
            rows = zip(*(batch[key] for key in ("id", "text", "prompt", "response")), strict=True)
            for identifier, text, prompt, response in rows:
                yield identifier, text or f"{prompt}\n{response}"


def questions(folder: Path, split: str, field: str) -> tuple[list[str], list[str]]:
    """The ids and questions of a task's items; `field` is looked up in `fields`, then as a column.

    Raises KeyProblem for an item without it.
    """
    ids, asked = [], []
    for row in load(folder, split):
        question = row["fields"].get(field, row.get(field))
        if not isinstance(question, str):
            raise KeyProblem(
                "metadata.question",
                field,
                f"a field or column of {folder / split} that holds text: "
                + ", ".join(sorted({*row["fields"], "prompt", "text"})),
            )
        ids.append(row["id"])
        asked.append(question)
    return ids, asked
