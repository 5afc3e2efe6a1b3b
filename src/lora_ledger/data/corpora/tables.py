"""The one reader of rows: JSON lines, JSON lists and Parquet, plain or packed, files and folders.

In: an open file and its name, or the sources of a corpus entry, one of which is called `data` or
`hub`. Out: rows as JSON values, each with its place for an error ("file, line 3") and a name of its
own ("line 3") that can serve as its group. Files are read from front to back in blocks, so that
rows can be streamed. Values are passed on or refused, and never spelt as Python spells them. It
chooses no columns and makes no examples.
"""

from __future__ import annotations

import datetime
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

LINES = (".jsonl", ".ndjson", ".json")
PACKED = (".gz", ".zst")
KINDS = f"{', '.join(LINES)} (plain, {' or '.join(PACKED)}) or .parquet"
SOURCES = ("data", "hub")
READ_BYTES = 1 << 20
"""The most that is asked of a column chunk at a time, and the block of a file of lines."""
BATCH_ROWS = 256
BOM = b"\xef\xbb\xbf"
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""What half a character beyond U+FFFF is escaped as, and a whole one as two of."""


class TableError(ValueError):
    """A file or a row of it cannot be used; the message names both."""


@dataclass(frozen=True)
class Row:
    """One object: `place` is for people, `name` is unique within the corpus."""

    place: str
    name: str
    values: dict[str, Any]

    def group(self, column: str) -> str:
        """The text or the whole number in a column, as the name of a group."""
        found = self.values.get(column)
        if isinstance(found, int) and not isinstance(found, bool):
            return str(found)
        if not isinstance(found, str):
            what = "nothing" if column not in self.values else type(found).__name__
            raise TableError(
                f"{self.place}, key '{column}': found {what}, expected a string or a whole number; "
                f"the row has {', '.join(self.values)}; the option `group` of the corpus entry "
                "names the key"
            )
        return found


def rows(sources: Mapping[str, Path]) -> Iterator[Row]:
    """All rows, file by file in the order of their paths.

    A single file of another ending is read as JSON lines. Raises TableError, naming the file and
    the line, for what is no object, and for a folder without a file that is understood.
    """
    path = _source(sources)
    if not path.is_dir():
        with path.open("rb") as file:
            yield from read(file, path.name, str(path))
        return
    found = [
        one
        for one in sorted(path.rglob("*"), key=lambda one: one.relative_to(path).as_posix())
        if one.is_file()
        and understood(one.name)
        and not any(part.startswith(".") for part in one.relative_to(path).parts)
    ]
    if not found:
        names = sorted(one.name for one in path.iterdir())[:5]
        raise TableError(
            f"{path}: found {', '.join(names) or 'nothing'}, expected files that end in {KINDS}; "
            "put the data there, or name its file"
        )
    for one in found:
        prefix = f"{one.relative_to(path).as_posix()} " if len(found) > 1 else ""
        with one.open("rb") as file:
            yield from read(file, one.name, str(one), prefix)


def understood(name: str) -> bool:
    """Whether a file of this name is known to hold rows."""
    return name.endswith((".parquet", *LINES, *(a + b for a in LINES for b in PACKED)))


def read(file: BinaryIO, name: str, place: str, prefix: str = "") -> Iterator[Row]:
    """The rows of one open file, whose kind its name says; `prefix` goes before the rows' names.

    Raises TableError, which begins with `place` and the row's number, for what is no object or
    cannot be read. What the file itself raises, such as a broken connection, goes through.
    """
    unit, values = "row", _parquet(file, place)
    if not name.endswith(".parquet"):
        unit, values = _json(_blocks(file, name), name, place)
    for number, value in values:
        if not isinstance(value, dict):
            raise TableError(
                f"{place}, {unit} {number}: found {type(value).__name__}, expected an object such "
                'as {"text": "…"}'
            )
        yield Row(f"{place}, {unit} {number}", f"{prefix}{unit} {number}", value)


def _source(sources: Mapping[str, Path]) -> Path:
    if len(sources) != 1 or not set(sources) <= set(SOURCES):
        raise ValueError(
            f"sources: found {', '.join(sources) or 'none'}, expected one that is called "
            f"{' or '.join(SOURCES)}; correct the corpus entry"
        )
    return next(iter(sources.values()))


def _blocks(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The file's bytes, unpacked, in blocks of READ_BYTES at most."""
    more = file.read
    if name.endswith(".gz"):
        # read1 gives what has come before a file that is cut short says so.
        more = gzip.GzipFile(fileobj=file).read1
    elif name.endswith(".zst"):
        import pyarrow

        more = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd").read
    return iter(partial(more, READ_BYTES), b"")


def _json(
    blocks: Iterator[bytes], name: str, place: str
) -> tuple[str, Iterator[tuple[int, object]]]:
    """The unit of a file of JSON and its values; a .json that begins with [ is one list."""
    lines = _lines(_split(blocks), place)
    if not name.removesuffix(".gz").removesuffix(".zst").endswith(".json"):
        return "line", _objects(lines, place)
    head = []
    for number, line in lines:
        head.append((number, line))
        if line.strip():
            break
    rest = _chain(head, lines)
    if head and head[-1][1].lstrip().startswith(b"["):
        return "item", _items(b"\n".join(line for _, line in rest), place)
    return "line", _objects(rest, place)


def _chain(
    head: list[tuple[int, bytes]], rest: Iterator[tuple[int, bytes]]
) -> Iterator[tuple[int, bytes]]:
    yield from head
    yield from rest


