"""OpenBookQA: multiple-choice questions on elementary science (Mihaylov et al. 2018).

In: the JSON lines of the Gauntlet (`data`: query, choices, gold; the test split), or the folder
`hub` with the parquet files of the configuration `main`. Out: choices with upstream's fields
question_stem, choices (text and label) and answerKey; the hub's train split is `exemplars`. It does
not read the facts of the open book.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known
from lora_ledger.data.corpora.rows import Row, file_rows, from_hub, gold, split_rows

FILE_KEYS = {"query": str, "choices": list, "gold": int}
HUB_KEYS = {"id": str, "question_stem": str, "choices": dict, "answerKey": str}
PATTERNS = {
    "exemplars": "main/train-*.parquet",
    "validation": "main/validation-*.parquet",
    "test": "main/test-*.parquet",
}
LABELS = "ABCD"


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """The questions in the published order; the group is the published id, or the row."""
    known(options)
    if from_hub(sources):
        for split, _, row in split_rows(sources["hub"], PATTERNS, HUB_KEYS):
            fields = {key: row[key] for key in ("question_stem", "choices", "answerKey")}
            yield _example(row["id"], split, fields)
    else:
        for number, row in enumerate(file_rows(sources["data"], FILE_KEYS), start=1):
            fields = rebuilt(row, f"openbookqa, row {number}")
            yield _example(f"test {number}", "test", fields)


def rebuilt(row: Row, place: str) -> Row:
    """Upstream's fields from a row of the Gauntlet; ValueError for a row of another layout."""
    if len(row["choices"]) != len(LABELS):
        raise ValueError(
            f"{place}, choices: found {len(row['choices'])}, expected {len(LABELS)}; "
            "fetch the file again"
        )
    return {
        "question_stem": row["query"],
        "choices": {"text": list(row["choices"]), "label": list(LABELS)},
        "answerKey": LABELS[gold(row["choices"], row["gold"], place)],
    }


def _example(group: str, split: str, fields: Row) -> Example:
    choices, key = fields["choices"], fields["answerKey"].lstrip()
    if key not in choices["label"]:
        raise ValueError(
            f"openbookqa, {group}: answerKey is {key!r}, expected one of "
            f"{', '.join(choices['label'])}; fetch the files again"
        )
    return Example(
        group=group,
        prompt=fields["question_stem"],
        response=choices["text"][choices["label"].index(key)],
        split=split,
        fields=fields,
    )
