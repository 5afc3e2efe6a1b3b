"""The record that every stage writes: what went in, what was set, what came out, how it ran.

In: digests, settings and results as plain JSON values.
Out: one JSON file, written to a temporary name and renamed. `id` is a hash of `science` alone, so a
repeat of the same computation has the same id wherever and whenever it ran.
It judges nothing and knows no stage.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import resource
import sys
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .atomic import write_text_atomic

SCHEMA = 1
PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "liger-kernel",
    "lm-eval",
    "evaluate",
    "datasets",
    "tokenizers",
    "numpy",
    "scipy",
    "pydantic",
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Science(_Part):
    """All that decides the numbers, and the numbers."""

    inputs: dict[str, str] = Field(description="Digest of each input by its name.")
    code: str = Field(description="Digest of the stage's code.")
    settings: dict[str, Any] = Field(description="Every resolved setting of the stage.")
    results: dict[str, Any]


class Record(BaseModel):
    """One stage's outcome for one cell."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: int = Field(SCHEMA, alias="schema")
    id: str = Field(description="The first 16 hex digits of the SHA-256 of `science`.")
    stage: str
    cell: str
    science: Science
    run: dict[str, Any] = Field(description="Host, times, memory, versions, command.")
    status: Literal["complete", "diverged"] = "complete"

    @property
    def results(self) -> dict[str, Any]:
        return self.science.results


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces; NaN and infinities are refused."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def finite(value: object) -> object:
    """The value with every NaN and infinity replaced by None, as JSON has neither."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def digest_json(value: object) -> str:
    """SHA-256 of the canonical JSON, as hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity(folder: Path) -> str:
    """The id of the record in a folder; of a folder without one, a hash over its files.

    Raises FileNotFoundError when it is not there.
    """
    if (folder / "record.json").is_file():
        return read_record(folder / "record.json").id
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: found nothing, expected the folder that a stage wrote")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest_json({str(path.relative_to(folder)): digest_file(path) for path in files})[:16]


def write_record(
    path: Path,
    *,
    stage: str,
    cell: str,
    inputs: Mapping[str, str],
    code: str,
    settings: Mapping[str, Any],
    results: Mapping[str, Any],
    run: Mapping[str, Any] | None = None,
    status: Literal["complete", "diverged"] = "complete",
) -> Record:
    """Write and return a record; `run` is added to what is known of host and versions."""
    science = Science.model_validate(
        {
            "inputs": dict(inputs),
            "code": code,
            "settings": finite(settings),
            "results": finite(results),
        }
    )
    record = Record.model_validate(
        {
            "schema": SCHEMA,
            "id": digest_json(science.model_dump())[:16],
            "stage": stage,
            "cell": cell,
            "science": science,
            "run": {**_environment(), **(run or {})},
            "status": status,
        }
    )
    write_text_atomic(path, record.model_dump_json(by_alias=True, indent=1) + "\n")
    return record


def read_record(path: Path) -> Record:
    """Read a record back; raises ValueError naming the file when it is not one."""
    try:
        return Record.model_validate_json(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: found no valid record, expected one: {error}") from error


def status_of(trained: Path | None) -> Literal["complete", "diverged"]:
    """The status in a cell's training record; the base, and a folder without record, complete."""
    if trained is None or not (trained / "record.json").is_file():
        return "complete"
    return read_record(trained / "record.json").status


def peak_memory_bytes() -> int:
    """The largest resident size this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@cache
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _environment() -> dict[str, Any]:
    import psutil

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "wall_seconds": round(time.time() - psutil.Process().create_time(), 2),
        "process_seconds": round(time.process_time(), 2),
        "peak_memory_bytes": peak_memory_bytes(),
        "versions": _versions(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }
