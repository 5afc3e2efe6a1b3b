"""What a record says of the machine and the process."""

from __future__ import annotations

import os
import sys

import pytest

from lora_ledger.records.host import environment


def test_a_path_that_is_not_utf8_loses_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is told as it can be written down: the work is done by then."""
    monkeypatch.setattr(sys, "argv", ["/a/score.py", "--out", os.fsdecode(b"o\xffut/s.json"), "é"])
    monkeypatch.setenv("OMP_PLACES", os.fsdecode(b"\xfe"))
    found = environment()
    assert found["command"] == ["score.py", "--out", r"o\xffut/s.json", "é"]
    assert found["environment"]["OMP_PLACES"] == r"\xfe"
