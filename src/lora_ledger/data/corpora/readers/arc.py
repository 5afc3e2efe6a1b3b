"""ARC: multiple-choice science questions of school exams (Clark et al. 2018).

In: the JSON lines of the Gauntlet (`data`: query, choices, gold; the test split), or the folder
`hub` with the data set's parquet files, of which the option `subset` (ARC-Challenge or ARC-Easy)
names a part. Out: choices with upstream's fields question, choices (text and label) and answerKey.
From the hub they are the published rows, with the train split as `exemplars`; the id is the group.
From the file they are rebuilt: labels are letters throughout, and where its author put a wrong
choice in front a second time, so that every row has four, that copy is left out again. It does not
restore the choice that a published row of five has lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known, one_of
from lora_ledger.data.corpora.rows import Row, file_rows, from_hub, gold, split_rows

FILE_KEYS = {"query": str, "choices": list, "gold": int}
HUB_KEYS = {"id": str, "question": str, "choices": dict, "answerKey": str}
SUBSETS = ("ARC-Challenge", "ARC-Easy")
LABELS = "ABCDE"
MARK = "Question: "


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """The questions in the published order."""
    known(options, "subset")
    if from_hub(sources):
        subset = one_of(options, "subset", SUBSETS)
        patterns = {
            split: f"{subset}/{name}-*.parquet"
            for split, name in (
                ("exemplars", "train"), ("validation", "validation"), ("test", "test"),
            )
        }  # fmt: skip
        for split, _, row in split_rows(sources["hub"], patterns, HUB_KEYS):
            fields = {key: row[key] for key in ("question", "choices", "answerKey")}
            yield _example(row["id"], split, fields)
    else:
        for number, row in enumerate(file_rows(sources["data"], FILE_KEYS), start=1):
            yield _example(f"test {number}", "test", rebuilt(row, f"arc, row {number}"))


def rebuilt(row: Row, place: str) -> Row:
    """Upstream's fields from a row of the Gauntlet; ValueError for a row of another layout."""
    if not row["query"].startswith(MARK):
        raise ValueError(
            f"{place}, query: found {row['query'][:20]!r}, expected it to start with {MARK!r}; "
            "fetch the file again"
        )
    choices, index = row["choices"], gold(row["choices"], row["gold"], place)
    if choices[0] in choices[1:]:
        choices, index = choices[1:], index - 1
    return {
        "question": row["query"].removeprefix(MARK),
        "choices": {"text": list(choices), "label": list(LABELS[: len(choices)])},
        "answerKey": LABELS[gold(choices, index, place)],
    }


def _example(group: str, split: str, fields: Row) -> Example:
    choices = fields["choices"]
    if fields["answerKey"] not in choices["label"]:
        raise ValueError(
            f"arc, {group}: answerKey is {fields['answerKey']!r}, expected one of "
            f"{', '.join(choices['label'])}; fetch the files again"
        )
    return Example(
        group=group,
        prompt=fields["question"],
        response=choices["text"][choices["label"].index(fields["answerKey"])],
        split=split,
        fields=fields,
    )
