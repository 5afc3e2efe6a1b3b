"""The published numbers: typed, counted, in one unit; and what the reader refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_ledger.claims import published
from lora_ledger.claims.published import Value, one, select

VALUES = published.read()
A, B, C, D = "biderman-2024", "hu-2021", "schulman-2025", "shuttleworth-2025"
PEFT = "peft-method-comparison"


def test_counts() -> None:
    """Eight durations and five of four arms, two tables each of two corpora; three of Tulu's."""
    tables = {v.table for v in VALUES if v.paper == A}
    for names, size in (("S1 S2 S3 S4", 4 * 8), ("S5 S6 S7 S8", 4 * 5), ("S10 S11 S12 S13", 4 * 3)):
        for name in names.split():
            assert name in tables
            assert len(select(VALUES, {"paper": A, "table": name})) == size
    assert len(select(VALUES, {"paper": D, "table": "Table 2"})) == 6 * 7
    assert len(select(VALUES, {"paper": D, "table": "Table 3"})) == 6 * 5 * 2
    assert len(select(VALUES, {"paper": D, "table": "Table 4"})) == 6 * 4 * 2
    assert len(select(VALUES, {"paper": B, "table": "Table 6"})) == 3 * 5 * 2
    assert len(select(VALUES, {"paper": B, "table": "Table 18"})) == 11 * 2


def test_units_and_scales_agree() -> None:
    for value in VALUES:
        if value.unit in ("fraction", "probability", "phi"):
            assert 0 <= value.value <= 1, value
        if value.unit == "correlation":
            assert -1 <= value.value <= 1, value
    units: dict[tuple[str, str], set[str]] = {}
    for value in VALUES:
        units.setdefault((value.paper, value.metric), set()).add(value.unit)
    several = {key for key, found in units.items() if len(found) > 1}
    assert several == {
        (B, "checkpoint"),
        (B, "100 checkpoints"),
        (C, "typical loss of a token"),
        (PEFT, "trained parameters"),
    }


def test_every_source_is_used_and_every_absence_has_a_source() -> None:
    known = published.sources()
    absent = published.absent()
    assert {line.paper for line in absent} <= set(known)
    assert set(known) == {v.paper for v in VALUES} | {line.paper for line in absent} | {"trl"}


HEADER = ",".join(published.COLUMNS)
GOOD = "p,Table 1,glue,lora,8,2 epochs,model=m,score,points,1.5,,table,"


def folder(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    (tmp_path / "sources.csv").write_text(
        "paper,letter,cite,title,address\np,A,c,t,https://x.org\n"
    )
    (tmp_path / "p.csv").write_text("\n".join([header, *rows, ""]))
    return tmp_path


def test_a_row_is_typed(tmp_path: Path) -> None:
    (value,) = published.read(folder(tmp_path, GOOD))
    assert (value.rank, value.value, value.error, value.arm) == (8, 1.5, None, "lora r8")
    assert value.budget == published.Budget(amount=2, unit="epochs")
    assert value.variant == {"model": "m"}
    assert select([value], {"model": "m", "budget": "2 epochs", "rank": [4, 8]}) == (value,)
    assert select([value], {"model": "n"}) == ()
    with pytest.raises(ValueError, match=r"one row, where there are 0"):
        one([value], method="full")


@pytest.mark.parametrize(
    ("row_", "header", "said"),
    [
        (GOOD, HEADER.replace("metric", "metrics"), r"p\.csv: header: .*did you mean 'metric'"),
        (GOOD + ",more", HEADER, r"p\.csv:2: found '14 cells', expected '?13"),
        (GOOD.replace("points", "marks"), HEADER, r"p\.csv:2: unit: found 'marks'"),
        (GOOD.replace("1.5", "high"), HEADER, r"p\.csv:2: value: found 'high'"),
        (GOOD.replace("1.5", "nan"), HEADER, r"p\.csv:2: value: found 'nan'"),
        (GOOD.replace("2 epochs", "2 weeks"), HEADER, r"budget\.unit: found 'weeks'"),
        (GOOD.replace("model=m", "model"), HEADER, r"variant: found 'model'"),
        (GOOD.replace("model=m", "rank=m"), HEADER, r"variant: found 'rank=m'"),
        (GOOD.replace("p,", "q,", 1), HEADER, r"p\.csv:2: paper: found 'q'"),
        (f"{GOOD}\n{GOOD}", HEADER, r"p\.csv:3: found 'the row of .*p\.csv:2 again'"),
    ],
)
def test_what_is_no_published_value_is_refused(
    tmp_path: Path, row_: str, header: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        published.read(folder(tmp_path, *row_.split("\n"), header=header))


def test_outside_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"sources\.csv: found no file.*the checkout"):
        published.read(tmp_path)


def test_values_do_not_change() -> None:
    value: Value = VALUES[0]
    with pytest.raises(ValueError, match="frozen"):
        value.value = 1.0  # type: ignore[misc]
