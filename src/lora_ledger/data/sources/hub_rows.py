"""The rows of data files in order, until their texts hold a number of tokens.

In: names of files and a function that opens one. Out: one file of canonical JSON, a row a line,
whose last row is the one that reaches the budget. What comes after it is not read. Nothing here
knows where files lie; `corpora.tables` knows how they are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from lora_ledger.catalogue import HubStream
from lora_ledger.data.corpora.tables import KINDS, READ_BYTES, Row, TableError, read, understood
from lora_ledger.records.record import canonical, finite

from .cache import SourceError
from .hub_names import nearest

__all__ = ["READ_BYTES", "write"]


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
    for name in names:
        if not understood(name):
            raise SourceError(
                f"{name} of {what}: found a file that is no table of rows, expected {KINDS}; "
                "correct `files`"
            )
    wanted = stream.tokens * stream.bytes_per_token
    held = count = 0
    with out.open("w", encoding="utf-8") as target:
        for name in names:
            with opened(name) as file:
                try:
                    for row in read(file, name, f"{name} of {what}"):
                        held += _bytes(row, stream.column)
                        target.write(_line(row) + "\n")
                        count += 1
                        if held >= wanted:
                            target.flush()
                            os.fsync(target.fileno())
                            return count
                except TableError as error:
                    raise SourceError(str(error)) from error
    raise SourceError(
        f"stream.tokens: found {held} bytes in the column {stream.column!r} of all {count} rows of "
        f"{what} ({held / stream.bytes_per_token:.0f} tokens), expected at least {wanted:.0f} "
        f"({stream.tokens} tokens); name more `files` or lower `tokens`"
    )


def _bytes(row: Row, column: str) -> int:
    if column not in row.values:
        raise SourceError(
            f"stream.column: {row.place} has no column {column!r}; the nearest are "
            f"{nearest(column, row.values)}"
        )
    value = row.values[column]
    if value is not None and not isinstance(value, str):
        raise SourceError(
            f"stream.column: {column!r} of {row.place} holds a {type(value).__name__}, expected "
            "text"
        )
    return len((value or "").encode())


def _line(row: Row) -> str:
    try:
        return canonical(row.values)
    except ValueError:
        # NaN, which JSON does not have: rare, so only then is every value looked at.
        return canonical(finite(row.values))
