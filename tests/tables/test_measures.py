"""Clusters and changes that no unit shows."""

from __future__ import annotations

import numpy as np

from lora_ledger.analysis.statistics import Interval, Resampling
from lora_ledger.tables.measures import (
    SAME,
    Measure,
    Series,
    at_chance,
    change,
    clusters,
    level,
    without,
)

HOW = Resampling("items", 200, 0.95)


def series(values: list[float]) -> Series:
    ids = tuple(map(str, range(len(values))))
    return Series(ids, np.array(values, dtype=float), np.ones(len(values)))


def test_units_are_clustered_only_where_some_share_a_group() -> None:
    assert clusters({"groups": ["a", "a", "b"]}) == ("a", "a", "b")
    assert clusters({"groups": ["a", "b"]}) is None
    assert clusters({}) is None


def test_no_item_that_differs_is_said_in_words() -> None:
    share = Measure("pass@1", "items", 3, {}, {}, None, None, True)
    assert change(share, [series([0, 0, 1])], [series([0, 0, 1])], HOW) == SAME
    found = change(share, [series([0, 1, 1])], [series([0, 0, 1])], HOW)
    assert isinstance(found, Interval)
    assert found.estimate == 1 / 3


def test_a_share_of_zero_over_groups_keeps_a_width() -> None:
    """Wilson's upper bound at 0 of n is z^2 / (n + z^2): with 3 groups and z = 1.96, 0.5615."""
    share = Measure("strict", "groups of problems", 3, {}, {}, ("a", "a", "b", "c"), None, True)
    found = level(share, [series([0, 0, 0, 0])], HOW)
    assert (found.estimate, found.low, found.n) == (0, 0, 3)
    assert abs(found.high - 1.96**2 / (3 + 1.96**2)) < 1e-3


def strata(base: list[float]) -> Measure:
    """Four units of task a (two options) and two of task b (four options)."""
    ids = tuple(f"{task}/{i}" for i, task in enumerate("aaaabb"))
    one = Series(ids, np.array(base, dtype=float), np.ones(6))
    chances = (0.5,) * 4 + (0.25,) * 2
    return Measure(
        "mean", "items", 3, {"c": one}, {"base": one}, None, chances, True, tuple("aaaabb")
    )


def test_strata_weigh_the_same() -> None:
    measure = strata([1, 0, 1, 1, 1, 1])
    assert measure.chance == 0.375
    assert measure.base is not None
    assert measure.value(measure.base) == (0.75 + 1.0) / 2
    assert level(measure, [measure.base], HOW).estimate == 0.875
    assert change(measure, [measure.base], [measure.base], HOW) == SAME


def test_a_mean_at_chance() -> None:
    """Its standard error is sqrt(.25 / 4 + .1875 / 2) / 2 = 0.1976, twice that 0.395 from 0.375."""
    assert at_chance(strata([1, 0, 1, 1, 1, 0]))
    assert not at_chance(strata([1, 0, 1, 1, 1, 1]))


def test_without_some_units() -> None:
    left = without(strata([1, 0, 1, 1, 0, 1]), {"a/1", "b/5", "b/9"}, "left")
    assert left.ids == ("a/0", "a/2", "a/3", "b/4")
    assert (left.name, left.strata, left.chance) == ("left", tuple("aaab"), 0.375)
    assert left.base is not None
    assert left.value(left.base) == 0.5
