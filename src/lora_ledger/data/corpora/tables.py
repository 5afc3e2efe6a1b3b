"""Rows of the files that data sets come in: JSON lines, JSON lists, Parquet, folders of them.

In: the sources of a corpus entry, one of which is called `data` or `hub`: a file, or a folder with
files that end in .jsonl, .jsonl.gz, .json or .parquet. Out: rows, each an object with its place for
an error ("file, line 3") and a name of its own ("line 3") that can serve as its group. It chooses
no columns and makes no examples.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet")
SOURCES = ("data", "hub")


@dataclass(frozen=True)
class Row:
    """One object: `place` is for people, `name` is unique within the corpus."""

    place: str
    name: str
    values: dict[str, object]


def rows(sources: Mapping[str, Path]) -> Iterator[Row]:
    """All rows, file by file in the order of their paths.

    A single file of another ending is read as JSON lines. Raises ValueError, naming the file and
    the line, for what is no object, and for a folder without a file that is understood.
    """
    path = _source(sources)
    if not path.is_dir():
        yield from _file(path, "")
        return
    found = [
        one
        for one in sorted(path.rglob("*"), key=lambda one: one.relative_to(path).as_posix())
        if one.is_file()
        and one.name.endswith(SUFFIXES)
        and not any(part.startswith(".") for part in one.relative_to(path).parts)
    ]
    if not found:
        names = sorted(one.name for one in path.iterdir())[:5]
        raise ValueError(
            f"{path}: found {', '.join(names) or 'nothing'}, expected files that end in "
            f"{', '.join(SUFFIXES)}; put the data there, or name its file"
        )
    for one in found:
        yield from _file(one, f"{one.relative_to(path).as_posix()} " if len(found) > 1 else "")


def _source(sources: Mapping[str, Path]) -> Path:
    if len(sources) != 1 or not set(sources) <= set(SOURCES):
        raise ValueError(
            f"sources: found {', '.join(sources) or 'none'}, expected one that is called "
            f"{' or '.join(SOURCES)}; correct the corpus entry"
        )
    return next(iter(sources.values()))


def _file(path: Path, prefix: str) -> Iterator[Row]:
    """The rows of one file; `prefix` goes before the names."""
    unit, values = "line", _lines(path)
    if path.name.endswith(".parquet"):
        unit, values = "row", _parquet(path)
    elif path.name.endswith(".json") and _is_list(path):
        unit, values = "item", _items(path)
    for number, value in values:
        place = f"{path}, {unit} {number}"
        if not isinstance(value, dict):
            raise ValueError(
                f'{place}: found {type(value).__name__}, expected an object such as {{"text": "…"}}'
            )
        yield Row(place, f"{prefix}{unit} {number}", value)


def _lines(path: Path) -> Iterator[tuple[int, object]]:
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as lines:
        number = 0
        while True:
            number += 1
            try:
                line = lines.readline()
            except (EOFError, gzip.BadGzipFile, UnicodeDecodeError) as error:
                raise ValueError(
                    f"{path}, line {number}: cannot be read ({error}); expected UTF-8"
                    + (" in a whole gzip file; fetch it again" if opened is gzip.open else "")
                ) from None
            if not line:
                return
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{path}, line {number}: not JSON ({error.msg} at column {error.colno}); "
                    "expected one JSON object on each line"
                ) from None


def _is_list(path: Path) -> bool:
    """Whether a .json file holds one list; many that are called so hold JSON lines."""
    with path.open("rb") as file:
        while head := file.read(4096):
            if head.strip():
                return head.lstrip().startswith(b"[")
    return False


def _items(path: Path) -> Iterator[tuple[int, object]]:
    try:
        items = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not JSON ({error}); expected a list of objects") from None
    yield from enumerate(items, start=1)


def _parquet(path: Path) -> Iterator[tuple[int, object]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for value in batch.to_pylist():
                    number += 1
                    yield number, _plain(value)
    except pyarrow.ArrowException as error:
        raise ValueError(
            f"{path}, row {number + 1}: not Parquet ({error}); expected a whole Parquet file; "
            "fetch it again"
        ) from None


def _plain(value: dict[str, Any]) -> object:
    """The row as JSON values: dates, decimals and bytes become text."""
    return json.loads(json.dumps(value, default=str, ensure_ascii=False))
