"""Records: the id depends on the science alone, and a half-written record is never seen."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from lora_ledger.records import atomic
from lora_ledger.records.record import Record, read_record, write_record


def make(path: Path, **changes: object) -> Record:
    given = {
        "stage": "train",
        "cell": "base",
        "inputs": {"a": "1"},
        "code": "c",
        "settings": {"rate": 1e-4},
        "results": {"loss": [1.0, float("nan")]},
    } | changes
    return write_record(path, **given)  # type: ignore[arg-type]


def test_id_is_the_hash_of_science_written_out_by_hand(tmp_path: Path) -> None:
    record = make(tmp_path / "r.json", run={"seconds": 3})
    text = (
        '{"code":"c","inputs":{"a":"1"},"results":{"loss":[1.0,null]},"settings":{"rate":0.0001}}'
    )
    assert record.id == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert make(tmp_path / "s.json", run={"seconds": 4}).id == record.id
    assert make(tmp_path / "t.json", code="d").id != record.id


def test_round_trip_and_schema(tmp_path: Path) -> None:
    record = make(tmp_path / "deep/r.json")
    assert read_record(tmp_path / "deep/r.json") == record
    assert json.loads((tmp_path / "deep/r.json").read_text())["schema"] == 1
    schema = json.loads(Path("workflow/schemas/record.schema.json").read_text("utf-8"))
    assert schema == Record.model_json_schema(), "run: python -m lora_ledger.study.json_schemas"


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.json"
    make(path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(atomic.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        make(path, code="other")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{}")
    with pytest.raises(ValueError, match=r"r\.json: found no valid record"):
        read_record(tmp_path / "r.json")
