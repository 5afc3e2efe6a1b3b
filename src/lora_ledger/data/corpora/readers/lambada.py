"""LAMBADA, the variant of OpenAI: passages whose last word needs the whole (Paperno et al. 2016).

In: the JSON lines of the Gauntlet (`data`: context, continuation), or the folder `hub` with the
data set's JSON lines (text). Out: passages in the published order: the prompt is the text up to its
last blank, the response what follows, with that blank; the field text is upstream's row. It does
not tokenise: what is the last word here may be several tokens, or hold a line end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known
from lora_ledger.data.corpora.rows import file_rows, from_hub, hub_rows

FILE_KEYS = {"context": str, "continuation": str}
HUB_KEYS = {"text": str}


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """The passages, all in the split `test`; ValueError for one that has no blank."""
    known(options)
    for number, text in enumerate(_texts(sources), start=1):
        context, blank, word = text.rpartition(" ")
        if not blank or not word:
            raise ValueError(
                f"lambada, row {number}: found {text!r}, expected a text and, after a blank, its "
                "last word; fetch the file again"
            )
        yield Example(
            group=f"test {number}",
            prompt=context,
            response=f" {word}",
            split="test",
            fields={"text": text},
        )


def _texts(sources: Mapping[str, Path]) -> Iterator[str]:
    if from_hub(sources):
        for row in hub_rows(sources["hub"], "data/lambada_test.jsonl", HUB_KEYS):
            yield row["text"]
    else:
        for row in file_rows(sources["data"], FILE_KEYS):
            yield f"{row['context']} {row['continuation']}"
