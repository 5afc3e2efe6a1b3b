"""Small files of the layouts of published benchmarks, for the tests of their readers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lora_ledger.data.corpora import Example, reader

Rows = list[dict[str, Any]]


def lines(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def parquet(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def from_file(name: str, tmp_path: Path, rows: Rows, **options: object) -> list[Example]:
    path = lines(tmp_path / "rows.jsonl", rows)
    return list(reader(name)({"data": path}, options))


def from_hub(name: str, tmp_path: Path, files: dict[str, Rows], **options: object) -> list[Example]:
    for file, rows in files.items():
        write: Callable[[Path, Rows], Path] = lines if file.endswith(".jsonl") else parquet
        write(tmp_path / "hub" / file, rows)
    return list(reader(name)({"hub": tmp_path / "hub"}, options))
