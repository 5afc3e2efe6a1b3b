"""The user's own data: a file with one JSON object a line.

In: the source `data` and the options `text`, or `prompt` and `response`, which name the keys that
hold them (their defaults are these words), and `group`, which names the key of what must stay on
one side of a split (without it, each line is a group of its own). Out: examples in the file's order
with every other key in `fields`. It does not clean the texts.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_ledger.corpora import Example
from lora_ledger.corpora.checks import known


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """Examples in the file's order; ValueError, naming line and key, for what cannot be used."""
    known(options, "text", "prompt", "response", "group")
    if "text" in options and ("prompt" in options or "response" in options):
        raise ValueError(
            "options: found text beside prompt or response, expected one or the other; "
            "name the column of documents, or the two columns of pairs"
        )
    names = {key: str(options.get(key, key)) for key in ("text", "prompt", "response")}
    path = sources["data"]
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _example(_object(path, number, line), path, number, names, options)


def _object(path: Path, number: int, line: str) -> dict[str, object]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}, line {number}: not JSON ({error.msg} at column {error.colno}); "
            "expected one JSON object on each line"
        ) from None
    if not isinstance(value, dict):
        raise ValueError(
            f"{path}, line {number}: found {type(value).__name__}, expected an object "
            'such as {"text": "…"}'
        )
    return value


def _example(
    value: dict[str, object],
    path: Path,
    number: int,
    names: Mapping[str, str],
    options: Mapping[str, object],
) -> Example:
    def get(key: str) -> str:
        if key not in value:
            near = difflib.get_close_matches(key, value, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(
                f"{path}, line {number}: no key '{key}', found {', '.join(value) or 'none'}{hint} "
                "The options of the corpus entry name the keys"
            )
        found = value[key]
        if not isinstance(found, str):
            raise ValueError(
                f"{path}, line {number}, key '{key}': found {type(found).__name__}, "
                "expected a string"
            )
        return found

    pairs = "prompt" in options or "response" in options
    pairs = pairs or ("text" not in options and names["text"] not in value)
    used = ["prompt", "response"] if pairs else ["text"]
    taken = {key: get(names[key]) for key in used}
    keys = {names[key] for key in used}
    group = f"line {number}"
    if "group" in options:
        group = get(str(options["group"]))
        keys.add(str(options["group"]))
    rest = {key: one for key, one in value.items() if key not in keys}
    return Example(group=group, fields=rest, **taken)
