"""Does an interval hold what it says at these numbers of seeds and items? Measured, not assumed.

In: the name of an interval or test, a number of seeds (blocks), of items, of simulated data sets.
Out: how often the truth lay inside, how often a true null was rejected, and whether that is good
enough to decide a claim. The functions measured are those that decide, not copies of them.

A shape of the data that breaks what a method assumes is marked `broken`: its figures are shown and
do not decide, since no method survives everything.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from . import blocked, fronts, matched, paired, rates, trend
from . import simulated as made
from .association import spearman
from .equivalence import tost
from .statistics import Interval, Resampling, bootstrap_mean, wilson
from .student import Estimate, over_blocks

SETS, MORE = 2000, 5
"""Data sets, and how many times as many where the first leave open on which side of a limit a share
lies: a test of exactly 5 % would else fail one time in fifty."""
LEAST_COVERAGE = 0.93
MOST_REJECTED = 0.06
LEVEL = 0.05
ARMS, SETTINGS, LEVELS, RUNS_A_SEED = 4, 3, np.log([1.0, 4.0, 16.0, 64.0]), 6
"""Of the simulated studies: arms of a setting, settings, budgets of a trend, runs with one seed."""
MARGIN = 2.0
"""Of equivalence, in standard deviations of an arm; the truth lies on it."""
RHO = 0.6
RESAMPLES = 500
"""Of a bootstrap over items here; four times as many move its coverage by less than can be seen."""
Rng = np.random.Generator
Draw = tuple[bool | None, bool | None]
"""Of one data set: was the truth inside the interval, was the true null rejected; None: no such."""
Simulate = Callable[[Rng, int, int, str], Draw]


@dataclass(frozen=True)
class Method:
    """What is measured, the shapes of data that it allows, and those that break its assumptions."""

    draw: Simulate
    shapes: tuple[str, ...]
    broken: tuple[str, ...] = ()
    items: bool = False


@dataclass(frozen=True)
class Measured:
    """Shares of `sets` data sets; nan where a test has no interval, or an interval no test."""

    method: str
    shape: str
    broken: bool
    seeds: int
    items: int
    coverage: float
    rejected: float
    sets: int

    @property
    def holds(self) -> bool:
        """At least 93 % covered and fewer than 6 % of true nulls rejected."""
        covers = math.isnan(self.coverage) or self.coverage >= LEAST_COVERAGE
        return covers and (math.isnan(self.rejected) or self.rejected < MOST_REJECTED)


def _zero(found: Estimate | Interval) -> Draw:
    """Of a difference that is none."""
    inside = not (found.low > 0 or found.high < 0)
    return inside, found.p <= LEVEL if isinstance(found, Estimate) else not inside


def _items(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    return _zero(bootstrap_mean(made.one_run(rng, items, shape), Resampling("items", RESAMPLES)))


def _share(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    truth = float(shape.split()[0])
    found = wilson(int(rng.binomial(items, truth)), items)
    return found.low <= truth <= found.high, None


def _mcnemar(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    return None, paired.mcnemar(*made.items_of_two(rng, items)).p <= LEVEL


def _crossed_bootstrap(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    how = Resampling("items", RESAMPLES)
    return _zero(bootstrap_mean(made.differences(rng, seeds, items, shape), how))


def _crossed(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    return _zero(paired.crossed(made.differences(rng, seeds, items, shape)))


def _paired_t(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    values = made.blocks(rng, seeds, 2, shape)
    return _zero(over_blocks(values[:, 0] - values[:, 1]))


def _signs(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    values = made.blocks(rng, seeds, 2, shape)
    return None, paired.sign_test(values[:, 0] - values[:, 1]).p <= LEVEL


FIRST_LESS_SECOND = np.array([1.0, -1.0] + [0.0] * (ARMS - 2))


def _blocked(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    fitted = blocked.fit(made.blocks(rng, seeds, ARMS, shape))
    return _zero(blocked.contrast(fitted, FIRST_LESS_SECOND))


def _settings(rng: Rng, seeds: int, shape: str) -> list[blocked.Fit]:
    """In `one setting twice` the first scatters twice as much as the others."""
    scales = [2.0 if shape == "one setting twice" and not at else 1.0 for at in range(SETTINGS)]
    shape = "alike" if shape == "one setting twice" else shape
    return [blocked.fit(scale * made.blocks(rng, seeds, ARMS, shape)) for scale in scales]


def _blocked_pooled(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    """The contrast of the first setting, which is the one that scatters more where one does."""
    fits = _settings(rng, seeds, shape)
    return _zero(blocked.contrast(fits[0], FIRST_LESS_SECOND, blocked.pooled(fits)))


def _across(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    fits = _settings(rng, seeds, shape)
    return _zero(blocked.across(fits, [FIRST_LESS_SECOND] * SETTINGS).mean)


def _equivalence(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    """The difference is the margin: equivalence would be false."""
    values = made.blocks(rng, seeds, ARMS, shape)
    values[:, 0] += MARGIN
    found = blocked.contrast(blocked.fit(values), FIRST_LESS_SECOND)
    return found.low <= MARGIN <= found.high, tost(found, MARGIN, LEVEL).equivalent


def _slope(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    return _zero(trend.slope(made.trends(rng, seeds, LEVELS, shape), LEVELS))


def _slope_pooled(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    fitted = blocked.fit(made.trends(rng, seeds, LEVELS, shape))
    return _zero(blocked.contrast(fitted, trend.linear_weights(LEVELS)))


def _page(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    return None, trend.page(made.trends(rng, seeds, LEVELS, shape)).p <= LEVEL


def _optimum(by: rates.By) -> Simulate:
    def draw(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
        found = rates.optimum(made.valleys(rng, seeds, shape), made.GRID, by)
        return found.low <= 10**made.FLOOR <= found.high, None

    return draw


def _ratio(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    """Two arms with one floor: the ratio is 1."""
    first, second = (
        rates.optimum(made.valleys(rng, seeds, shape), made.GRID, "seeds") for _ in range(2)
    )
    found = rates.ratio(first, second)
    return found.low <= 1 <= found.high, not found.low <= 1 <= found.high


def _paired_ratio(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    first, second = ((made.valleys(rng, seeds, shape), made.GRID) for _ in range(2))
    found = rates.paired_ratio(first, second)
    return found.low <= 1 <= found.high, not found.low <= 1 <= found.high


def _planes(rng: Rng, seeds: int, shape: str) -> list[list[fronts.Points]]:
    """Learning is the loss gained since the start."""
    return [
        [(losses[0] - losses, forgetting) for losses, forgetting in made.paths(rng, seeds, shape)]
        for _ in range(2)
    ]


def _area(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    first, second = _planes(rng, seeds, shape)
    return _zero(fronts.area(first, second))


def _area_bootstrap(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    first, second = _planes(rng, seeds, shape)
    return _zero(fronts.resampled_area(first, second, Resampling("blocks")))


def _volume(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    first, second = _planes(rng, seeds, shape)
    return _zero(fronts.volume(first, second, (0.0, 1.0)))


def _matched(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    first, second = (made.paths(rng, seeds, shape) for _ in range(2))
    return _zero(matched.matched(first, second))


def _spearman(rng: Rng, seeds: int, items: int, shape: str) -> Draw:
    """Coverage of a true ρ, rejection where there is none; runs are seeds x `RUNS_A_SEED`."""
    truth = 6 / math.pi * math.asin(RHO / 2)
    one, other = (spearman(*made.associated(rng, seeds * RUNS_A_SEED, rho)) for rho in (RHO, 0.0))
    return one.low <= truth <= one.high, other.p <= LEVEL


CROSSED = (*made.SEED_SHARES, "right or wrong")
TAILS = ("heavy tails", "skewed")
METHODS: dict[str, Method] = {
    "bootstrap of items, one run": Method(_items, ("normal",), ("skewed",), items=True),
    "Wilson": Method(_share, ("0.1 right", "0.5 right"), ("0.02 right",), items=True),
    "McNemar, exact": Method(_mcnemar, ("right or wrong",), items=True),
    "crossed bootstrap": Method(_crossed_bootstrap, CROSSED, items=True),
    "crossed t": Method(_crossed, CROSSED, items=True),
    "paired t": Method(_paired_t, ("alike", "first arm twice"), TAILS),
    "sign test": Method(_signs, ("alike", "first arm twice", *TAILS)),
    "blocked": Method(_blocked, ("alike",), (*TAILS, "first arm twice")),
    "blocked, pooled over settings": Method(
        _blocked_pooled, ("alike",), (*TAILS, "first arm twice", "one setting twice")
    ),
    "blocked, mean over settings": Method(
        _across, ("alike", "one setting twice"), (*TAILS, "first arm twice")
    ),
    "TOST, blocked": Method(_equivalence, ("alike",), (*TAILS, "first arm twice")),
    "slope over blocks": Method(_slope, ("alike", "own slopes")),
    "slope, blocked": Method(_slope_pooled, ("alike",), ("own slopes",)),
    "Page's L": Method(_page, ("alike",), ("own slopes",)),
    "optimum, seeds": Method(_optimum("seeds"), ("parabola", "own floors"), ("steeper above",)),
    "optimum, pooled": Method(_optimum("pooled"), ("parabola",), ("own floors", "steeper above")),
    "optimum, resampled": Method(
        _optimum("resampled"), ("parabola", "own floors"), ("steeper above",)
    ),
    "ratio of optima": Method(_ratio, ("parabola", "own floors"), ("steeper above",)),
    "ratio of optima, paired": Method(
        _paired_ratio, ("parabola", "own floors"), ("steeper above",)
    ),
    "area between fronts": Method(_area, ("plain", "noisy")),
    "area between fronts, bootstrap": Method(_area_bootstrap, ("plain", "noisy")),
    "hypervolume": Method(_volume, ("plain", "noisy")),
    "matched loss": Method(_matched, ("plain", "noisy")),
    "Spearman over runs": Method(_spearman, ("normal",)),
}


@lru_cache(maxsize=512)
def measured(
    method: str, seeds: int, items: int, sets: int = SETS, seed: int = 0
) -> tuple[Measured, ...]:
    """One `Measured` for each shape of data, broken ones last.

    The same numbers give the same figures: each shape has a generator of its own. Items count for
    methods that have them, and are 0 for the rest. Raises ValueError for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"coverage: found {method!r}, expected one of {', '.join(METHODS)}")
    what = METHODS[method]
    items = items if what.items else 0
    shapes = (*what.shapes, *what.broken)
    found = [_of_shape(method, shape, seeds, items, sets, seed) for shape in shapes]
    if all(one.holds or one.broken or _open(one) for one in found):
        found = [
            _of_shape(method, one.shape, seeds, items, MORE * sets, seed)
            if _open(one) and not one.broken
            else one
            for one in found
        ]
    return tuple(found)


