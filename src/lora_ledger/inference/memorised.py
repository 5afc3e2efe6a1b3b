"""Whether a cell goes on with examples of its training corpus in their own words.

In: a cell, and the split `train` of a corpus. Out: for each of some examples, whether the greedy
continuation of its beginning is the example's own, to the letter, and how alike the two are by
edits. What the beginning is, is cut at words, so that every tokenizer is asked the same. It does
not know which examples a run came to.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance

from lora_ledger.analysis.edit_distance import similarity
from lora_ledger.common.errors import KeyProblem
from lora_ledger.data.corpora.store import load
from lora_ledger.study.evaluation import Memorised

from .cuts import count_cut
from .language_model import LedgerModel

WORD = re.compile(r"\S+")


def of_examples(lm: LedgerModel, folder: Path, what: Memorised) -> dict[str, Any]:
    """`verbatim` (0 or 1) and `similarity` of each example; raises KeyProblem where none is long
    enough."""
    chosen = examples(load(folder, "train"), what)
    if not chosen:
        raise KeyProblem(
            "prefix", what.prefix, f"fewer words: no example of {what.corpus} has more"
        )
    wanted = [len(lm.tok_encode(text, add_special_tokens=False)) for *_, text in chosen]
    room = lm.max_length - max(wanted)
    lengths = [len(lm.tok_encode(prompt)) for _, _, prompt, _ in chosen]
    cut = count_cut(lengths, room, "words", what.words, "the model's window leaves beside `words`")
    requests = [
        Instance(
            "generate_until",
            {"id": name},
            (prompt, {"until": [], "max_gen_toks": tokens, "do_sample": False, "temperature": 0.0}),
            i,
            metadata=("memorised", i, 1),
        )
        for i, ((name, _, prompt, _), tokens) in enumerate(zip(chosen, wanted, strict=True))
    ]
    said = [completion.text for completion in lm.complete(requests)]
    own = [text for *_, text in chosen]
    pairs = list(zip(said, own, strict=True))
    return {
        "kind": "memorised",
        "cut_contexts": cut,
        "items": [name for name, *_ in chosen],
        "groups": [group for _, group, *_ in chosen],
        "verbatim": [int(one[: len(other)] == other) for one, other in pairs],
        "similarity": [round(similarity(one, other), 6) for one, other in pairs],
    }


def examples(rows: Sequence[Mapping[str, Any]], what: Memorised) -> list[tuple[str, str, str, str]]:
    """(id, group, beginning, continuation) of `what.examples` rows, in an order fixed by their ids.

    Of a text, its first `prefix` words and the `words` after them; of a pair, its prompt and the
    first `words` of its response. A text without so many words is passed over.
    """
    found = []
    for row in sorted(rows, key=lambda row: hashlib.sha256(str(row["id"]).encode()).digest()):
        if row["prompt"]:
            beginning, rest = row["prompt"], row["response"]
        else:
            ends = [word.end() for word in WORD.finditer(row["text"])]
            if len(ends) < what.prefix + what.words:
                continue
            beginning, rest = (
                row["text"][: ends[what.prefix - 1]],
                row["text"][ends[what.prefix - 1] :],
            )
        ends = [word.end() for word in WORD.finditer(rest)][: what.words]
        if ends:
            found.append((str(row["id"]), str(row["group"]), beginning, rest[: ends[-1]]))
        if len(found) == what.examples:
            break
    return found
