"""Student's t: an estimate with its standard error, its degrees of freedom, its interval and its p.

In: one number for each block, or an estimate that another module of this room has made.
Out: `Estimate`s, the critical t under Holm's correction, and whether there are degrees of freedom
enough for a primary test. It corrects no p and draws no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

PRIMARY_DF = 8
"""A primary test has at least as many residual degrees of freedom."""
ROUNDING = 1e-12
"""A spread below this share of the numbers' size is rounding, hence none."""


@dataclass(frozen=True)
class Estimate:
    """An estimate in the unit of what was measured, its standard error, and the t test of zero.

    `p` is two-sided, and nan where there is no spread to test against (`se` 0) or nothing to
    estimate it from (`df` below 1). `n` counts the `unit`, such as blocks.
    """

    estimate: float
    se: float
    df: float
    low: float
    high: float
    p: float
    n: int
    unit: str
    confidence: float

    @property
    def primary(self) -> bool:
        """Whether the degrees of freedom suffice for a primary test."""
        return self.df >= PRIMARY_DF and math.isfinite(self.p)


def quantile(df: float, level: float) -> float:
    """The t that a two-sided test at `level` must exceed at `df` degrees of freedom."""
    return float(special.stdtrit(df, 1 - level / 2)) if df >= 1 else math.nan


def critical_t(df: float, claims: int, level: float = 0.05) -> float:
    """The t that the first of `claims` primary claims must exceed (Holm 1979: level / claims)."""
    if claims < 1:
        raise ValueError(f"critical t: found {claims} claims, expected at least 1")
    return quantile(df, level / claims)


def tail(found: Estimate, against: float) -> float:
    """One-sided p of `estimate > against`; nan as in `Estimate`."""
    if found.df < 1 or not found.se > 0:
        return math.nan
    return float(special.stdtr(found.df, -(found.estimate - against) / found.se))


def estimated(
    estimate: float, se: float, df: float, n: int, unit: str, confidence: float = 0.95
) -> Estimate:
    """The interval estimate ± t·se and the two-sided p of zero at `df` degrees of freedom."""
    if df < 1 or not math.isfinite(se):
        low = high = p = math.nan
    elif se == 0:
        low, high, p = estimate, estimate, math.nan
    else:
        half = quantile(df, 1 - confidence) * se
        low, high = estimate - half, estimate + half
        p = 2 * float(special.stdtr(df, -abs(estimate) / se))
    return Estimate(estimate, se, df, low, high, p, n, unit, confidence)


def over_blocks(values: npt.ArrayLike, unit: str = "blocks", confidence: float = 0.95) -> Estimate:
    """Mean of one number a block, by the one-sample t of Student (1908); n - 1 degrees of freedom.

    Shape [blocks]. A block without a value is nan; it is left out, and `n` does not count it.
    """
    given = np.asarray(values, dtype=np.float64).ravel()
    given = given[np.isfinite(given)]
    n = len(given)
    if n == 0:
        return estimated(math.nan, math.nan, 0, 0, unit, confidence)
    centre = float(given.mean())
    if n == 1:
        return estimated(centre, math.nan, 0, 1, unit, confidence)
    spread = float(given.std(ddof=1))
    if spread <= ROUNDING * float(np.abs(given).max()):
        spread = 0.0
    return estimated(centre, spread / math.sqrt(n), n - 1, n, unit, confidence)


def satterthwaite(variances: Sequence[float], dfs: Sequence[float]) -> float:
    """Degrees of freedom of a sum of independent variances, each with its own (1946, eq. 17)."""
    total = sum(variances)
    parts = sum(v * v / df for v, df in zip(variances, dfs, strict=True) if v)
    return total * total / parts if parts else float(sum(dfs))
