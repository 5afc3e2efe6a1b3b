"""Holm and Benjamini-Hochberg beside the examples of their papers and the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lora_ledger.analysis.multiplicity import (
    MOST_PRIMARY,
    benjamini_hochberg,
    corrected,
    holm,
    rejected,
)

THROMBOLYSIS = [
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459),
    *(0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
]
"""Benjamini & Hochberg (1995), section 4.1: fifteen p values of one trial."""


def test_the_papers_own_example() -> None:
    """Their procedure rejects four hypotheses at 5 %; p(4) = .0095 ≤ 4/15 x .05 = .013."""
    adjusted = benjamini_hochberg(THROMBOLYSIS)
    assert rejected(adjusted) == [True] * 4 + [False] * 11
    assert adjusted[:4] == pytest.approx([0.0015, 0.003, 0.0095, 0.035625])
    assert adjusted[4] == pytest.approx(0.0201 * 15 / 5)


def test_holm_by_hand() -> None:
    """.01 x 4, .02 x 3 and .022 x 2, which the step before lifts to .06, and .3."""
    adjusted = holm([0.022, 0.3, 0.01, 0.02])
    assert adjusted == pytest.approx([0.06, 0.3, 0.04, 0.06])
    assert rejected(adjusted) == [False, False, True, False]
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])


def test_holm_by_its_steps() -> None:
    """Reject in ascending order while p ≤ level / (m - i), stop at the first that is not."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        ps = rng.uniform(0, 0.06, 8)
        expected, left = set(), 8
        for place in np.argsort(ps):
            if ps[place] > 0.05 / left:
                break
            expected.add(int(place))
            left -= 1
        assert {i for i, yes in enumerate(rejected(holm(ps.tolist()))) if yes} == expected


def test_benjamini_hochberg_by_its_definition() -> None:
    rng = np.random.default_rng(6)
    for _ in range(200):
        ps = np.sort(rng.uniform(0, 0.1, 10))
        at_most = [i for i in range(10) if ps[i] <= (i + 1) / 10 * 0.05]
        expected = [i <= max(at_most, default=-1) for i in range(10)]
        assert rejected(benjamini_hochberg(ps.tolist())) == expected


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_a_test_that_was_not_made_counts_and_stays(adjust: object) -> None:
    adjusted = adjust([0.02, math.nan, 0.03])  # type: ignore[operator]
    assert math.isnan(adjusted[1])
    assert rejected(adjusted)[1] is False
    expected = [0.06, 0.06] if adjust is holm else [0.045, 0.045]
    assert adjusted[[0, 2]] == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"found 1\.2"):
        adjust([0.1, 1.2])  # type: ignore[operator]
    assert len(adjust([])) == 0  # type: ignore[operator]


def test_at_most_twelve_primary_claims() -> None:
    assert len(holm([0.5] * MOST_PRIMARY)) == 12
    with pytest.raises(ValueError, match="found 13, expected at most 12"):
        holm([0.5] * 13)


def test_two_families() -> None:
    """a and c: .02 x 2, .03; b, d and e: .03 x 3/2, .02 x 3, which falls to .045, and .9."""
    ps = {"a": 0.02, "b": 0.02, "c": 0.03, "d": 0.03, "e": 0.9}
    assert corrected(ps, {"a", "c"}) == pytest.approx(
        {"a": 0.04, "b": 0.045, "c": 0.04, "d": 0.045, "e": 0.9}
    )
    with pytest.raises(ValueError, match="found no p of f"):
        corrected(ps, {"a", "f"})


def test_holm_holds_the_chance_of_one_false_claim() -> None:
    """Twelve true nulls that share a comparator (correlation 1/2): below 5 % and a margin."""
    rng = np.random.default_rng(7)
    from scipy import stats

    z = (rng.normal(size=(4000, 12)) + rng.normal(size=(4000, 1))) / math.sqrt(2)
    any_false = [any(rejected(holm(row))) for row in 2 * stats.norm.sf(np.abs(z))]
    assert np.mean(any_false) < 0.05
