"""WinoGrande: which of two nouns fills the blank of a sentence (Sakaguchi et al. 2020).

In: the JSON lines of the Gauntlet (`data`: context_options, continuation, gold; the validation
split), or the folder `hub` with the parquet files of `winogrande_xl`. Out: choices with upstream's
fields sentence (with `_`), option1, option2 and answer, and asked, the sentence with the right
option as another text would have it, in the split `test`; the hub's train split is `exemplars`.
From the file the sentence is rebuilt: the options begin with the word in which its
two contexts part, and the blank after `_` is put back unless punctuation follows. lm-eval, which
joins what precedes `_` with an option and strips what follows, renders the file's own strings from
it. It does not find an option's first words where both options share them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known
from lora_ledger.data.corpora.rows import Row, file_rows, from_hub, gold, split_rows

FILE_KEYS = {"context_options": list, "continuation": str, "gold": int}
HUB_KEYS = {"sentence": str, "option1": str, "option2": str, "answer": str}
PATTERNS = {
    "exemplars": "winogrande_xl/train-*.parquet",
    "test": "winogrande_xl/validation-*.parquet",
}


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """The sentences in the published order; the group is the published split and the row."""
    known(options)
    if from_hub(sources):
        for split, number, row in split_rows(sources["hub"], PATTERNS, HUB_KEYS):
            name = "train" if split == "exemplars" else "validation"
            yield _example(f"{name} {number}", split, {key: row[key] for key in HUB_KEYS})
    else:
        for number, row in enumerate(file_rows(sources["data"], FILE_KEYS), start=1):
            fields = rebuilt(row, f"winogrande, row {number}")
            yield _example(f"validation {number}", "test", fields)


def rebuilt(row: Row, place: str) -> Row:
    """Upstream's fields from a row of the Gauntlet; ValueError for a row of another layout."""
    contexts, continuation = row["context_options"], row["continuation"]
    if len(contexts) != 2 or any("_" in one for one in contexts):
        raise ValueError(
            f"{place}, context_options: found {contexts!r}, expected two texts without '_'; "
            "fetch the file again"
        )
    start = 0
    for position, (one, other) in enumerate(zip(*contexts, strict=False), start=1):
        if one != other:
            break
        if one.isspace():
            start = position
    between = " " if continuation[:1].isalnum() else ""
    return {
        "sentence": f"{contexts[0][:start]}_{between}{continuation}",
        "option1": contexts[0][start:],
        "option2": contexts[1][start:],
        "answer": str(gold(contexts, row["gold"], place) + 1),
    }


def _example(group: str, split: str, fields: Row) -> Example:
    if fields["answer"] not in ("1", "2") or "_" not in fields["sentence"]:
        raise ValueError(
            f"winogrande, {group}: found the answer {fields['answer']!r} and the sentence "
            f"{fields['sentence']!r}, expected 1 or 2 and a sentence with '_'; "
            "use a split that has labels"
        )
    right = fields[f"option{fields['answer']}"]
    return Example(
        group=group,
        prompt=fields["sentence"],
        response=right,
        split=split,
        fields={**fields, "asked": fields["sentence"].replace("_", right, 1)},
    )
