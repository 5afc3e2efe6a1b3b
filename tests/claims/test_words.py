"""A word is found exactly where the interval says it."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from lora_ledger.analysis.student import estimated
from lora_ledger.claims.words import joint, judged, of_bounds


@pytest.mark.parametrize(
    ("estimate", "word"), [(-0.5, "lower"), (0.5, "higher"), (0.05, "within"), (0.25, "")]
)
def test_words_are_the_interval(estimate: float, word: str) -> None:
    """At se .05 and 20 df the half width is .1043; the margin .3."""
    found = judged("t", estimated(estimate, 0.05, 20, 5, "blocks"), -0.3, 0.3)
    low, high = found.low, found.high
    said = {"lower": high < -0.3, "higher": low > 0.3, "within": low > -0.3 and high < 0.3}
    assert {name: p <= 0.05 for name, p in found.p.items()} == said
    assert [name for name, is_so in said.items() if is_so] == ([word] if word else [])


def test_p_is_twice_the_one_sided() -> None:
    found = judged("t", estimated(0.2, 0.1, 8, 3, "blocks"), 0.0, 0.0)
    assert found.p["higher"] == pytest.approx(2 * stats.t.sf(2, 8))
    assert math.isnan(found.p["within"])
    wider = judged("t", estimated(0.2, 0.03, 8, 3, "blocks"), 0.0, 0.0, 0.04)
    assert wider.p["higher"] == pytest.approx(2 * stats.t.sf(0.2 / 0.05, 8))


def test_of_bounds_takes_the_spread_from_the_interval() -> None:
    half = float(stats.t.ppf(0.975, 5)) * 0.2
    found = of_bounds("ratio", (1.0, 1.0 - half, 1.0 + half), 5, 6, "blocks", (0.0, 0.0))
    assert found.p["higher"] == pytest.approx(2 * stats.t.sf(5, 5))
    lost = of_bounds("ratio", (1.0, -math.inf, math.inf), 5, 6, "blocks", (0.0, 0.0))
    assert all(math.isnan(p) for p in lost.p.values())


def test_of_several_each_has_to_say_it() -> None:
    sure = judged("a", estimated(0.5, 0.05, 20, 5, "blocks"), -0.1, 0.1)
    weak = judged("b", estimated(0.15, 0.05, 20, 5, "blocks"), -0.1, 0.1)
    both = joint([sure, weak], "both")
    assert both.p["higher"] == weak.p["higher"] > 0.05 > sure.p["higher"]
    assert both.estimate == 0.15
