"""Records: what each of the two hashes is of, and a half-written record is never seen."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from lora_ledger.records import atomic, host
from lora_ledger.records.record import Input, Record, identity, read_record, write_record


def make(path: Path, **changes: Any) -> Record:
    given: dict[str, Any] = {
        "stage": "train",
        "version": 1,
        "cell": "base",
        "names": {"seed": "1"},
        "inputs": {"a": Input(asked="asked of a", id="id of a")},
        "asks": {"rate": 1e-4},
        "settings": {"rate": 1e-4, "clip": 1.0},
        "results": {"loss": [1.0, float("nan")]},
        "run": {},
    } | changes
    return write_record(path, **given)


def test_both_hashes_written_out_by_hand(tmp_path: Path) -> None:
    record = make(tmp_path / "r.json", run={"seconds": 3})
    text = (
        '{"cell":"base","inputs":{"a":"asked of a"},"names":{"seed":"1"},'
        '"settings":{"rate":0.0001},"stage":"train","version":1}'
    )
    assert record.asked == hashlib.sha256(text.encode()).hexdigest()[:16]
    text = f'{{"asked":"{record.asked}","results":{{"loss":[1.0,null]}},"status":"complete"}}'
    assert record.id == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("changes", "asked", "found"),
    [
        ({"run": {"seconds": 4, "code_digest": "d"}}, True, True),
        # Another processor rounds otherwise: the same was asked, and another thing came of it.
        ({"results": {"loss": [1.0000001]}}, True, False),
        ({"status": "diverged"}, True, False),
        ({"inputs": {"a": Input(asked="asked of a", id="elsewhere")}}, True, True),
        # A key at its default is told in the settings and asked for by nobody.
        ({"settings": {"rate": 1e-4, "clip": 1.0, "new": 0}}, True, True),
        ({"inputs": {"a": Input(asked="other", id="id of a")}}, False, False),
        ({"asks": {"rate": 2e-4}}, False, False),
        ({"names": {"seed": "2"}}, False, False),
        ({"cell": "other"}, False, False),
        ({"version": 2}, False, False),
        ({"stage": "tune"}, False, False),
    ],
)
def test_what_moves_which_hash(
    tmp_path: Path, changes: dict[str, Any], asked: bool, found: bool
) -> None:
    before, after = make(tmp_path / "a.json"), make(tmp_path / "b.json", **changes)
    assert (after.asked == before.asked) is asked
    assert (after.id == before.id) is found


def test_round_trip_and_schema(tmp_path: Path) -> None:
    record = make(tmp_path / "deep/record.json")
    assert read_record(tmp_path / "deep/record.json") == record
    assert identity(tmp_path / "deep") == Input(asked=record.asked, id=record.id)
    assert json.loads((tmp_path / "deep/record.json").read_text())["schema"] == 2
    schema = json.loads(Path("workflow/schemas/record.schema.json").read_text("utf-8"))
    assert schema == Record.model_json_schema(), "run: python -m lora_ledger.study.json_schemas"


def test_the_run_says_which_machine_and_which_code(tmp_path: Path) -> None:
    run = make(tmp_path / "r.json").run
    assert run["versions"]["python"]
    assert set(run["code"]) == {"commit", "clean"}
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel name\t: X\n"
        "flags\t\t: fpu avx2 avx512f avx512_bf16\n\nprocessor\t: 1\nmodel name\t: Y\n"
    )
    found = host.processor(tmp_path / "cpuinfo")
    assert (found["vendor"], found["family"], found["model"]) == ("GenuineIntel", "6", "X")
    assert found["instructions"] == ["avx2", "avx512f", "avx512_bf16"]


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
        make(path, version=2)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{}")
    with pytest.raises(ValueError, match=r"r\.json: found no valid record"):
        read_record(tmp_path / "r.json")
