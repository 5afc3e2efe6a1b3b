"""Printing: tables and messages for people, through rich.

In: tables as `tables.document.as_json` gives them, and text. Out: what stands in the terminal.
It computes nothing and reads no record.
"""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

EMPTY = "–"
DIVERGED = "diverged"


PLAIN = {"–": "-", "—": "-", "·": "-", "→": "->", "−": "-", "“": '"', "”": '"', "’": "'"}
"""What stands for a mark where the terminal's encoding lacks it; for all others a question mark."""


def terminal(*, error: bool = False) -> Console:
    """A console on standard output (or error); no markup, since text holds brackets.

    A mark that the stream cannot encode is written in plainer ones.
    """
    codecs.register_error("plainer", _plainer)
    stream = sys.stderr if error else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="plainer")
    return Console(stderr=error, markup=False, highlight=False, soft_wrap=False)


def _plainer(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(mark, "?") for mark in lacking), error.end


def print_tables(console: Console, tables: Sequence[Mapping[str, Any]]) -> None:
    """All tables; the notes that every one of them bears stand once, above the first."""
    shared = [n for n in tables[0]["notes"] if all(n in t["notes"] for t in tables)]
    _notes(console, shared)
    for table in tables:
        console.print()
        console.rule(Text(str(table["title"]), style="bold"), align="left")
        _notes(console, [note for note in table["notes"] if note not in shared])
        if not table["sections"]:
            console.print("no records of this kind")
        for section in table["sections"]:
            _section(console, section["heading"], table["columns"], section["rows"])


def _notes(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(Padding(Text(f"- {note}", style="dim"), (0, 0, 0, 2)))


def _section(
    console: Console, heading: str, columns: Sequence[Mapping[str, Any]], rows: list[list[str]]
) -> None:
    """One grid. A column whose rows agree goes into the heading; an empty one is left out."""
    kept, common = [], []
    for i, column in enumerate(columns):
        values = {row[i] for row in rows} - {"", EMPTY}
        if len(values) == 1 and len(rows) > 1 and i and not _stays(next(iter(values))):
            common.append(f"{column['heading']} {values.pop()}")
        elif values:
            kept.append(i)
    console.print()
    console.print(Text(heading, style="bold"))
    if common:
        console.print(Padding(Text("; ".join(common), style="dim"), (0, 0, 0, 2)))
    _print_grid(console, [columns[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _print_grid(
    console: Console, columns: Sequence[Mapping[str, Any]], rows: list[list[str]]
) -> None:
    """As one grid; too wide, with bounds below their estimates; still too wide, in parts.

    The first two columns lead every part.
    """
    grid = _grid(columns, rows)
    unbound = console.options.update(width=10_000)
    if Measurement.get(console, unbound, grid).maximum <= console.width:
        console.print(grid)
        return
    folded = [[cell.replace(" [", "\n[") for cell in row] for row in rows]
    size = len(columns)
    while (
        size > 3 and _least(console, _grid(columns[:size], _cut(folded, 0, size))) > console.width
    ):
        size -= 1
    console.print(_grid(columns[:size], _cut(folded, 0, size)))
    if size < len(columns):
        console.print()
        rest = [row[:2] + row[size:] for row in rows]
        _print_grid(console, [*columns[:2], *columns[size:]], rest)


def _least(console: Console, grid: Table) -> int:
    return Measurement.get(console, console.options.update(width=10_000), grid).minimum


def _cut(rows: list[list[str]], start: int, end: int) -> list[list[str]]:
    return [row[start:end] for row in rows]


def _stays(value: str) -> bool:
    """An interval or a divergence belongs to its row."""
    return "[" in value or value == DIVERGED


def _grid(columns: Sequence[Mapping[str, Any]], rows: list[list[str]]) -> Table:
    """Numbers and the first two columns never break; other texts and headings may."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
    for i, column in enumerate(columns):
        widest = max((len(line) for row in rows for line in row[i].split("\n")), default=1)
        grid.add_column(
            column["heading"],
            justify="right" if column["right"] else "left",
            min_width=widest if column["right"] or i < 2 else min(widest, 14),
            overflow="fold",
        )
    for row in rows:
        style = "red" if DIVERGED in row else "cyan" if row[0] == "base" else ""
        grid.add_row(*map(Text, row), style=style)
    return grid


def fail(message: str) -> None:
    """An error, in plain text, on standard error."""
    terminal(error=True).print(Text(f"error: {message}", style="red"), soft_wrap=True)
    sys.stderr.flush()
