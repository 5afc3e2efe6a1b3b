"""Files and folders that appear whole or not at all, readable as the user's umask says.

In: bytes, text, rows, or what a caller writes to a temporary place. Out: the same at its place,
written to a hidden name beside it and renamed. A reader sees what was there before or all that is
new. What a killed process left is hidden, and no later run reads it.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A name to write a file to, which replaces `path` at the end of the block.

    After an error nothing is left, and `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        share(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """An empty folder, which replaces `out` as a whole at the end of the block.

    After an error nothing is left, and `out` is as it was.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    made = _beside(out)
    made.mkdir()
    try:
        yield made
        share(made)
        if out.exists():
            old = _beside(out)
            out.replace(old)
            made.replace(out)
            shutil.rmtree(old)
        else:
            made.replace(out)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def share(path: Path) -> None:
    """Give a file, or all below a folder, the mode that the umask leaves to a new one.

    safetensors and tempfile make what they write readable by its owner alone. Links keep theirs,
    since they are somebody else's file.
    """
    mask = os.umask(0o077)
    os.umask(mask)
    for one in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if one.is_symlink() or (one.is_file() and one.stat().st_nlink > 1):
            continue
        one.chmod((0o777 if one.is_dir() else 0o666) & ~mask)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """`new_file` for bytes."""
    with new_file(path) as temporary:
        temporary.write_bytes(data)


def write_text_atomic(path: Path, text: str) -> None:
    """`new_file` for text as UTF-8."""
    write_bytes_atomic(path, text.encode())


def csv_gz(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A gzipped CSV table, the same bytes whenever it is written."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return gzip.compress(text.getvalue().encode(), mtime=0)


def jsonl_gz(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as gzipped JSON lines, the same bytes whenever they are written."""
    lines = (json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows)
    return gzip.compress("".join(lines).encode(), mtime=0)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")
