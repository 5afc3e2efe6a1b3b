"""Fronts beside a fine grid and beside areas worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lora_ledger.analysis.fronts import (
    area,
    area_between,
    areas,
    attained,
    front,
    hypervolume,
    resampled_area,
    volume,
)
from lora_ledger.analysis.statistics import Resampling

RNG = np.random.default_rng(14)


def test_what_no_other_point_beats() -> None:
    learnt, forgotten = front(([1, 2, 2, 3, 1.5, 3], [1, 2, 1.5, 4, 1.2, 4]))
    assert learnt.tolist() == [1, 1.5, 2, 3]
    assert forgotten.tolist() == [1, 1.2, 1.5, 4]
    assert front(([math.nan], [1.0]))[0].tolist() == []
    with pytest.raises(ValueError, match="found 2 and 1 values"):
        front(([1, 2], [1]))


def test_front_by_comparing_every_pair() -> None:
    learnt, forgotten = RNG.normal(size=(2, 60))
    expected = [
        a
        for a, b in zip(learnt, forgotten, strict=True)
        if not any(
            c >= a and d <= b and (c, d) != (a, b) for c, d in zip(learnt, forgotten, strict=True)
        )
    ]
    assert front((learnt, forgotten))[0].tolist() == sorted(expected)


def test_hypervolume_by_hand() -> None:
    """Reference (0, 10): 1 x 9 + 1 x 7 + 2 x 4 = 24; the point beyond the reference adds none."""
    assert hypervolume(([1, 2, 4, 5, -1], [1, 3, 6, 11, 0]), (0.0, 10.0)) == pytest.approx(24)
    assert hypervolume(([], []), (0.0, 1.0)) == 0.0


def test_hypervolume_beside_a_grid() -> None:
    learnt, forgotten = RNG.uniform(0, 1, (2, 12))
    side = (np.arange(2000) + 0.5) / 2000
    beaten = np.zeros((2000, 2000), dtype=bool)
    for a, b in zip(learnt, forgotten, strict=True):
        beaten |= (side <= a)[:, None] & (side >= b)
    assert hypervolume((learnt, forgotten), (0.0, 1.0)) == pytest.approx(beaten.mean(), abs=1e-3)


def test_attained_by_its_definition() -> None:
    learnt, forgotten = RNG.uniform(0, 1, (2, 30))
    for at in RNG.uniform(0, 1.2, 50):
        reached = forgotten[learnt >= at]
        found = attained((learnt, forgotten), at)
        assert found == reached.min() if len(reached) else np.isnan(found)


def test_area_between_by_hand() -> None:
    """Common learning 1 to 3. First: 2 up to 2, then 5; second: 1 up to 1.5, then 3.

    Gaps 1, -1 and 2 over widths .5, .5 and 1: (.5 - .5 + 2) / 2 = 1.
    """
    first, second = ([0, 2, 3], [0, 2, 5]), ([1, 1.5, 4], [0.5, 1, 3])
    assert area_between(first, second) == pytest.approx(1.0)
    assert area_between(second, first) == pytest.approx(-1.0)
    assert area_between(first, first) == 0.0


def test_area_between_beside_a_fine_grid() -> None:
    for _ in range(20):
        first, second = (tuple(RNG.uniform(0, 1, (2, 8))) for _ in range(2))
        low = max(min(first[0]), min(second[0]))
        high = min(max(first[0]), max(second[0]))
        at = np.linspace(low, high, 40001)[1:] - (high - low) / 80000
        expected = (attained(first, at) - attained(second, at)).mean()
        assert area_between(first, second) == pytest.approx(expected, abs=2e-3)


def test_nothing_is_said_where_one_arm_has_not_been() -> None:
    assert math.isnan(area_between(([1, 2], [1, 2]), ([3, 4], [1, 2])))
    assert math.isnan(area_between(([], []), ([3, 4], [1, 2])))


def test_over_blocks() -> None:
    first = [tuple(RNG.uniform(0, 1, (2, 9))) for _ in range(5)]
    second = [tuple(RNG.uniform(0, 1, (2, 9))) for _ in range(5)]
    found = area(first, second)
    each = [area_between(a, b) for a, b in zip(first, second, strict=True)]
    assert found.p == pytest.approx(stats.ttest_1samp(each, 0).pvalue)
    apart = area([*first, ([5.0, 6.0], [0.0, 1.0])], [*second, second[0]])
    assert (apart.n, apart.estimate) == (5, pytest.approx(found.estimate))
    drawn = resampled_area(first, second, Resampling("blocks"))
    assert drawn.estimate == pytest.approx(found.estimate)
    assert found.low < drawn.low < drawn.high < found.high
    assert areas(first, second).tolist() == each
    gaps = [
        hypervolume(a, (0, 1)) - hypervolume(b, (0, 1)) for a, b in zip(first, second, strict=True)
    ]
    assert volume(first, second, (0, 1)).p == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue)
