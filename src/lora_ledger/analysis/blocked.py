"""The blocked model of confirmatory tests: arms paired within blocks, one residual for all of them.

In: for each setting a value for each block (base x seed) and arm, such as a loss.
Out: contrasts between arms with standard error, degrees of freedom, interval and p, the residual
pooled over the arms of a setting, and over settings where their variances agree.
It corrects for no other test and knows neither margins nor names of arms.

Model: value = block + arm + error, errors independent with one variance (a randomised block design
without replicates; Cochran & Cox 1957, chapter 4). With three seeds a paired t test of two arms has
2 degrees of freedom; six arms have 10 together. What is not additive, such as an arm that differs
by base, is in the residual and makes the interval wider. That all arms scatter alike is tested for
each contrast (`scatters_alike`), since it is what a pooled residual stands on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

from .statistics import Array
from .student import ROUNDING, Estimate, estimated, satterthwaite

HOMOGENEOUS = 0.10
"""Variances of settings are pooled where Bartlett's test has a p of at least this."""
ALIKE = 0.10
"""A contrast has the pooled residual where `scatters_alike` has a p of at least this.

So one true contrast in ten loses the pool for nothing. With an arm that scatters twice as much as
the rest, contrasts cover 90 to 93 % so, and 88 to 90 % if the pool is never taken away; .25 would
bring 92 to 94 % and leave a quarter of the true contrasts of three blocks undecided.
"""


@dataclass(frozen=True)
class Design:
    """What depends on which cells are there only: [arms + blocks] parameters, arms first."""

    solve: Array
    """[parameters, cells]: the pseudo-inverse of the design matrix."""
    unscaled: Array
    """[parameters, parameters]: covariance of the parameters over the residual variance."""
    estimable: Array
    """[parameters, parameters]: the projection on what the cells can tell."""
    matrix: Array
    df: int


@dataclass(frozen=True)
class Fit:
    """Arms' effects [arms], residuals [blocks, arms] (nan where no cell is), and their spread.

    `mean_square` is the residual variance, in the values' unit squared; nan without a degree of
    freedom.
    """

    effects: Array
    residuals: Array
    mean_square: float
    df: int
    design: Design

    @property
    def blocks(self) -> int:
        return int(self.residuals.shape[0])


@dataclass(frozen=True)
class Residual:
    """A variance pooled over settings, and Bartlett's p; `holds`: is it to be used?"""

    mean_square: float
    df: int
    p: float
    settings: int

    @property
    def holds(self) -> bool:
        return self.p >= HOMOGENEOUS


@lru_cache(maxsize=64)
def _design(cells: bytes, blocks: int, arms: int) -> Design:
    there = np.frombuffer(cells, dtype=bool).reshape(blocks, arms)
    block, arm = np.nonzero(there)
    matrix = np.zeros((len(block), arms + blocks))
    rows = np.arange(len(block))
    matrix[rows, arm] = 1.0
    matrix[rows, arms + block] = 1.0
    solve = np.asarray(np.linalg.pinv(matrix), dtype=np.float64)
    rank = int(np.linalg.matrix_rank(matrix))
    return Design(solve, solve @ solve.T, solve @ matrix, matrix, len(block) - rank)


