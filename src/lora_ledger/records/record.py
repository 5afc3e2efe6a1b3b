"""The record that every stage writes: what went in, what was set, what came out, how it ran.

In: hashes of inputs, settings and results as plain JSON values. Out: one JSON file, written to a
temporary name and renamed, with two hashes. `asked` is of what was asked: the same on every
machine, every Python and in every later release that did not raise the stage's version. `id` is of
`asked` and the results. It judges nothing and knows no stage.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .atomic import write_text_atomic
from .host import environment

SCHEMA = 2


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Input(_Part):
    """What a stage read: what was asked of it, and what it came to."""

    asked: str
    id: str


class Science(_Part):
    """All that decides the numbers, and the numbers."""

    inputs: dict[str, Input] = Field(description="Both hashes of each input by its name.")
    version: int = Field(description="The stage's version; its list of changes says what changed.")
    settings: dict[str, Any] = Field(description="Every resolved setting of the stage.")
    results: dict[str, Any]


class Record(BaseModel):
    """One stage's outcome for one cell."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: int = Field(SCHEMA, alias="schema")
    asked: str = Field(
        description="16 hex digits of the SHA-256 of what was asked: stage, its version, names, "
        "the inputs' `asked`, the settings without keys at their default. Equal everywhere."
    )
    id: str = Field(description="16 hex digits of the SHA-256 of `asked`, status and results.")
    stage: str
    cell: str
    names: dict[str, str] = Field(description="Which job of the stage: run, cell, setting, …")
    science: Science
    run: dict[str, Any] = Field(
        description="Code digest, commit, processor, threads, times, memory, versions, command."
    )
    status: Literal["complete", "diverged"] = "complete"

    @property
    def results(self) -> dict[str, Any]:
        return self.science.results

    @property
    def input(self) -> Input:
        """This record as the input of another stage."""
        return Input(asked=self.asked, id=self.id)


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


def identity(folder: Path) -> Input:
    """Both hashes of the record in a folder; of a folder without one, a hash over its files.

    Raises FileNotFoundError when it is not there.
    """
    if (folder / "record.json").is_file():
        return read_record(folder / "record.json").input
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: found nothing, expected the folder that a stage wrote; run that stage, or "
            "correct the path"
        )
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise FileNotFoundError(
            f"{folder}: found an empty folder, expected one that a stage wrote; run that stage"
        )
    return of_bytes(digest_json({str(p.relative_to(folder)): digest_file(p) for p in files}))


def of_bytes(sha256: str) -> Input:
    """An input that no stage made, by what pins its bytes."""
    return Input(asked=sha256, id=sha256)


def write_record(
    path: Path,
    *,
    stage: str,
    version: int,
    cell: str,
    names: Mapping[str, str],
    inputs: Mapping[str, Input],
    asks: Mapping[str, Any],
    settings: Mapping[str, Any],
    results: Mapping[str, Any],
    run: Mapping[str, Any],
    status: Literal["complete", "diverged"] = "complete",
) -> Record:
    """Write and return a record; `run` is added to what is known of host and versions.

    `asks` are the resolved settings without keys at their default, `settings` all of them.
    """
    asked = digest_json(
        {
            "stage": stage,
            "version": version,
            "cell": cell,
            "names": dict(names),
            "inputs": {name: one.asked for name, one in inputs.items()},
            "settings": finite(asks),
        }
    )[:16]
    found = finite(results)
    record = Record.model_validate(
        {
            "schema": SCHEMA,
            "asked": asked,
            "id": digest_json({"asked": asked, "status": status, "results": found})[:16],
            "stage": stage,
            "cell": cell,
            "names": dict(names),
            "science": {
                "inputs": {name: one.model_dump() for name, one in inputs.items()},
                "version": version,
                "settings": finite(settings),
                "results": found,
            },
            "run": {**environment(), **run},
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
