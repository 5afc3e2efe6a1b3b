"""The user's own data and plain data sets: JSON lines, JSON lists or Parquet with named columns.

In: the source `data` or `hub`, a file or a folder (`tables` says which kinds), and options: `text`,
or `prompt` and `response`, name the columns that hold them (their defaults are these words);
`prompt_template` and `response_template` make one of several columns instead, in the manner of
Python's format strings ("Question: {query}\\nAnswer:"); `group` names the column of what must stay
on one side of a split, a text or a whole number (without it, each row is a group of its own). Out:
examples in the files' order with every column that was not used in `fields`. It does not clean the
texts.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Formatter

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known
from lora_ledger.data.corpora.tables import Row, rows

PAIR = ("prompt", "response")
Template = list[tuple[str, str | None]]


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """Examples in the files' order; ValueError, naming line and key, for what cannot be used."""
    templates = [f"{name}_template" for name in PAIR]
    known(options, "text", *PAIR, "group", *templates)
    pairs = sorted({*PAIR, *templates} & set(options))
    if "text" in options and pairs:
        raise ValueError(
            f"options: found text beside {pairs[0]}, expected one or the other; "
            "name the column of documents, or the two columns of pairs"
        )
    for name, template in zip(PAIR, templates, strict=True):
        if name in options and template in options:
            raise ValueError(
                f"options: found {name} beside {template}, expected one of them; "
                "the template names its columns itself"
            )
    made = {
        name: parsed(f"options.{template}", options[template])
        for name, template in zip(PAIR, templates, strict=True)
        if template in options
    }
    for row in rows(sources):
        yield _example(row, options, made)


def parsed(key: str, template: object) -> Template:
    """A template as (text, column) pieces; ValueError for what is no plain `{column}`."""
    try:
        pieces = list(Formatter().parse(template)) if isinstance(template, str) else None
    except ValueError as error:
        raise ValueError(
            f"{key}: found {template!r} ({error}), expected columns in braces; "
            "write {{ and }} for braces that stand for themselves"
        ) from None
    if pieces is None or not any(name for _, name, _, _ in pieces):
        raise ValueError(f"{key}: found {template!r}, expected text with a column in braces")
    for _, name, spec, conversion in pieces:
        if name == "" or spec or conversion:
            raise ValueError(
                f"{key}: found {template!r}, expected plain names of columns in braces, such as "
                "{query}, without conversion or format"
            )
    return [(text, name) for text, name, _, _ in pieces]


def _example(row: Row, options: Mapping[str, object], made: Mapping[str, Template]) -> Example:
    names = {key: str(options.get(key, key)) for key in ("text", *PAIR)}
    pairs = bool(made) or "prompt" in options or "response" in options
    pairs = pairs or ("text" not in options and names["text"] not in row.values)
    used: set[str] = set()
    taken: dict[str, str] = {}
    for key in PAIR if pairs else ("text",):
        if key in made:
            taken[key] = _filled(row, made[key])
            used |= {name for _, name in made[key] if name is not None}
        else:
            taken[key] = _text(row, names[key])
            used.add(names[key])
    group = row.name
    if "group" in options:
        group = row.group(str(options["group"]))
        used.add(str(options["group"]))
    rest = {key: one for key, one in row.values.items() if key not in used}
    return Example(group=group, fields=rest, **taken)


def _filled(row: Row, template: Template) -> str:
    """The template with the row's columns; numbers are written as Python writes them."""
    made = []
    for text, name in template:
        made.append(text)
        if name is not None:
            found = row.values.get(name)
            number = isinstance(found, int | float) and not isinstance(found, bool)
            if isinstance(found, float) and not math.isfinite(found):
                raise ValueError(
                    f"{row.place}, key '{name}': found {found}, no number below 1.8e308, "
                    "expected one that can be written down; write it as text or leave the row out"
                )
            made.append(str(found) if number else _text(row, name))
    return "".join(made)


def _text(row: Row, key: str) -> str:
    """The text in a column of the row."""
    if key not in row.values:
        near = difflib.get_close_matches(key, row.values, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ValueError(
            f"{row.place}: no key '{key}', found {', '.join(row.values) or 'none'}{hint} "
            "The options of the corpus entry name the keys"
        )
    found = row.values[key]
    if not isinstance(found, str):
        raise ValueError(
            f"{row.place}, key '{key}': found {type(found).__name__}, expected a string"
        )
    return found