def fit(values: npt.ArrayLike) -> Fit:
    """Least squares of [blocks, arms]; nan is a cell that is not there.

    With all cells the residual of block i and arm j is y_ij - ȳ_i - ȳ_j + ȳ, and there are
    (blocks - 1)(arms - 1) degrees of freedom. Raises ValueError where the shape is another, a value
    is infinite (a diverged run has no place in a mean: leave it out and say so) or an arm has no
    cell.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 2 or given.size == 0:
        raise ValueError(f"blocked model: found shape {given.shape}, expected [blocks, arms]")
    if np.isinf(given).any():
        raise ValueError("blocked model: found an infinite value, expected nan for a lost run")
    there = np.isfinite(given)
    empty = np.flatnonzero(~there.any(axis=0))
    if len(empty):
        raise ValueError(
            f"blocked model: found arm {empty[0]} without a cell, expected one or more"
        )
    design = _design(there.tobytes(), *given.shape)
    cells = given[there]
    parameters = design.solve @ cells
    left = cells - design.matrix @ parameters
    residuals = np.full(given.shape, np.nan)
    residuals[there] = left
    square = float(left @ left) / design.df if design.df else math.nan
    if design.df and math.sqrt(square) <= ROUNDING * float(np.abs(cells).max()):
        square = 0.0
    return Fit(parameters[: given.shape[1]], residuals, square, design.df, design)


def contrast(
    fitted: Fit,
    weights: npt.ArrayLike,
    residual: Residual | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Sum of weights x arms' effects, such as [1, -1, 0]: first arm less second.

    Standard error: the root of mean square x w'(X'X)⁺w, with all cells s·√(Σw² / blocks). The
    mean square and its degrees of freedom are those of `residual` where that holds, else the fit's
    own; where `scatters_alike` says that this contrast scatters more than that, those of the
    contrast alone, which with all cells is the paired t test. Raises ValueError where the weights
    do not add up to zero, or the cells that are there do not tell the contrast.
    """
    full = _weights(fitted, weights)
    alone, variance = _alone(fitted, full), _variance(fitted, residual)
    square, df = alone if _p_alike(alone, variance) < ALIKE else variance
    return _with(fitted, full, square, df, confidence)


def _with(fitted: Fit, full: Array, square: float, df: int, confidence: float) -> Estimate:
    se = math.sqrt(square * float(full @ fitted.design.unscaled @ full)) if df else math.nan
    value = float(full[: len(fitted.effects)] @ fitted.effects)
    return estimated(value, se, df, fitted.blocks, "blocks", confidence)


def scatters_alike(fitted: Fit, weights: npt.ArrayLike, residual: Residual | None = None) -> float:
    """One-sided p of a contrast's scatter over blocks being that of the rest of the residual.

    The residual falls into what the contrast has, Σ over blocks of (Σ w·r)² / Σw² with blocks - 1
    degrees of freedom, and what is orthogonal to it; the quotient of their mean squares is an F
    where all arms scatter alike and effects do not differ by block (Cochran & Cox 1957, section
    4.4). It goes to the safe side only: a large one takes the pooled residual away. 1 where nothing
    is left to compare with, as with two arms. With cells missing it is of the blocks that have the
    contrast's arms, and nearly an F.
    """
    return _p_alike(_alone(fitted, _weights(fitted, weights)), _variance(fitted, residual))


def _alone(fitted: Fit, full: Array) -> tuple[float, int]:
    """The contrast's own mean square, as the residual's, and its degrees of freedom."""
    arms = full[: len(fitted.effects)]
    found = fitted.residuals[:, arms != 0] @ arms[arms != 0]
    found = found[np.isfinite(found)]
    df = max(len(found) - 1, 0)
    total = float(found @ found) / float(arms @ arms)
    return (total / df if df else math.nan), df


def _p_alike(alone: tuple[float, int], variance: tuple[float, int]) -> float:
    (square, df), (whole, whole_df) = alone, variance
    rest_df = whole_df - df
    if df < 1 or rest_df < 1 or whole == 0:
        return 1.0
    rest = max(whole * whole_df - square * df, 0.0) / rest_df
    if rest <= ROUNDING * square:
        return 0.0 if square > 0 else 1.0
    return float(special.fdtrc(df, rest_df, square / rest))


def _weights(fitted: Fit, weights: npt.ArrayLike) -> Array:
    """Weights of all parameters, those of blocks zero."""
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != fitted.effects.shape:
        raise ValueError(
            f"contrast: found weights {given.shape}, expected one for each of "
            f"{len(fitted.effects)} arms"
        )
    if not given.any() or abs(given.sum()) > 1e-9 * np.abs(given).sum():
        raise ValueError(f"contrast: found weights that add up to {given.sum():g}, expected 0")
    full = np.concatenate([given, np.zeros(fitted.blocks)])
    if not np.allclose(full @ fitted.design.estimable, full, atol=1e-9):
        raise ValueError(
            "contrast: found no block or chain of blocks that joins its arms, expected one"
        )
    return full


def _variance(fitted: Fit, residual: Residual | None) -> tuple[float, int]:
    if residual is not None and residual.holds:
        return residual.mean_square, residual.df
    return fitted.mean_square, fitted.df