def _of_shape(method: str, shape: str, seeds: int, items: int, sets: int, seed: int) -> Measured:
    what = METHODS[method]
    name = zlib.crc32(f"{method}/{shape}".encode())
    rng = np.random.default_rng([seed, name, seeds, items])
    with np.errstate(all="ignore"):
        draws = [what.draw(rng, seeds, items, shape) for _ in range(sets)]
    covered, rejected = (_rate([draw[at] for draw in draws]) for at in (0, 1))
    broken = shape in what.broken
    return Measured(method, shape, broken, seeds, items, covered, rejected, sets)


def _open(one: Measured) -> bool:
    """Is a limit within two standard errors of the simulation?"""
    pairs = ((one.coverage, LEAST_COVERAGE), (one.rejected, MOST_REJECTED))
    return any(
        abs(share - limit) <= 2 * math.sqrt(limit * (1 - limit) / one.sets)
        for share, limit in pairs
    )


def _rate(draws: list[bool | None]) -> float:
    given = [one for one in draws if one is not None]
    return sum(given) / len(given) if given else math.nan


def may_decide(method: str, seeds: int, items: int, sets: int = SETS) -> bool:
    """Whether it holds at these numbers for every shape of data that it allows."""
    return all(one.holds for one in measured(method, seeds, items, sets) if not one.broken)
