"""The claims' file: all are there, references exist, and what is wrong is refused by key."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from lora_ledger.claims import catalogue, published
from lora_ledger.claims.catalogue import claims, parse
from lora_ledger.common import yaml

COUNTS = {"LA": 18, "LB": 10, "LC": 14, "LD": 12, "LE": 5, "LN": 10}
PAIRS = [
    {"LA14", "LC11"},
    {"LC9", "LE4"},
    {"LA4", "LE2"},
    {"LD7", "LN5"},
    {"LA4", "LN2"},
    {"LC11", "LN1"},
    {"LD3", "LE5"},
    {"LA17", "LB7"},
    {"LA17", "LC13"},
]
"""Alpha; rank 1 in reinforcement learning; high rates; sequences; and what 2026 adds; speed."""


def test_every_claim_is_there_once() -> None:
    expected = [f"{letter}{n}" for letter, size in COUNTS.items() for n in range(1, size + 1)]
    assert list(claims()) == expected
    assert len({claim.statement for claim in claims().values()}) == len(expected)


def test_a_claim_stands_under_the_letter_of_its_paper() -> None:
    for claim in claims().values():
        assert claim.id[1] == claim.source.letter, claim.id


def test_statements_are_single_sentences() -> None:
    for claim in claims().values():
        assert claim.statement.endswith("."), claim.id
        assert not re.search(r"\.\s", claim.statement), claim.id


def test_who_contradicts_whom() -> None:
    found = [{one.id, other} for one in claims().values() for other in one.contradicts]
    assert all(found.count(pair) == 2 for pair in found)
    assert {frozenset(pair) for pair in found} == {frozenset(pair) for pair in PAIRS}


def test_figures_that_a_claim_reports_are_published_values() -> None:
    for claim in claims().values():
        if not claim.values:
            continue
        held = {abs(value.value) for value in claim.values}
        stated = {float(text) for text in re.findall(r"\d+\.\d+", claim.reported)}
        # Printed in terabytes, held in the gigabytes of its neighbour.
        assert stated - {1.2} <= held, claim.id


def test_what_was_drawn_only_has_no_value() -> None:
    for claim in claims().values():
        if claim.reported == "drawn only":
            assert claim.values == (), claim.id
    assert len(claims()["LA1"].values) == 2 * 4 * 8
    assert len(claims()["LD4"].values) == 6 * 5 * 2 + 6 * 4 * 2


def test_what_waits_for_the_suite_is_said() -> None:
    waiting = {claim.id for claim in claims().values() if claim.lacks}
    assert waiting == {"LB10", "LC9", "LC10", "LD7", "LD11", "LE4", "LN5", "LN6"}
    assert claims()["LE4"].missing.startswith("a regime of reinforcement learning; then a study")


TEXT = """
protocols:
  p: {model: m, data: d, batch: b, rates: r, scaling: s, modules: m, schedule: s, runs: r, evaluation: e}
claims:
  LA1:
    {statement: S., paper: hu-2021, place: t, kind: exact, metric: m, reported: r, protocol: p,
     scope: s, needs: n, contradicts: [LA2], published: [{paper: hu-2021, table: Table 1}]}
  LA2:
    {statement: T., paper: hu-2021, place: t, kind: trend, metric: m, reported: r, protocol: p,
     scope: s, needs: n, contradicts: [LA1]}
"""  # noqa: E501


def made(text: str) -> Mapping[str, catalogue.Claim]:
    return parse(text, published.read(), published.sources(), "c.yaml")


def test_a_small_file_is_read() -> None:
    found = made(TEXT)
    assert found["LA1"].contradicts == ("LA2",)
    assert len(found["LA1"].values) == 12
    assert found["LA2"].missing == "a study that has n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kind: trend", "kind: tendency", r"claims\.LA2\.kind: found 'tendency'"),
        ("kind: trend, ", "", r"claims\.LA2\.kind: found 'nothing', expected this key"),
        ("scope: s, needs: n, contradicts: [LA1]", "scope: s, needs: n, contradict: [LA1]",
         r"claims\.LA2\.contradict: found 'an unknown key'.*did you mean 'contradicts'"),
        ("contradicts: [LA1]", "contradicts: []", r"claims\.LA2\.contradicts: found \[\]"),
        ("contradicts: [LA1]", "contradicts: [LA3]", r"contradicts: found 'LA3', expected a claim"),
        ("table: Table 1", "table: Table 99", r"claims\.LA1\.published\.0: found .*Table 99"),
        ("T., paper: hu-2021", "T., paper: hu-2022", r"LA2\.paper: found 'hu-2022'.*'hu-2021'"),
        ("runs: r, ", "", r"protocols\.p\.runs: found 'nothing', expected this key"),
        ("runs: r, ", "runs: r, seeds: s, ", r"protocols\.p\.seeds: found 'an unknown key'"),
        ("claims:", "  q: {model: m, data: d, batch: b, rates: r, scaling: s, modules: m, "
         "schedule: s, runs: r, evaluation: e}\nclaims:", r"protocols: found \['q'\]"),
        ("LA2:", "A2:", r"claims\.A2"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_key(old: str, new: str, said: str) -> None:
    assert TEXT.count(old) == 1
    with pytest.raises(ValueError, match=said):
        made(TEXT.replace(old, new))


def test_the_file_is_plain_yaml_with_two_parts() -> None:
    raw = yaml.read(catalogue.FILE)
    assert list(raw) == ["protocols", "claims"]