def pooled(fits: Sequence[Fit]) -> Residual:
    """One residual variance for several settings, with Bartlett's test of whether it is one.

    Bartlett (1937): M = (f·ln s² - Σ fᵢ·ln sᵢ²) / C with s² = Σ fᵢ·sᵢ² / f and
    C = 1 + (Σ 1/fᵢ - 1/f) / (3(k - 1)), a chi-square of k - 1 degrees of freedom. Chosen since it
    takes mean squares with their degrees of freedom, where Levene's test would take residuals that
    depend on one another and are three or so a group. Heavy tails make it reject too often, after
    which nothing is pooled: the safe side. `HOMOGENEOUS` is above .05, as in every test whose
    acceptance is used (Bancroft 1964).
    """
    usable = [one for one in fits if one.df >= 1]
    if not usable:
        return Residual(math.nan, 0, math.nan, 0)
    dfs = np.array([one.df for one in usable], dtype=np.float64)
    squares = np.array([one.mean_square for one in usable])
    total = float(dfs.sum())
    square = float(dfs @ squares) / total
    if len(usable) == 1:
        p = 1.0
    elif not squares.all():
        p = 1.0 if not squares.any() else 0.0
    else:
        scale = 1 + (float((1 / dfs).sum()) - 1 / total) / (3 * (len(usable) - 1))
        statistic = (total * math.log(square) - float(dfs @ np.log(squares))) / scale
        p = float(special.chdtrc(len(usable) - 1, max(statistic, 0.0)))
    return Residual(square, int(total), p, len(usable))


@dataclass(frozen=True)
class Across:
    """The mean of a contrast over settings, and the p of its being another in each.

    `differs` is nan for one setting, and where variances are not pooled.
    """

    mean: Estimate
    each: tuple[Estimate, ...]
    differs: float


def across(
    fits: Sequence[Fit], weights: Sequence[npt.ArrayLike], confidence: float = 0.95
) -> Across:
    """The unweighted mean over settings of a contrast in each; settings are fixed, not drawn.

    Where variances agree (`pooled`) the standard error has the pooled residual, or that of the
    contrasts alone (`scatters_alike`); else each setting has its own, and the degrees of freedom
    are Satterthwaite's. `differs` is the F test of
    (contrast x setting): Σ (cᵢ - c̃)² / uᵢ / (k - 1) over the pooled residual, where uᵢ is the
    unscaled variance of cᵢ and c̃ the mean weighted by 1/uᵢ.
    """
    residual = pooled(fits)
    full = [_weights(one, w) for one, w in zip(fits, weights, strict=True)]
    if residual.holds:
        residual = _alone_over(fits, full, residual)
        each = tuple(
            _with(one, w, residual.mean_square, residual.df, confidence)
            for one, w in zip(fits, full, strict=True)
        )
    else:
        pairs = zip(fits, weights, strict=True)
        each = tuple(contrast(one, w, None, confidence) for one, w in pairs)
    values = np.array([one.estimate for one in each])
    variances = np.array([one.se**2 for one in each])
    se = math.sqrt(float(variances.sum())) / len(each)
    if residual.holds:
        df: float = residual.df
    else:
        df = satterthwaite(variances.tolist(), [one.df for one in each])
    mean = estimated(float(values.mean()), se, df, sum(one.n for one in each), "blocks", confidence)
    differs = math.nan
    if residual.holds and len(each) > 1 and variances.all():
        centre = float((values / variances).sum() / (1 / variances).sum())
        f = float(((values - centre) ** 2 / variances).sum()) / (len(each) - 1)
        differs = float(special.fdtrc(len(each) - 1, residual.df, f))
    return Across(mean, each, differs)


def _alone_over(fits: Sequence[Fit], full: Sequence[Array], residual: Residual) -> Residual:
    """The residual, or that of the settings' contrasts alone where they scatter more."""
    parts = [_alone(one, w) for one, w in zip(fits, full, strict=True)]
    df = sum(part[1] for part in parts)
    if not df:
        return residual
    square = sum(part[0] * part[1] for part in parts if part[1]) / df
    if _p_alike((square, df), (residual.mean_square, residual.df)) >= ALIKE:
        return residual
    return Residual(square, df, residual.p, residual.settings)
