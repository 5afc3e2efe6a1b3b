"""Verdicts are read where a study wrote them, and from nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_ledger.claims import verdicts
from made_verdicts import planted

KNOWN = ["LA1", "LA2"]


def test_without_records_there_is_none(tmp_path: Path) -> None:
    assert verdicts.read(tmp_path, None, KNOWN) == {}


def test_of_one_study_or_of_all(tmp_path: Path) -> None:
    planted(tmp_path, "one", "LA1", "supported")
    planted(tmp_path, "two", "LA1", "contradicted")
    planted(tmp_path, "two", "LA2", "undecided")
    found = verdicts.read(tmp_path, None, KNOWN)
    assert [(v.study, v.outcome) for v in found["LA1"]] == [
        ("one", "supported"),
        ("two", "contradicted"),
    ]
    assert found["LA2"][0].reasons == ("because",)
    assert list(verdicts.read(tmp_path, "one", KNOWN)) == ["LA1"]


@pytest.mark.parametrize(
    ("claim", "verdict", "stage", "said"),
    [
        ("LA9", "supported", "decide", r"LA9\.json: names\.claim: found 'LA9'"),
        ("LA1", "true", "decide", r"results\.verdict: found 'true', expected a verdict"),
        ("LA1", "supported", "score", r"stage: found 'score', expected decide"),
    ],
)
def test_what_is_no_verdict_is_refused(
    tmp_path: Path, claim: str, verdict: str, stage: str, said: str
) -> None:
    planted(tmp_path, "one", claim, verdict, stage)
    with pytest.raises(ValueError, match=said):
        verdicts.read(tmp_path, None, KNOWN)
