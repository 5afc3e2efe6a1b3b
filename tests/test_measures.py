"""Clusters and changes that no unit shows."""

from __future__ import annotations

import numpy as np

from lora_ledger.statistics import Interval, Resampling
from lora_ledger.tables.measures import SAME, Measure, Series, change, clusters, level

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
