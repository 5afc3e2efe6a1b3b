"""Many claims at once: Holm over the primary ones, a false-discovery rate over the rest.

In: p values, in any order; nan where a test could not be made.
Out: adjusted p values in the same order, to be compared with the level itself, and which are
rejected. It makes no test, and it does not choose which claims are primary.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from scipy import stats

from .statistics import Array

MOST_PRIMARY = 12
"""A study names at most as many primary claims before it runs."""


def holm(ps: Sequence[float]) -> Array:
    """Adjusted p values that hold the chance of any false rejection (Holm 1979).

    With p(1) ≤ … ≤ p(m): the largest of (m - j + 1)·p(j) over j ≤ i, at most 1. A claim without a
    p counts among the m, as its test was planned, and stays nan. Valid under any dependence.
    Raises ValueError for more than `MOST_PRIMARY` and for what is no p value.
    """
    given = _checked(ps)
    if len(given) > MOST_PRIMARY:
        raise ValueError(
            f"primary claims: found {len(given)}, expected at most {MOST_PRIMARY}; call the rest "
            "secondary"
        )
    return _in_order(given, np.arange(len(given), 0.0, -1.0))


def _in_order(given: Array, factors: Array) -> Array:
    """The largest of factor times p up to each place of the ascending order; nan comes last."""
    order = np.argsort(given, kind="stable")
    steps = np.maximum.accumulate(factors * np.nan_to_num(given[order], nan=1.0))
    adjusted = np.empty(len(given))
    adjusted[order] = np.minimum(steps, 1.0)
    adjusted[np.isnan(given)] = np.nan
    return adjusted


def benjamini_hochberg(ps: Sequence[float]) -> Array:
    """Adjusted p values that hold the expected share of false ones among those rejected.

    With p(1) ≤ … ≤ p(m): the smallest of m·p(j)/j over j ≥ i (Benjamini & Hochberg 1995). A claim
    without a p counts among the m, and stays nan. Valid for independent and for positively
    dependent tests (Benjamini & Yekutieli 2001, theorem 1.2), which arms that share a comparator
    are.
    """
    given = _checked(ps)
    if not len(given):
        return given
    adjusted = np.asarray(stats.false_discovery_control(np.nan_to_num(given, nan=1.0), method="bh"))
    return np.where(np.isnan(given), np.nan, adjusted)


def rejected(adjusted: Sequence[float] | Array, level: float = 0.05) -> list[bool]:
    """Which adjusted p values are at most the level; nan never is."""
    return [bool(p <= level) for p in adjusted]


def corrected(ps: Mapping[str, float], primary: Collection[str]) -> dict[str, float]:
    """Adjusted p by claim: Holm over the primary ones, Benjamini-Hochberg over the rest.

    Raises ValueError where a primary claim is not among those given: one without a test is there
    with nan, or the others' correction would be too weak.
    """
    missing = sorted(set(primary) - set(ps))
    if missing:
        raise ValueError(f"primary claims: found no p of {', '.join(missing)}, expected one or nan")
    first, rest = ([name for name in ps if (name in primary) is kind] for kind in (True, False))
    found = dict(zip(first, holm([ps[n] for n in first]).tolist(), strict=True))
    found |= zip(rest, benjamini_hochberg([ps[n] for n in rest]).tolist(), strict=True)
    return {name: found[name] for name in ps}


def _checked(ps: Sequence[float]) -> Array:
    given = np.asarray(ps, dtype=np.float64)
    wrong = given[(given < 0) | (given > 1)]
    if len(wrong):
        raise ValueError(f"p value: found {wrong[0]}, expected 0 to 1, or nan without a test")
    return given