def _split(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of a file that comes in blocks."""
    pieces: list[bytes] = []
    for block in blocks:
        first, *others = block.split(b"\n")
        pieces.append(first)
        if others:
            yield b"".join(pieces)
            yield from others[:-1]
            pieces = [others[-1]]
    if last := b"".join(pieces):
        yield last


def _lines(lines: Iterator[bytes], place: str) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers; the byte order mark of some editors is no part of the first."""
    number = 0
    while True:
        number += 1
        try:
            line = next(lines, None)
        except (EOFError, OSError, zlib.error) as error:
            # An error of the network is of a class of its own.
            if isinstance(error, OSError) and type(error) not in (OSError, gzip.BadGzipFile):
                raise
            raise TableError(
                f"{place}, line {number}: cannot be read ({error}); expected a whole "
                "gzip file (.gz) or zstd file (.zst), as its name says; fetch it again"
            ) from None
        if line is None:
            return
        yield number, line.removeprefix(BOM) if number == 1 else line


def _objects(lines: Iterator[tuple[int, bytes]], place: str) -> Iterator[tuple[int, object]]:
    for number, line in lines:
        if line.strip():
            where = f"{place}, line {number}"
            value = _parsed(line, where, "one JSON object on each line")
            if SURROGATE.search(line):
                _require_whole(value, where)
            yield number, value


def _items(data: bytes, place: str) -> Iterator[tuple[int, object]]:
    items = _parsed(data, place, "a list of objects")
    escaped = SURROGATE.search(data)
    for number, value in enumerate(items if isinstance(items, list) else [items], start=1):
        if escaped:
            _require_whole(value, f"{place}, item {number}")
        yield number, value


def _parsed(data: bytes, place: str, expected: str) -> object:
    try:
        found: object = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise TableError(f"{place}: cannot be read ({error}); expected UTF-8") from None
    except json.JSONDecodeError as error:
        raise TableError(
            f"{place}: not JSON ({error.msg} at column {error.colno}); expected {expected}"
        ) from None
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or lists within lists without end.
        raise TableError(
            f"{place}: not readable as JSON ({error}); expected {expected}; write such a value as "
            "text or leave it out"
        ) from None
    return found


def _require_whole(value: object, place: str) -> None:
    """TableError for half of a pair of surrogates, which no encoding of text can hold."""
    for key, one in value.items() if isinstance(value, dict) else [("", value)]:
        try:
            json.dumps([key, one], ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            code = ord(error.object[error.start])
            raise TableError(
                f"{place}, key {key!a}: found U+{code:04X}, half of a pair of surrogates, "
                "expected text that UTF-8 can hold; write the whole character, or U+FFFD"
            ) from None


def _parquet(file: BinaryIO, place: str) -> Iterator[tuple[int, object]]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        # Threads and buffers ahead would read what a stream does not want.
        table = parquet.ParquetFile(file, buffer_size=READ_BYTES, pre_buffer=False)
        special = [one.name for one in table.schema_arrow if not _is_json(one.type)]
        for batch in table.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
            for value in _values(_as_written(batch), place, number):
                number += 1
                for column in special:
                    where = f"{place}, row {number}, column '{column}'"
                    value[column] = _plain(value[column], where)
                yield number, value
    except pyarrow.ArrowException as error:
        raise TableError(
            f"{place}, row {number + 1}: not Parquet ({error}); expected a whole Parquet file; "
            "fetch it again"
        ) from None


def _as_written(batch: Any) -> Any:
    """Columns of single precision as their shortest decimals, since 0.1 in fp32 is 0.1000000015 to
    Python; times of day with nanoseconds, which Python's lack, as ISO 8601."""
    import pyarrow

    for i, kind in enumerate(batch.schema.types):
        to: Any = None
        if pyarrow.types.is_float32(kind):
            to = pyarrow.float64()
        elif pyarrow.types.is_time64(kind) and kind.unit == "ns":
            to = pyarrow.string()
        if to is not None:
            column = batch.column(i).cast(pyarrow.string()).cast(to)
            batch = batch.set_column(i, batch.schema.names[i], column)
    return batch


def _values(batch: Any, place: str, before: int) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = batch.to_pylist()
    except UnicodeDecodeError:
        # Only now is each value looked at, to say which it was.
        for row in range(batch.num_rows):
            for column in batch.schema.names:
                try:
                    batch.column(column)[row].as_py()
                except UnicodeDecodeError as error:
                    raise _no_text(f"{place}, row {before + row + 1}, column '{column}'") from error
        raise
    return found


def _is_json(kind: Any) -> bool:
    """Whether every value of an Arrow type is one of JSON's in Python too."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_json(kind.value_type)
    if types.is_struct(kind):
        return all(_is_json(kind.field(i).type) for i in range(kind.num_fields))
    simple = (types.is_string, types.is_large_string, types.is_integer, types.is_floating)
    return any(test(kind) for test in (*simple, types.is_boolean, types.is_null))


def _plain(value: object, place: str) -> object:
    """Bytes as the UTF-8 that they are, dates and times as ISO 8601; TableError for all else."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _no_text(place) from error
    if isinstance(value, Mapping):
        return {str(key): _plain(one, place) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, place) for one in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    raise TableError(
        f"{place}: found a {type(value).__name__}, expected text, numbers, dates, lists or objects "
        "of these; write it as text, or leave the column out of the file"
    )


def _no_text(place: str) -> TableError:
    return TableError(
        f"{place}: found bytes that are no UTF-8, expected text; store the column as UTF-8, or "
        "leave it out of the file"
    )
