"""Rows of published data sets, each checked for the keys that its reader needs.

In: a file of rows, or a folder that holds the files of a hub's data set repository at their paths.
Out: rows as dictionaries, in the published order. `tables` reads the files; the readers of the data
sets turn rows into examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import tables

Row = dict[str, Any]
Keys = Mapping[str, type | tuple[type, ...]]


def from_hub(sources: Mapping[str, Path], *files: str) -> bool:
    """Whether the rows lie in the folder `hub`, and not in `files` (default: `data`).

    Raises ValueError when the sources are neither the one nor the other.
    """
    names = set(files or ("data",))
    if set(sources) == {"hub"}:
        return True
    if set(sources) == names:
        return False
    raise ValueError(
        f"sources: found {', '.join(sorted(sources)) or 'none'}, expected "
        f"{', '.join(sorted(names))} or hub; correct the sources of the corpus entry"
    )


def file_rows(path: Path, keys: Keys) -> Iterator[Row]:
    """The rows of one file; ValueError names file, line and key of what is wrong."""
    with path.open("rb") as file:
        for row in tables.read(file, path.name, path.name):
            yield checked(row.values, keys, row.place)


def hub_rows(folder: Path, pattern: str, keys: Keys) -> Iterator[Row]:
    """The rows of the files below `folder` that match `pattern`, file by file in order of name.

    Raises FileNotFoundError when no file matches, ValueError for a row that lacks a key.
    """
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not paths:
        found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        raise FileNotFoundError(
            f"{folder}: found {', '.join(found[:8]) or 'no file'}, expected a file that matches "
            f"{pattern}; the entry's `files` should name the files of the repository that do"
        )
    for path in paths:
        yield from file_rows(path, keys)


def split_rows(
    folder: Path, patterns: Mapping[str, str], keys: Keys
) -> Iterator[tuple[str, int, Row]]:
    """(split, row number from 1, row) for the pattern of files of each split."""
    for split, pattern in patterns.items():
        for number, row in enumerate(hub_rows(folder, pattern, keys), start=1):
            yield split, number, row


def checked(row: Row, keys: Keys, place: str) -> Row:
    """`row` itself; ValueError when it lacks one of `keys` in the right type."""
    for key, kind in keys.items():
        if key not in row:
            raise ValueError(
                f"{place}: no key '{key}', found {', '.join(row) or 'none'}; expected "
                f"{', '.join(keys)}; name a source of that layout in the corpus entry"
            )
        # A bool is an int to Python, but no row number or label.
        if not isinstance(row[key], kind) or isinstance(row[key], bool):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            raise ValueError(
                f"{place}, key '{key}': found {type(row[key]).__name__}, expected "
                f"{' or '.join(one.__name__ for one in kinds)}; name a source of that layout in "
                "the corpus entry"
            )
    return row


def gold(choices: Iterable[object], index: int, place: str) -> int:
    """`index` itself; ValueError when it points at none of `choices`."""
    count = len(list(choices))
    if not 0 <= index < count:
        raise ValueError(
            f"{place}: the index of the right choice is {index}, expected 0 to {count - 1}; "
            "fetch the file again"
        )
    return index
