"""HellaSwag: which of four endings goes on from a context (Zellers et al. 2019).

In: the folder `hub` with the data set's parquet files, or the official JSON lines of the validation
split (`data`). Out: choices, with the row as published and what lm-eval's task makes of it: query,
choices, gold; and asked, the context without the activity's name. All are in the split `test`, as
the published test split has no labels. The field `source` says which collection a row is from. It
does not score endings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known
from lora_ledger.data.corpora.rows import Keys, Row, file_rows, from_hub, gold, hub_rows

KEYS: Keys = {
    "activity_label": str,
    "ctx_a": str,
    "ctx_b": str,
    "endings": list,
    "label": (int, str),
    "source_id": str,
}
BRACKETS = re.compile(r"\[.*?\]")


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """The validation rows in the published order; the group is the row's number."""
    known(options)
    if from_hub(sources):
        rows = hub_rows(sources["hub"], "data/validation-*.parquet", KEYS)
    else:
        rows = file_rows(sources["data"], KEYS)
    for number, row in enumerate(rows, start=1):
        fields = rendered(row, f"hellaswag, row {number}")
        yield Example(
            group=f"validation {number}",
            prompt=fields["query"],
            response=fields["choices"][fields["gold"]],
            split="test",
            fields=fields,
        )


def rendered(row: Row, place: str) -> Row:
    """The row with query, choices and gold as lm-eval's `process_docs` makes them, and source.

    The label becomes a string, as the hub has it; ValueError for one that no ending has.
    """
    if not str(row["label"]).isdigit():
        raise ValueError(
            f"{place}, label: found {row['label']!r}, expected the number of an ending; "
            "use the validation split, since the test split has no labels"
        )
    context = f"{row['ctx_a']} {row['ctx_b'].capitalize()}"
    query = cleaned(f"{row['activity_label']}: {context}")
    return {
        **row,
        "label": str(row["label"]),
        "query": query,
        "asked": query.removeprefix(f"{row['activity_label']}:").strip(),
        "choices": [cleaned(ending) for ending in row["endings"]],
        "gold": gold(row["endings"], int(row["label"]), place),
        "source": row["source_id"].partition("~")[0],
    }


def cleaned(text: str) -> str:
    """Without the marks in square brackets that the WikiHow rows carry."""
    text = BRACKETS.sub("", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")
