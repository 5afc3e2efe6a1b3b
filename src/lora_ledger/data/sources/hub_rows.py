"""The rows of data files in order, until their texts hold a number of tokens.

In: names of files and a function that opens one. Out: one file of canonical JSON, a row a line,
whose last row is the one that reaches the budget. Parquet is read by batches from column chunks and
lines from a stream, so what comes after the budget is not read. Nothing here knows where files lie.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from lora_ledger.catalogue import HubStream
from lora_ledger.records.record import canonical, finite

from .cache import SourceError
from .hub_names import nearest

READ_BYTES = 1 << 20
"""The most that is asked of a column chunk at a time, and the block of a file of lines."""
BATCH_ROWS = 256
LINES = (".jsonl", ".json", ".ndjson")
PACKED = {".gz": "gzip", ".zst": "zstd"}


def write(
    names: Sequence[str],
    opened: Callable[[str], BinaryIO],
    stream: HubStream,
    out: Path,
    what: str,
) -> int:
    """Write rows to `out` until `column` holds tokens * bytes_per_token bytes; how many they are.

    Raises SourceError for an unknown kind of file (before any is opened), a missing column, a value
    that is no text, and files that end before the budget is reached. None counts as no bytes.
    """
    readers = {name: _reader(name, what) for name in names}
    wanted = stream.tokens * stream.bytes_per_token
    held = count = 0
    with out.open("w", encoding="utf-8") as target:
        for name in names:
            with opened(name) as file:
                for row in readers[name](file, f"{name} of {what}"):
                    held += _bytes(row, stream.column, f"{name} of {what}")
                    target.write(_line(row, f"{name} of {what}") + "\n")
                    count += 1
                    if held >= wanted:
                        target.flush()
                        os.fsync(target.fileno())
                        return count
    raise SourceError(
        f"stream.tokens: found {held} bytes in the column {stream.column!r} of all {count} rows of "
        f"{what} ({held / stream.bytes_per_token:.0f} tokens), expected at least {wanted:.0f} "
        f"({stream.tokens} tokens); name more `files` or lower `tokens`"
    )


def _reader(name: str, what: str) -> Callable[[BinaryIO, str], Iterator[Mapping[str, Any]]]:
    """How a file of this name is read. Raises SourceError for a kind that is not known."""
    suffixes = PurePosixPath(name).suffixes
    if suffixes[-1:] == [".parquet"]:
        return _parquet
    codec = PACKED.get(suffixes[-1]) if suffixes else None
    inner = suffixes[-2:-1] if codec else suffixes[-1:]
    if inner and inner[0] in LINES:
        return lambda file, where: _lines(file, where, codec)
    raise SourceError(
        f"{name} of {what}: found a file that is no table of rows, expected .parquet or "
        f"{', '.join(LINES)}, plain or packed as {', '.join(PACKED)}; correct `files`"
    )


def _parquet(file: BinaryIO, where: str) -> Iterator[Mapping[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file, buffer_size=READ_BYTES, pre_buffer=False)
        for batch in table.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
            yield from batch.to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise SourceError(f"{where} is no parquet file that can be read: {error}") from error


def _lines(file: BinaryIO, where: str, codec: str | None) -> Iterator[Mapping[str, Any]]:
    import pyarrow

    lines: Any = file
    if codec:
        lines = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), codec)
    number = 0
    for number, line in enumerate(_split(lines.read), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SourceError(
                f"line {number} of {where} is no JSON ({error}); expected one row a line"
            ) from error
        if not isinstance(row, dict):
            raise SourceError(
                f"line {number} of {where}: found a {type(row).__name__}, expected an object"
            )
        yield row


def _split(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Lines of a stream that is read in blocks."""
    rest = b""
    while block := read(READ_BYTES):
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _bytes(row: Mapping[str, Any], column: str, where: str) -> int:
    if column not in row:
        raise SourceError(
            f"stream.column: {where} has no column {column!r}; the nearest are "
            f"{nearest(column, row)}"
        )
    value = row[column]
    if value is not None and not isinstance(value, str):
        raise SourceError(
            f"stream.column: {column!r} of {where} holds a {type(value).__name__}, expected text"
        )
    return len((value or "").encode())


def _line(row: Mapping[str, Any], where: str) -> str:
    try:
        return canonical(row)
    except (TypeError, ValueError):
        # NaN, or a value that JSON does not have: rare, so only then is every value looked at.
        return canonical(finite(_plain(row, where)))


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}, {key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise SourceError(f"{where}: found a {type(value).__name__}, which a row of JSON cannot hold")
