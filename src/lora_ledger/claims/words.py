"""From an estimate to a word: lower, higher, within; each with the p that goes with it.

In: an estimate with its standard error, and a margin that may have one too. Out: `Tested`: the
estimate, its 95 % interval, and for each word twice the one-sided p of what it says. So `lower` has
p below .05 exactly where the whole interval lies below -margin, `higher` where it lies above, and
`within` where it lies inside: what is decided and what is shown are one interval. It corrects for
no other test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scipy import special

from lora_ledger.analysis.student import Estimate, estimated, tail

LOWER, HIGHER, WITHIN = "lower", "higher", "within"
WORDS = (LOWER, HIGHER, WITHIN)


@dataclass(frozen=True)
class Tested:
    """What one test found. `p` by word, nan where it cannot be said; `measured`: the name under
    which `analysis.coverage` knows the interval, with the seeds and items that it has here."""

    test: str
    estimate: float
    low: float
    high: float
    df: float
    n: int
    unit: str
    p: Mapping[str, float]
    margin: float = 0.0
    se: float = math.nan
    measured: str = ""
    seeds: int = 0
    items: int = 0
    needed: str = ""
    notes: tuple[str, ...] = ()

    def least(self, words: Sequence[str]) -> float:
        """The smallest p among the words; nan where none has one."""
        found = [self.p[word] for word in words if not math.isnan(self.p.get(word, math.nan))]
        return min(found, default=math.nan)

    def word(self, words: Sequence[str]) -> str:
        """The one with the smallest p."""
        there = [word for word in words if not math.isnan(self.p.get(word, math.nan))]
        return min(there, key=lambda word: self.p[word], default="")


def judged(
    test: str, found: Estimate, lower: float, upper: float, margin_se: float = 0.0
) -> Tested:
    """The three words about a region from `lower` to `upper`.

    A margin that is a share of a measured gain is uncertain itself: its standard error is added to
    that of the estimate, as for independent ones. Shares of a few percent make it small. No word of
    an estimate without a spread or a degree of freedom has a p.
    """
    total = math.hypot(found.se, margin_se if math.isfinite(margin_se) else 0.0)
    sides = estimated(found.estimate, total, found.df, found.n, found.unit, found.confidence)
    above, below = tail(sides, upper), 1 - tail(sides, lower)
    inside = max(tail(sides, lower), 1 - tail(sides, upper)) if upper > lower else math.nan
    p = {word: min(2 * one, 1.0) for word, one in zip(WORDS, (below, above, inside), strict=True)}
    return Tested(
        test, found.estimate, found.low, found.high, found.df, found.n, found.unit, p,
        max(abs(lower), abs(upper)), found.se,
    )  # fmt: skip


def joint(parts: Sequence[Tested], test: str) -> Tested:
    """All of several at once: a word holds where it holds of each (Berger 1982), so that its p is
    the largest of theirs. Shown is the part that is furthest from that."""
    if len(parts) == 1:
        return parts[0]
    p = {
        word: max((1.0 if math.isnan(one.p.get(word, math.nan)) else one.p[word]) for one in parts)
        for word in WORDS
    }
    # A word that no part can say has no p.
    p = {
        word: math.nan if all(math.isnan(o.p.get(word, math.nan)) for o in parts) else value
        for word, value in p.items()
    }
    best = min((w for w in WORDS if not math.isnan(p[w])), key=lambda w: p[w], default="")
    worst = max(parts, key=lambda one: _or_one(one.p.get(best, math.nan)))
    return replace(worst, p=p, test=test)


def _or_one(p: float) -> float:
    return 1.0 if math.isnan(p) else p


def of_p(test: str, estimate: float, n: int, unit: str, p: Mapping[str, float]) -> Tested:
    """A test that has a p and no interval, such as one of signs."""
    nan = math.nan
    return Tested(test, estimate, nan, nan, math.inf, n, unit, {WITHIN: nan, **p})


def of_bounds(
    test: str, found: tuple[float, float, float], df: float, n: int, unit: str,
    region: tuple[float, float],
) -> Tested:  # fmt: skip
    """From an estimate and its 95 % bounds, symmetric about it but for rounding, at `df` degrees of
    freedom, infinite ones being the normal law. Unbounded ones decide nothing."""
    centre, low, high = found
    large = df if math.isfinite(df) else 1e9
    quantile = float(special.stdtrit(large, 0.975)) if df >= 1 else math.nan
    se = (high - low) / (2 * quantile) if math.isfinite(high - low) else math.nan
    if not (se > 0):
        nan = math.nan
        return Tested(test, centre, low, high, df, n, unit, dict.fromkeys(WORDS, nan))
    made = judged(test, estimated(centre, se, large, n, unit), *region)
    return replace(made, low=low, high=high, df=df)
