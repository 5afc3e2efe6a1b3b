"""Splits on disk: one `datasets` folder for each split, the same columns for every corpus.

In: the splits that `selection` made. Out: `<folder>/<split>/`, written by `save_to_disk`, with the
columns id, group, text, prompt, response and fields (a JSON string). It writes no record and does
not choose what is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_ledger.records.atomic import new_folder

from . import Example
from .selection import identifier

COLUMNS = ("id", "group", "text", "prompt", "response", "fields")


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


def save(splits: Mapping[str, Sequence[Example]], out_dir: Path) -> None:
    """Write each split to `out_dir/<split>`; a folder appears only once it is complete.

    Raises ValueError for an empty split, which `datasets` writes but cannot read.
    """
    from datasets import Dataset, Features, Value
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
        rows = [row(example) for example in examples]
        columns = {column: [one[column] for one in rows] for column in COLUMNS}
        dataset = Dataset.from_dict(columns, features=features)
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
