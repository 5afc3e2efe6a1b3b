"""The blocked model beside a published analysis, explicit least squares and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lora_ledger.analysis import blocked
from lora_ledger.analysis.blocked import across, contrast, fit, pooled, scatters_alike

RNG = np.random.default_rng(9)
SOYBEANS = np.array(
    [
        [8, 2, 4, 3, 9],
        [10, 6, 10, 5, 7],
        [12, 7, 9, 9, 5],
        [13, 11, 8, 10, 5],
        [11, 5, 10, 6, 3],
    ],
    dtype=float,
)
"""Snedecor & Cochran, Statistical Methods, table 14.2.1: seeds of 100 that failed, [replication,
treatment]: check, Arasan, Spergon, Semesan Jr., Fermate."""


@pytest.fixture
def always_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The residual of all arms, whatever a contrast's own scatter."""
    monkeypatch.setattr(blocked, "ALIKE", 0.0)


@pytest.mark.usefixtures("always_pooled")
def test_a_published_analysis_of_variance() -> None:
    """Residual 86.56 with 16 degrees of freedom, mean square 5.41; treatment means 10.8 … 5.8."""
    fitted = fit(SOYBEANS)
    assert fitted.df == 16
    assert fitted.mean_square * 16 == pytest.approx(86.56)
    assert fitted.mean_square == pytest.approx(5.41)
    found = contrast(fitted, [1, -1, 0, 0, 0])
    assert found.estimate == pytest.approx(10.8 - 6.2)
    assert found.se == pytest.approx(math.sqrt(2 * 5.41 / 5))
    # Check against the mean of the four chemicals: 10.8 - (6.2 + 8.2 + 6.6 + 5.8)/4 = 4.1.
    check = contrast(fitted, [1, -0.25, -0.25, -0.25, -0.25])
    assert check.estimate == pytest.approx(4.1)
    assert check.se == pytest.approx(math.sqrt(5.41 / 5 * 1.25))
    assert check.p == pytest.approx(2 * stats.t.sf(4.1 / check.se, 16))


@pytest.mark.usefixtures("always_pooled")
def test_treatments_sum_of_squares_from_contrasts() -> None:
    """Orthogonal contrasts add up to the 83.84 that the book gives for treatments, 4 df."""
    helmert = np.array([[1, -1, 0, 0, 0], [1, 1, -2, 0, 0], [1, 1, 1, -3, 0], [1, 1, 1, 1, -4]])
    fitted = fit(SOYBEANS)
    found = [contrast(fitted, row) for row in helmert]
    total = sum((one.estimate / one.se) ** 2 * fitted.mean_square for one in found)
    assert total == pytest.approx(83.84)


def explicit(values: np.ndarray, weights: list[float]) -> tuple[float, float, int]:
    """Estimate, standard error and df by dropping one column, and numpy's lstsq."""
    blocks, arms = values.shape
    rows, y = [], []
    for b in range(blocks):
        for a in range(arms):
            if np.isfinite(values[b, a]):
                block = [float(b == i) for i in range(blocks)]
                rows.append([*block, *(float(a == i) for i in range(1, arms))])
                y.append(values[b, a])
    x, target = np.array(rows), np.array(y)
    beta, rss, rank, _ = np.linalg.lstsq(x, target, rcond=None)
    df = len(target) - rank
    c = np.array([0.0] * blocks + list(weights[1:]))
    return float(c @ beta), math.sqrt(rss[0] / df * (c @ np.linalg.inv(x.T @ x) @ c)), int(df)


@pytest.mark.usefixtures("always_pooled")
@pytest.mark.parametrize("lost", [[], [(0, 1)], [(0, 1), (2, 0), (3, 3)]])
def test_equals_least_squares_written_out(lost: list[tuple[int, int]]) -> None:
    values = RNG.normal(0, 1, (4, 5)) + RNG.normal(0, 10, (4, 1))
    for cell in lost:
        values[cell] = np.nan
    weights = [0.5, 0.5, -1.0, 0.0, 0.0]
    found = contrast(fit(values), weights)
    assert (found.estimate, found.se, found.df) == pytest.approx(explicit(values, weights))


def test_two_arms_are_the_paired_t_test() -> None:
    values = RNG.normal(0, 1, (6, 2)) + RNG.normal(0, 10, (6, 1))
    found = contrast(fit(values), [1, -1])
    reference = stats.ttest_rel(values[:, 0], values[:, 1])
    low, high = reference.confidence_interval(0.95)
    assert (found.p, found.df) == pytest.approx((reference.pvalue, 5))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_what_a_block_adds_to_all_arms_changes_nothing() -> None:
    values = RNG.normal(0, 1, (3, 4))
    moved = values + np.array([[100.0], [-50.0], [3.0]])
    first, second = (contrast(fit(v), [1, 0, 0, -1]) for v in (values, moved))
    assert (first.estimate, first.se) == pytest.approx((second.estimate, second.se))


def test_a_contrast_beside_the_rest_of_the_residual() -> None:
    """Its own part and the rest from an orthonormal basis of contrasts, quotient by scipy's F."""
    values = RNG.normal(0, 1, (5, 4)) + RNG.normal(0, 9, (5, 1))
    basis = np.array([[1, -1, 0, 0], [1, 1, -2, 0], [1, 1, 1, -3]], dtype=float)
    parts = values @ (basis / np.linalg.norm(basis, axis=1, keepdims=True)).T
    squares = ((parts - parts.mean(0)) ** 2).sum(0)
    assert squares.sum() == pytest.approx(fit(values).mean_square * 12)
    expected = stats.f.sf((squares[0] / 4) / (squares[1:].sum() / 8), 4, 8)
    assert scatters_alike(fit(values), [1, -1, 0, 0]) == pytest.approx(expected)
    assert scatters_alike(fit(values[:, :2]), [1, -1]) == 1.0


