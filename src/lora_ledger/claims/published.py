"""The papers' own numbers: typed rows of the CSV files in `results/published/`.

In: one row for each value, with paper, table, setting, method, rank, budget, variant, metric,
unit, value, error, how it was read, and a note. Out: `Value`s in the order of the files, and those
of them that columns choose. Refused, by file and line: other columns, an unknown unit or paper, and
a row that stands twice. It converts no unit and corrects no value: what disagrees in a paper stands
as published, with a note.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError

from lora_ledger.catalogue import Frozen
from lora_ledger.common.errors import KeyProblem, nearest, require

FOLDER = Path("results/published")
SOURCES, ABSENT = "sources.csv", "absent.csv"

# fmt: off
Unit = Literal[
    "fraction", "percent", "points", "ratio", "probability", "correlation", "phi", "norm",
    "count", "thousands", "millions", "billions", "Mtokens", "Gtokens", "bits", "nats", "rate",
    "ms", "seconds", "tokens/s", "MB", "GB", "GiB", "TB",
]
# fmt: on
Read = Literal["table", "text", "figure", "repository", "abstract", "second-hand"]
Row = TypeVar("Row", bound=Frozen)
Choice = Mapping[str, str | int | float | Sequence[str | int | float]]


class Budget(Frozen):
    """How long a run was, in the paper's own unit."""

    amount: PositiveFloat
    unit: Literal["Gtokens", "epochs", "steps", "examples"]

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}"


class Value(Frozen):
    """One published number."""

    paper: str
    table: Annotated[str, Field(min_length=1)]
    setting: Annotated[str, Field(pattern=r"^[a-z0-9.-]+( [a-z0-9.-]+)*$")]
    method: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    rank: PositiveInt | None
    budget: Budget | None
    variant: dict[str, str]
    metric: Annotated[str, Field(min_length=1)]
    unit: Unit
    value: float
    error: PositiveFloat | None
    read: Read
    note: str

    @property
    def arm(self) -> str:
        """The method with its rank, such as `lora r16`."""
        return self.method if self.rank is None else f"{self.method} r{self.rank}"


COLUMNS = tuple(Value.model_fields)


class Source(Frozen):
    """Where a paper's numbers can be looked up."""

    paper: str
    letter: Annotated[str, Field(pattern=r"^[A-Z]$")]
    cite: str
    title: str
    address: Annotated[str, Field(pattern=r"^https://")]


class Absent(Frozen):
    """A published number that is not held here, and why."""

    paper: str
    place: str
    what: str
    why: str


def read(folder: Path = FOLDER) -> tuple[Value, ...]:
    """All values of a folder; raises ValueError by file and line."""
    papers = sources(folder)
    found: list[Value] = []
    seen: dict[str, str] = {}
    for path in sorted(folder.glob("*.csv")):
        if path.name in (SOURCES, ABSENT):
            continue
        for where, cells in _rows(path, COLUMNS):
            require(f"{where}: paper", cells["paper"], papers, f"a paper of {SOURCES}")
            value = _typed(where, Value, _parsed(where, cells))
            key = value.model_dump_json(exclude={"value", "error", "read", "note"})
            if key in seen:
                raise KeyProblem(where, f"the row of {seen[key]} again", "each value once")
            seen[key] = where
            found.append(value)
    return tuple(found)


def sources(folder: Path = FOLDER) -> dict[str, Source]:
    """The papers by their keys."""
    rows = _rows(folder / SOURCES, tuple(Source.model_fields))
    return {cells["paper"]: _typed(where, Source, cells) for where, cells in rows}


def absent(folder: Path = FOLDER) -> tuple[Absent, ...]:
    """What was published and is not held here."""
    rows = _rows(folder / ABSENT, tuple(Absent.model_fields))
    return tuple(_typed(where, Absent, cells) for where, cells in rows)


def select(values: Sequence[Value], choice: Choice) -> tuple[Value, ...]:
    """The values whose columns equal a choice, or are one of several; in their order.

    `budget` is as in the file ("4 epochs"); a name that is no column is a key of `variant`.
    """
    wanted = {
        name: {_text(one) for one in ([asked] if isinstance(asked, str | int | float) else asked)}
        for name, asked in choice.items()
    }
    return tuple(
        value for value in values if all(_cell(value, name) in wanted[name] for name in wanted)
    )


def one(values: Sequence[Value], **choice: str | int | float) -> Value:
    """The only value of a choice; raises ValueError where there is none or are several."""
    found = select(values, choice)
    if len(found) != 1:
        raise KeyProblem("published", choice, f"one row, where there are {len(found)}")
    return found[0]


class Tables:
    """Published values, asked for by paper and table."""

    def __init__(self, values: Sequence[Value]) -> None:
        self.values = values

    def one(self, paper: str, **choice: str | int | float) -> float:
        return one(self.values, paper=paper, **choice).value

    def many(self, paper: str, **choice: str | int | float) -> tuple[Value, ...]:
        return select(self.values, {"paper": paper, **choice})

    def over(self, table: str, arm: str) -> dict[float, float]:
        """Of Biderman et al.: amount of budget → value, of one arm."""
        return {
            value.budget.amount: value.value
            for value in self.many("biderman-2024", table=table)
            if value.arm == arm and value.budget
        }

    def last(self, table: str, arm: str) -> float:
        return list(self.over(table, arm).values())[-1]


def _cell(value: Value, name: str) -> str | None:
    if name not in COLUMNS:
        return value.variant.get(name)
    held = getattr(value, name)
    return None if held is None else _text(held)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Place and cells of each row; the header has to be `columns`."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: found no file, expected the published numbers; run from the checkout"
        )
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = next(reader, [])
        if header != list(columns):
            odd = next((name for name in header if name not in columns), "")
            raise KeyProblem(f"{path}: header", header, ",".join(columns), nearest(odd, columns))
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if len(cells) != len(columns):
                raise KeyProblem(where, f"{len(cells)} cells", f"{len(columns)}")
            yield where, dict(zip(columns, cells, strict=True))


def _parsed(where: str, cells: Mapping[str, str]) -> dict[str, object]:
    """Cells as pydantic takes them: none for an empty one, budget and variant taken apart."""
    amount, _, unit = cells["budget"].partition(" ")
    variant = {}
    for part in filter(None, cells["variant"].split("; ")):
        name, equals, said = part.partition("=")
        if not equals or not said or name in COLUMNS or name in variant:
            raise KeyProblem(f"{where}: variant", part, "name=value, once, and no column's name")
        variant[name] = said
    return {
        **cells,
        "rank": cells["rank"] or None,
        "error": cells["error"] or None,
        "budget": {"amount": amount, "unit": unit} if cells["budget"] else None,
        "variant": variant,
    }


def _typed(where: str, kind: type[Row], cells: Mapping[str, object]) -> Row:
    try:
        return kind.model_validate(cells)
    except ValidationError as error:
        first = error.errors()[0]
        column = ".".join(map(str, first["loc"]))
        raise KeyProblem(f"{where}: {column}", first["input"], first["msg"]) from None
