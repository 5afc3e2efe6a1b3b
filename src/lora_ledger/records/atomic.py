"""Files and folders that appear whole or not at all.

In: bytes, text, rows, or a finished folder. Out: the same at its place, written to a temporary name
beside it and renamed. A reader sees what was there before or all that is new.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write beside the target, then rename: a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def replace_folder(made: Path, out: Path) -> None:
    """Put a finished folder, made beside `out`, in its place; `made` is gone afterwards."""
    made.chmod(0o755)
    if out.exists():
        aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        out.replace(aside / "old")
        made.replace(out)
        shutil.rmtree(aside)
    else:
        made.replace(out)


def write_text_atomic(path: Path, text: str) -> None:
    """`write_bytes_atomic` for UTF-8 text."""
    write_bytes_atomic(path, text.encode())


def csv_gz(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A gzipped CSV table, the same bytes whenever it is written."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return gzip.compress(text.getvalue().encode(), mtime=0)
