"""A table as a value, and its three written forms.

In: columns, sections and cells that hold text, numbers or intervals.
Out: CSV (full precision, bounds in columns of their own), Markdown (padded, so that it reads in a
terminal too), LaTeX (booktabs), and plain JSON with the formatted text.
It computes nothing.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lora_ledger.analysis.statistics import Interval

Value = str | int | float | Interval | None
NONE = "–"


@dataclass(frozen=True)
class Column:
    """`digits` after the point for numbers; `signed` for changes; `right` aligned."""

    key: str
    heading: str
    digits: int = 3
    signed: bool = False
    right: bool = False


UNITS = (Column("n", "n", right=True), Column("resampled", "resampled"))
"""How many units an interval is of, and what was resampled."""


@dataclass(frozen=True)
class Section:
    """Rows that are compared with each other; `keys` name what they share.

    `digits` overrides the columns' digits, as the sections' quantities differ in size.
    """

    keys: Mapping[str, str]
    rows: tuple[Mapping[str, Value], ...]
    digits: int | None = None

    @property
    def heading(self) -> str:
        return " · ".join(value for value in self.keys.values() if value)


@dataclass(frozen=True)
class Table:
    """`notes` stand above the table in every form, each on one line."""

    name: str
    title: str
    notes: tuple[str, ...]
    columns: tuple[Column, ...]
    sections: tuple[Section, ...]

    def __post_init__(self) -> None:
        # A title of the study or a reason may be of several lines, and a line of CSV may not.
        object.__setattr__(self, "notes", tuple(" ".join(note.split()) for note in self.notes))


def shown(value: Value, column: Column, digits: int | None = None) -> str:
    """The text of one cell; None and NaN are a dash."""
    places = column.digits if digits is None else digits
    sign = "+" if column.signed else ""
    if isinstance(value, Interval):
        if math.isnan(value.estimate):
            return NONE
        numbers = (value.estimate, value.low, value.high)
        middle, low, high = (_zero(f"{number:{sign}.{places}f}") for number in numbers)
        return f"{middle} [{low}, {high}]"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NONE
    if isinstance(value, float):
        return _zero(f"{value:{sign},.{places}f}")
    if isinstance(value, int):
        return f"{value:,}"
    return value


def _zero(text: str) -> str:
    """-0.000 and +0.000 are 0.000."""
    return text.lstrip("+-") if not text.strip("+-0.,") else text


def texts(table: Table, section: Section) -> list[list[str]]:
    """The rows of a section as text."""
    return [
        [shown(row.get(column.key), column, section.digits) for column in table.columns]
        for row in section.rows
    ]


def as_json(table: Table) -> dict[str, Any]:
    """Headings, alignment and formatted rows, for whoever prints the table elsewhere."""
    return {
        "name": table.name,
        "title": table.title,
        "notes": list(table.notes),
        "columns": [{"heading": c.heading, "right": c.right} for c in table.columns],
        "sections": [
            {"heading": section.heading, "rows": texts(table, section)}
            for section in table.sections
        ],
    }


def as_csv(table: Table) -> str:
    """Notes as `#` lines; sections' keys lead each row; an interval fills three columns."""
    rows: list[dict[str, str]] = []
    fields: dict[str, None] = {}
    wide = {
        column.key
        for column in table.columns
        for section in table.sections
        for row in section.rows
        if isinstance(row.get(column.key), Interval)
    }
    for section in table.sections:
        fields |= dict.fromkeys(section.keys)
    for column in table.columns:
        fields[column.key] = None
        if column.key in wide:
            fields |= dict.fromkeys((f"{column.key}_low", f"{column.key}_high"))
    for section in table.sections:
        for row in section.rows:
            cells = dict(section.keys)
            for column in table.columns:
                value = row.get(column.key)
                if isinstance(value, Interval):
                    cells[column.key] = _plain(value.estimate)
                    cells[f"{column.key}_low"] = _plain(value.low)
                    cells[f"{column.key}_high"] = _plain(value.high)
                else:
                    cells[column.key] = _plain(value)
            rows.append(cells)
    text = io.StringIO()
    for note in (table.title, *table.notes):
        text.write(f"# {note}\n")
    writer = csv.DictWriter(text, list(fields), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _plain(value: str | int | float | None) -> str:
    if value is None or value == NONE or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def as_markdown(table: Table) -> str:
    """A heading, the notes as a list, and one padded pipe table for each section."""
    lines = [f"# {table.title}", "", *(f"- {note}" for note in table.notes)]
    if not table.sections:
        lines += ["", "No records of this kind were given."]
    for section in table.sections:
        grid = [[c.heading for c in table.columns], *texts(table, section)]
        grid = [[cell.replace("|", "\\|") for cell in row] for row in grid]
        widths = [max(3, *(len(row[i]) for row in grid)) for i in range(len(table.columns))]
        rule = [
            "-" * (width - 1) + ":" if column.right else "-" * width
            for width, column in zip(widths, table.columns, strict=True)
        ]
        padded = [
            [
                cell.rjust(width) if column.right else cell.ljust(width)
                for cell, width, column in zip(row, widths, table.columns, strict=True)
            ]
            for row in grid
        ]
        body = [f"| {' | '.join(row)} |" for row in (padded[0], rule, *padded[1:])]
        lines += ["", f"## {section.heading}", "", *body]
    return "\n".join(lines) + "\n"


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    NONE: "--",
    "—": "---",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "×": r"$\times$",
    "±": r"$\pm$",
}


def _latex(text: str) -> str:
    escaped = "".join(_LATEX.get(mark, mark) for mark in text)
    return re.sub(r"(?<![\w}])-(?=\d)", "$-$", escaped)


def as_latex(table: Table) -> str:
    """A booktabs tabular in a table environment; needs `\\usepackage{booktabs}`."""
    width = len(table.columns)
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\small",
        rf"\caption{{{_latex(table.title)}. {_latex('; '.join(table.notes))}.}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{{''.join('r' if c.right else 'l' for c in table.columns)}}}",
        r"\toprule",
        " & ".join(_latex(column.heading) for column in table.columns) + r" \\",
    ]
    for section in table.sections:
        lines += [
            r"\midrule",
            rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_latex(section.heading)}}}}} \\",
        ]
        lines += [" & ".join(map(_latex, row)) + r" \\" for row in texts(table, section)]
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"
