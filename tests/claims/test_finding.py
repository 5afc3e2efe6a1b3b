"""Tests and readings of a re-analysis, on numbers worked out by hand or by another library."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lora_ledger.claims import finding


def test_signs_are_counted_and_read_by_the_claims_direction() -> None:
    """Eight on one side: p = 2 / 2^8 = 0.0078; a zero is left out."""
    found = finding.signs("LA4", "a", "runs", {str(i): 0.1 for i in range(8)} | {"z": 0.0})
    assert found.test == "sign test, p = 0.0078"
    assert found.figure.startswith("8 above, 0 below, 1 equal")
    assert (found.units, found.reading) == ("9 runs", "for")
    against = finding.signs("LA4", "a", "runs", {str(i): -0.1 for i in range(8)})
    assert against.reading == "against"
    five = finding.signs("LA4", "a", "runs", {str(i): 0.1 for i in range(5)})
    assert (five.test, five.reading) == ("sign test, p = 0.062", "open")


def test_an_order_is_scipys() -> None:
    blocks = [[4.0, 3.0, 2.0, 1.0], [4.0, 2.0, 3.0, 1.0], [3.0, 4.0, 2.0, 1.0]]
    theirs = stats.page_trend_test(-np.array(blocks), method="exact")
    found = finding.ordered("LA4", "a", "runs", blocks, rising=False)
    assert f"L = {theirs.statistic:g}" in found.test
    assert f"p = {finding.p(theirs.pvalue)}" in found.test
    assert found.reading == "for"
    assert finding.ordered("LA4", "a", "runs", blocks, rising=True).reading == "open"


def test_a_slope_has_the_interval_of_the_textbook() -> None:
    x, y = [0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.1, 1.9, 3.2, 3.8]
    (gradient, _), cov = np.polyfit(x, y, 1, cov=True)
    half = stats.t.ppf(0.975, 3) * math.sqrt(cov[0, 0])
    found = finding.slope("LA1", "a", x, y, per="doubling", claimed=1, own_runs=True)
    bounds = f"{gradient:+.4f} per doubling [{gradient - half:+.4f}, {gradient + half:+.4f}]"
    assert found.figure == bounds
    pairs = [(y[j] - y[i]) / (x[j] - x[i]) for i in range(5) for j in range(i + 1, 5)]
    assert f"Theil-Sen {np.median(pairs):+.4f}" in found.test
    assert found.reading == "for"


@pytest.mark.parametrize(
    ("claimed", "own", "read"),
    [(1, True, "for"), (-1, True, "against"), (0, True, "against"), (1, False, "description")],
)
def test_what_a_slope_speaks_for(claimed: int, own: bool, read: str) -> None:
    x, y = [0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.1, 3.0]
    found = finding.slope("LA1", "a", x, y, per="step", claimed=claimed, own_runs=own)  # type: ignore[arg-type]
    assert found.reading == read


def test_shares_of_items() -> None:
    """.293 and .202 of 1,319: the standard error is the root of (.2072 + .1612) / 1319 = .0167."""
    found = finding.items("LA1", "a", (0.293, 0.202), 1319, claimed=1)
    assert found.figure == "+0.091 [+0.058, +0.124]"
    assert found.reading == "for"
    same = finding.items("LA2", "a", (0.642, 0.634), 1319, claimed=0)
    assert same.reading == "open"


def test_a_stated_spread() -> None:
    """1.96 · √2 · .3 = .83."""
    found = finding.apart("LB8", "a", 3.6, 0.3, claimed=1)
    assert found.figure == "+3.6 [+2.8, +4.4]"
    assert finding.apart("LB8", "a", -0.2, 0.3, claimed=1).reading == "open"
    assert finding.apart("LB8", "a", -1.2, 0.3, claimed=1).reading == "against"


def test_a_correlation() -> None:
    """atanh(.59) = .6777; 1.96 · √(1.06 / 27) = .3883; tanh of .2893 and 1.0660."""
    found = finding.correlation("LD3", "a", 0.59, 30, claimed=True)
    assert found.figure == "+0.590 [+0.28, +0.79]"
    assert found.reading == "for"
    assert finding.correlation("LD3", "a", -0.338, 15, claimed=False).reading == "open"
