"""Splits on disk: one `datasets` folder for each split, the same columns for every corpus.

In: the splits that `selection` made. Out: `<folder>/<split>/`, written by `save_to_disk`, with the
columns id, group, text, prompt, response and fields (a JSON string). It writes no record and does
not choose what is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_ledger.records.atomic import new_folder

from . import Example
from .selection import identifier

COLUMNS = ("id", "group", "text", "prompt", "response", "fields")
PART_BYTES = 1 << 30
"""Arrow counts the bytes of a column of strings in 32 bits with a sign, within one part."""


def row(example: Example) -> dict[str, str]:
    """The example as a row of strings."""
    return {
        "id": identifier(example),
        "group": example.group,
        "text": example.text,
        "prompt": example.prompt,
        "response": example.response,
        "fields": json.dumps(example.fields, sort_keys=True, ensure_ascii=False),
    }


def parts(rows: Iterable[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    """The rows in order, in runs none of whose columns holds more than PART_BYTES of UTF-8.

    Raises ValueError, with the id, for a row that has more in one column.
    """
    run: list[dict[str, str]] = []
    held = dict.fromkeys(COLUMNS, 0)
    for one in rows:
        sizes = {column: len(one[column].encode()) for column in COLUMNS}
        column = max(sizes, key=sizes.__getitem__)
        if sizes[column] > PART_BYTES:
            raise ValueError(
                f"{one['id']}: found {sizes[column]} bytes in the column '{column}', expected at "
                f"most {PART_BYTES}; cut the text into several examples"
            )
        if any(held[c] + sizes[c] > PART_BYTES for c in COLUMNS):
            yield run
            run, held = [], dict.fromkeys(COLUMNS, 0)
        run.append(one)
        held = {c: held[c] + sizes[c] for c in COLUMNS}
    if run:
        yield run


def save(splits: Mapping[str, Sequence[Example]], out_dir: Path) -> None:
    """Write each split to `out_dir/<split>`; a folder appears only once it is complete.

    Raises ValueError for an empty split, which `datasets` writes but cannot read.
    """
    from datasets import Dataset, Features, Value, concatenate_datasets
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    out_dir.mkdir(parents=True, exist_ok=True)
    features = Features({name: Value("string") for name in COLUMNS})
    for name, examples in splits.items():
        if not examples:
            raise ValueError(
                f"{out_dir}: the split '{name}' has no example; expected at least one; "
                "give the corpus more data or leave the split out"
            )
        made = [
            Dataset.from_dict({c: [one[c] for one in part] for c in COLUMNS}, features=features)
            for part in parts(map(row, examples))
        ]
        dataset = made[0] if len(made) == 1 else concatenate_datasets(made)
        # The fingerprint would otherwise be drawn at random and differ from run to run.
        dataset._fingerprint = "-".join(["lora-ledger", name])
        with new_folder(out_dir / name) as folder:
            dataset.save_to_disk(str(folder))


def load(folder: Path, split: str) -> list[dict[str, Any]]:
    """The rows of `folder/<split>`, with `fields` decoded.

    Raises FileNotFoundError, naming the splits that are there, when the split is not.
    """
    from datasets import load_from_disk

    path = folder / split
    if not path.is_dir():
        found = sorted(one.name for one in folder.glob("[!.]*") if one.is_dir())
        raise FileNotFoundError(
            f"{path}: there is no split '{split}'; found {', '.join(found) or 'none'}; "
            "run the fetch stage for this corpus, or name one of these"
        )
    rows = load_from_disk(str(path)).to_list()
    return [{**one, "fields": json.loads(one["fields"])} for one in rows]