def test_an_arm_that_scatters_more_has_its_own_t_test() -> None:
    values = RNG.normal(0, 1, (4, 5)) + RNG.normal(0, 9, (4, 1))
    values[:, 0] += [30, -30, 10, -10]
    found = contrast(fit(values), [1, -1, 0, 0, 0])
    reference = stats.ttest_rel(values[:, 0], values[:, 1])
    assert (found.p, found.df) == pytest.approx((reference.pvalue, 3))
    assert not found.primary
    lost = values.copy()
    lost[3, 1] = np.nan
    assert contrast(fit(lost), [1, -1, 0, 0, 0]).df == 2
    both = across([fit(values), fit(values)], [[1, -1, 0, 0, 0]] * 2)
    assert both.mean.df == 6


def test_how_often_arms_that_scatter_alike_lose_the_pool() -> None:
    """One time in ten, as the F's level says; with one arm at three times, a third of it."""
    draws = np.random.default_rng(21)
    lost = []
    for scale in (1.0, 3.0):
        sets = draws.normal(0, 1, (1500, 5, 4))
        sets[:, :, 0] *= scale
        lost.append(np.mean([contrast(fit(one), [1, -1, 0, 0]).df == 4 for one in sets]))
    assert lost[0] == pytest.approx(0.10, abs=0.03)
    assert lost[1] > 0.3


def test_bartlett_equals_scipys_on_samples() -> None:
    """Two-arm settings: the mean squares are those of one sample's differences, halved."""
    settings = [RNG.normal(0, s, (n, 2)) for s, n in ((1.0, 5), (2.0, 8), (1.5, 4))]
    found = pooled([fit(one) for one in settings])
    differences = [one[:, 0] - one[:, 1] for one in settings]
    assert found.p == pytest.approx(stats.bartlett(*differences).pvalue)
    squares = sum(((d - d.mean()) ** 2).sum() for d in differences) / 2
    assert found.df == 4 + 7 + 3
    assert found.mean_square == pytest.approx(squares / 14)


@pytest.mark.usefixtures("always_pooled")
def test_settings_are_pooled_only_where_they_scatter_alike() -> None:
    alike = [fit(RNG.normal(0, 1, (3, 3))) for _ in range(3)]
    assert pooled(alike).holds
    assert contrast(alike[0], [1, -1, 0], pooled(alike)).df == 12
    apart = [*alike[:2], fit(RNG.normal(0, 50, (3, 3)))]
    assert not pooled(apart).holds
    assert contrast(apart[0], [1, -1, 0], pooled(apart)).df == 4
    assert pooled(alike[:1]).p == 1.0
    assert not pooled([]).holds


def test_mean_over_settings() -> None:
    """Two settings of two arms and four blocks: differences d and e, equal numbers of each."""
    a, b = RNG.normal(0, 1, (4, 2)), RNG.normal(0, 1, (4, 2))
    found = across([fit(a), fit(b)], [[1, -1], [1, -1]])
    d, e = a[:, 0] - a[:, 1], b[:, 0] - b[:, 1]
    assert pooled([fit(a), fit(b)]).holds
    reference = stats.ttest_ind(d, -e)
    assert found.mean.estimate == pytest.approx((d.mean() + e.mean()) / 2)
    assert found.mean.p == pytest.approx(reference.pvalue)
    assert found.mean.df == 6
    assert found.differs == pytest.approx(stats.f_oneway(d, e).pvalue)


def test_mean_over_settings_that_scatter_otherwise_is_welchs() -> None:
    a, b = RNG.normal(0, 1, (9, 2)), RNG.normal(0, 30, (5, 2))
    d, e = a[:, 0] - a[:, 1], b[:, 0] - b[:, 1]
    found = across([fit(a), fit(b)], [[1, -1], [1, -1]])
    reference = stats.ttest_ind(d, -e, equal_var=False)
    assert (found.mean.p, found.mean.df) == pytest.approx((reference.pvalue, reference.df))
    assert math.isnan(found.differs)


def test_what_cannot_be_said_is_refused() -> None:
    fitted = fit(RNG.normal(0, 1, (3, 3)))
    with pytest.raises(ValueError, match="add up to 1, expected 0"):
        contrast(fitted, [1, 0, 0])
    with pytest.raises(ValueError, match="one for each of 3 arms"):
        contrast(fitted, [1, -1])
    with pytest.raises(ValueError, match="expected nan for a lost run"):
        fit([[1.0, math.inf], [1.0, 2.0]])
    with pytest.raises(ValueError, match="found arm 1 without a cell"):
        fit([[1.0, math.nan], [1.0, math.nan]])
    with pytest.raises(ValueError, match=r"expected \[blocks, arms\]"):
        fit([1.0, 2.0])
    apart = fit([[1.0, 2.0, math.nan, math.nan], [math.nan, math.nan, 3.0, 4.0]])
    with pytest.raises(ValueError, match="joins its arms"):
        contrast(apart, [1, 0, -1, 0])


def test_one_block_tells_differences_without_a_test() -> None:
    found = contrast(fit([[1.0, 3.0, 4.0]]), [1, -1, 0])
    assert (found.estimate, found.df) == (pytest.approx(-2.0), 0)
    assert math.isnan(found.p)
    assert not found.primary


def test_equal_cells_are_no_spread() -> None:
    found = contrast(fit(np.tile([0.1, 0.3, 0.7], (4, 1))), [1, -1, 0])
    assert found.se == 0
    assert math.isnan(found.p)
