"""Student's t beside scipy, printed tables and a published sample."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lora_ledger.analysis.student import (
    critical_t,
    estimated,
    over_blocks,
    quantile,
    satterthwaite,
    tail,
)

SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
"""Student (1908), section IX: hours of sleep gained with the second drug over the first."""


def test_students_own_sample() -> None:
    found = over_blocks(SLEEP)
    reference = stats.ttest_1samp(SLEEP, 0)
    low, high = reference.confidence_interval(0.95)
    assert found.estimate == pytest.approx(1.58)
    assert found.df == 9
    assert found.p == pytest.approx(0.00283, abs=5e-6)
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert tail(found, 1.0) == pytest.approx(
        stats.ttest_1samp(SLEEP, 1.0, alternative="greater").pvalue
    )


def test_quantiles_of_printed_tables() -> None:
    """Fisher & Yates, table III: two-sided 5 % and 1 %."""
    assert [round(quantile(df, 0.05), 3) for df in (1, 2, 8, 30)] == [12.706, 4.303, 2.306, 2.042]
    assert [round(quantile(df, 0.01), 3) for df in (2, 10)] == [9.925, 3.169]


def test_the_first_step_of_holm() -> None:
    assert critical_t(8, 12) == pytest.approx(3.96, abs=0.005)
    assert critical_t(8, 3) == pytest.approx(3.02, abs=0.005)
    assert critical_t(2, 18) == pytest.approx(18.9, abs=0.1)
    with pytest.raises(ValueError, match="found 0 claims"):
        critical_t(8, 0)


def test_lost_blocks_are_left_out() -> None:
    found = over_blocks([1.0, math.nan, 2.0, math.inf, 4.0])
    assert (found.n, found.df) == (3, 2)
    assert found.se == pytest.approx(np.std([1, 2, 4], ddof=1) / math.sqrt(3))
    one = over_blocks([3.0, math.nan])
    assert (one.estimate, one.n) == (3.0, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.p)
    assert over_blocks([]).n == 0


def test_no_spread_is_no_test() -> None:
    """Three times 0.1 + 0.2 differ from each other by nothing, though not from 0.3."""
    found = over_blocks([0.1 + 0.2, 0.3, 0.1 + 0.2])
    assert found.se == 0
    assert found.low == found.high == found.estimate
    assert math.isnan(found.p)
    assert math.isnan(tail(found, 0.0))
    assert not found.primary


def test_primary_tests_need_eight_degrees_of_freedom() -> None:
    assert estimated(1.0, 1.0, 8, 5, "blocks").primary
    assert not estimated(1.0, 1.0, 7.9, 5, "blocks").primary


def test_satterthwaite_equals_welchs() -> None:
    first, second = [3.1, 2.0, 4.4, 5.0], [1.0, 9.0, 4.0, 2.5, 3.0, 11.0]
    variances = [np.var(one, ddof=1) / len(one) for one in (first, second)]
    reference = stats.ttest_ind(first, second, equal_var=False).df
    assert satterthwaite(variances, [3, 5]) == pytest.approx(reference)
    assert satterthwaite([2.0, 0.0], [4, 9]) == pytest.approx(4)
    assert satterthwaite([0.0, 0.0], [4, 9]) == 13
