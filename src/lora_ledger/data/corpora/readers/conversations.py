"""Conversations, in the chat format of Tulu: the turns before the last answer, then that answer.

In: the source `data` or `hub` (`tables` says which files), whose rows hold a list of turns
{role, content}, or ShareGPT's {from, value} with `human` and `gpt`, and the options `messages` (the
column of the list, by default of this name, or `conversations` where a row lacks it), `group`, and
`end_of_turn` (what stands after an earlier answer, by default nothing). Out: one pair for each
conversation. The prompt is Wang et al. 2023's rendering (arXiv:2306.04751):

    <|user|>
    …
    <|assistant|>

with each turn stripped and a line break after it; the response is the last answer, stripped. Their
code puts the tokenizer's end-of-sequence mark after every answer, which is `end_of_turn` here, and
trains on all answers; ours trains on the last one. What follows the last answer, and a
conversation without one, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known
from lora_ledger.data.corpora.tables import Row, rows

ROLES = ("system", "user", "assistant")
ANSWER = "assistant"
SHAREGPT = {"human": "user", "gpt": "assistant"}
COLUMNS = ("messages", "conversations")
Turn = tuple[str, str]


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """Pairs in the files' order; ValueError, naming row and turn, for what cannot be used."""
    known(options, "messages", "group", "end_of_turn")
    group = options.get("group")
    for row in rows(sources):
        column = str(options.get("messages", next(filter(row.values.get, COLUMNS), COLUMNS[0])))
        turns = _turns(row, column)
        answers = [i for i, (role, text) in enumerate(turns) if role == ANSWER and text]
        if not answers:
            continue
        yield Example(
            group=row.name if group is None else row.group(str(group)),
            prompt=rendered(turns[: answers[-1]], str(options.get("end_of_turn", ""))),
            response=turns[answers[-1]][1],
            fields={k: v for k, v in row.values.items() if k not in (column, group)},
        )


def rendered(turns: Sequence[Turn], end_of_turn: str = "") -> str:
    """The turns, and the mark after which the next answer is to stand."""
    parts = [f"<|{role}|>\n{text}{end_of_turn if role == ANSWER else ''}\n" for role, text in turns]
    return "".join([*parts, f"<|{ANSWER}|>\n"])


def _turns(row: Row, column: str) -> list[Turn]:
    """Roles and stripped texts of a row's turns."""
    found = row.values.get(column)
    if not isinstance(found, list):
        raise ValueError(
            f"{row.place}, key '{column}': found {type(found).__name__}, expected a list of turns; "
            f"the row has {', '.join(row.values)}; name the column in the option `messages`"
        )
    turns = []
    for number, turn in enumerate(found, start=1):
        said = turn if isinstance(turn, dict) else {}
        role = said.get("role") or said.get("from")
        role = SHAREGPT.get(role, role) if isinstance(role, str) else role
        text = said.get("content") if "content" in said else said.get("value")
        if not (isinstance(role, str) and role in ROLES) or not isinstance(text, str):
            raise ValueError(
                f"{row.place}, turn {number}: found {str(turn)[:80]}, expected a role that is "
                f"{', '.join(ROLES)} (or from: {', '.join(SHAREGPT)}) and a content (or value) "
                "that is text"
            )
        turns.append((role, text.strip()))
    return turns
