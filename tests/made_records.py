"""Records for tests of what reads them, with what such a test does not ask left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_ledger.records import record
from lora_ledger.records.record import Record


def write_record(path: Path, *, stage: str, cell: str, **more: Any) -> Record:
    """A record of version 1; `inputs` may be plain texts, `code` is the code digest."""
    inputs: Mapping[str, Any] = more.pop("inputs", {})
    run = {"code_digest": more.pop("code", "0" * 64), **(more.pop("run", None) or {})}
    settings = more.pop("settings", {})
    return record.write_record(
        path,
        stage=stage,
        cell=cell,
        version=more.pop("version", 1),
        names=more.pop("names", {"cell": cell}),
        inputs={n: record.of_bytes(i) if isinstance(i, str) else i for n, i in inputs.items()},
        asks=more.pop("asks", settings),
        settings=settings,
        run=run,
        **more,
    )
