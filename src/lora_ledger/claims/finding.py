"""One re-analysis of published numbers: what was asked of which rows, and what they say.

In: differences, or values over levels, as a paper's tables have them. Out: `Finding`s with an
exact sign test, Page's L or a slope with its interval, and a reading by one rule: *for* or
*against* where p is below 0.05 or the interval leaves zero out, else *open*; *description* where
the numbers are points of one run or too few to test. No reading is a verdict, and none corrects for
many tests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from lora_ledger.analysis.paired import sign_test
from lora_ledger.analysis.trend import page

Reading = Literal["for", "against", "open", "description"]
LEVEL = 0.05
NORMAL = float(stats.norm.ppf(1 - LEVEL / 2))


@dataclass(frozen=True)
class Finding:
    """What a claim's published numbers say of it."""

    claim: str
    asked: str
    units: str
    figure: str
    test: str
    reading: Reading


def described(claim: str, asked: str, units: str, figure: str) -> Finding:
    """Numbers without a test."""
    return Finding(claim, asked, units, figure, "none", "description")


def signs(claim: str, asked: str, units: str, differences: Mapping[str, float]) -> Finding:
    """Exact two-sided sign test; the claim says that differences are above zero."""
    values = list(differences.values())
    found = sign_test(np.round(values, 9))
    zero = len(values) - found.above - found.below
    figure = f"{found.above} above, {found.below} below" + (f", {zero} equal" if zero else "")
    figure += f"; median {np.median(values):+.3g}"
    read = _read(found.p < LEVEL, found.above > found.below)
    return Finding(
        claim, asked, f"{len(values)} {units}", figure, f"sign test, p = {p(found.p)}", read
    )


def ordered(
    claim: str, asked: str, units: str, blocks: Sequence[Sequence[float]], *, rising: bool
) -> Finding:
    """Page's L over blocks; the claim says in which direction values go with the level."""
    found = page(blocks, increasing=rising)
    figure = "means " + ", ".join(f"{mean:.3f}" for mean in np.mean(blocks, axis=0))
    how = "exact" if found.exact else "normal"
    test = f"Page's L = {found.statistic:g}, one-sided, {how}, p = {p(found.p)}"
    read: Reading = "for" if found.p < LEVEL else "open"
    return Finding(claim, asked, f"{found.blocks} {units}", figure, test, read)


def slope(
    claim: str,
    asked: str,
    x: Sequence[float],
    y: Sequence[float],
    *,
    per: str,
    claimed: Literal[-1, 0, 1],
    own_runs: bool,
) -> Finding:
    """Least squares with its 95 % interval, and Theil and Sen's beside it.

    `claimed` is the sign that the claim gives the slope; 0: it says that there is none, which an
    interval can only speak against. Points that are not `own_runs` get no reading.
    """
    line = stats.linregress(x, y)
    half = float(stats.t.ppf(1 - LEVEL / 2, len(x) - 2)) * line.stderr
    low, high = line.slope - half, line.slope + half
    robust = stats.theilslopes(y, x, 1 - LEVEL)
    figure = f"{line.slope:+.4f} per {per} [{low:+.4f}, {high:+.4f}]"
    test = f"least squares; Theil-Sen {robust.slope:+.4f} "
    test += f"[{robust.low_slope:+.4f}, {robust.high_slope:+.4f}]"
    if not own_runs:
        return Finding(claim, asked, f"{len(x)} points of one run", figure, test, "description")
    away = low > 0 or high < 0
    agrees = claimed != 0 and math.copysign(1, line.slope) == claimed
    return Finding(claim, asked, f"{len(x)} runs", figure, test, _read(away, agrees))


def items(
    claim: str, asked: str, shares: tuple[float, float], n: int, *, claimed: Literal[-1, 0, 1]
) -> Finding:
    """First share less second, each of the same n items in one run, as if items were unpaired.

    Var = (p(1 - p) + q(1 - q)) / n: an upper bound where arms agree on items, or where a share is a
    mean over samples of each item. What another seed would give is not in it.
    """
    first, second = shares
    difference = first - second
    half = NORMAL * math.sqrt((first * (1 - first) + second * (1 - second)) / n)
    return _interval(
        claim, asked, f"{n:,} items, a run each", difference, half, "items, at most", claimed
    )


def apart(
    claim: str, asked: str, difference: float, spread: float, *, claimed: Literal[-1, 0, 1]
) -> Finding:
    """A difference of two runs beside the spread over seeds that the paper states for each."""
    half = NORMAL * math.sqrt(2) * spread
    return _interval(
        claim, asked, "a run each", difference, half, f"stated spread {spread:g}", claimed
    )


def correlation(claim: str, asked: str, rho: float, n: int, *, claimed: bool) -> Finding:
    """Spearman's rho with Fisher's z, whose variance is 1.06 / (n - 3) (Fieller et al. 1957)."""
    half = NORMAL * math.sqrt(1.06 / (n - 3))
    low, high = (math.tanh(math.atanh(rho) + sign * half) for sign in (-1, 1))
    figure = f"{rho:+.3f} [{low:+.2f}, {high:+.2f}]"
    away = low > 0 or high < 0
    read = _read(away, claimed)
    return Finding(claim, asked, f"{n} runs, as the printed p implies", figure, "Fisher's z", read)


def p(value: float) -> str:
    """A p value in two digits."""
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"


def _interval(
    claim: str,
    asked: str,
    units: str,
    difference: float,
    half: float,
    of: str,
    claimed: Literal[-1, 0, 1],
) -> Finding:
    figure = f"{difference:+.3f} [{difference - half:+.3f}, {difference + half:+.3f}]"
    if abs(difference) >= 1:
        figure = f"{difference:+.1f} [{difference - half:+.1f}, {difference + half:+.1f}]"
    agrees = claimed != 0 and math.copysign(1, difference) == claimed
    return Finding(
        claim, asked, units, figure, f"95 % of {of}", _read(abs(difference) > half, agrees)
    )


def _read(away: bool, agrees: bool) -> Reading:
    if not away:
        return "open"
    return "for" if agrees else "against"
