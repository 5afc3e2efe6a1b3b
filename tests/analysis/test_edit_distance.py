"""Edit distances by hand, and against the recursive definition."""

from __future__ import annotations

import random
from functools import cache

import pytest

from lora_ledger.analysis.edit_distance import distance, similarity


@pytest.mark.parametrize(
    ("one", "other", "edits", "alike"),
    [
        ("kitten", "sitting", 3, 1 - 3 / 7),
        ("Saturday", "Sunday", 3, 1 - 3 / 8),
        ("", "abc", 3, 0.0),
        ("abc", "", 3, 0.0),
        ("", "", 0, 1.0),
        ("a b", "a b", 0, 1.0),
        ("abcd", "wxyz", 4, 0.0),
        ("für", "fur", 1, 1 - 1 / 3),
    ],
)
def test_by_hand(one: str, other: str, edits: int, alike: float) -> None:
    assert distance(one, other) == distance(other, one) == edits
    assert similarity(one, other) == pytest.approx(alike)


def by_definition(one: str, other: str) -> int:
    """The three edits at the end, each tried."""

    @cache
    def least(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        same = one[i - 1] == other[j - 1]
        return min(least(i - 1, j) + 1, least(i, j - 1) + 1, least(i - 1, j - 1) + (not same))

    return least(len(one), len(other))


def test_against_the_definition() -> None:
    draw = random.Random(4)
    for _ in range(200):
        one, other = ("".join(draw.choices("abc ", k=draw.randrange(12))) for _ in range(2))
        assert distance(one, other) == by_definition(one, other)
