"""Data sets whose truth is known, as a study would have them: what `coverage` measures with.

In: a generator, sizes, and the name of a shape.
Out: arrays with no difference between arms, or with one that is named. It measures nothing.

Sizes of effects are those seen in small runs, in units in which one arm scatters by 1 over blocks;
an interval's coverage does not depend on the unit.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from .statistics import Array

Rng = np.random.Generator

GRID = 10.0 ** np.arange(-5.0, -1.9, 0.5)
"""Seven rates, half a decade apart."""
FLOOR = -3.35
"""The true optimum, log10: between two rates of the grid, as it falls."""
SEED_SHARES = {"items vary": 0.1, "both vary": 0.5, "seeds vary": 0.9}
"""What part of the mean's variance is the seeds'."""


def differences(rng: Rng, seeds: int, items: int, shape: str) -> Array:
    """[seeds, items] of two equal arms: mean 0 over seeds and items to come.

    `SEED_SHARES`: normal, that share of the mean's variance from seeds and the rest from items and
    their crossing, half each. `right or wrong`: both arms answer at chances that vary by item (1.5
    logits) and by seed (.15 logits, each arm its own).
    """
    if shape == "right or wrong":
        hard = rng.normal(0, 1.5, items)
        arms = [hard + rng.normal(0, 0.15, (seeds, 1)) for _ in range(2)]
        first, second = (rng.random((seeds, items)) < special.expit(arm) for arm in arms)
        return np.asarray(first.astype(np.float64) - second.astype(np.float64))
    share = SEED_SHARES[shape]
    rest = 1.0 - share
    by_seed = rng.normal(0, np.sqrt(share * seeds), (seeds, 1))
    by_item = rng.normal(0, np.sqrt(rest * items / 2), items)
    crossing = rng.normal(0, np.sqrt(rest * items * seeds / 2), (seeds, items))
    return np.asarray(by_seed + by_item + crossing)


def one_run(rng: Rng, items: int, shape: str) -> Array:
    """[items] of mean 0 over items to come: normal, or `skewed` as losses of documents are."""
    if shape == "skewed":
        return np.asarray(rng.lognormal(0, 1, items) - np.exp(0.5))
    return rng.normal(0, 1, items)


def items_of_two(rng: Rng, items: int) -> tuple[Array, Array]:
    """Right or wrong of two equal runs on the same items, [items] each."""
    hard = special.expit(rng.normal(0, 1.5, items))
    first, second = (rng.random((2, items)) < hard).astype(np.float64)
    return first, second


def blocks(rng: Rng, count: int, arms: int, shape: str) -> Array:
    """[blocks, arms] of equal arms; blocks differ by far more than arms scatter.

    `alike`: normal. `heavy tails`: t of 4 degrees of freedom. `skewed`: exponential. `first arm
    twice`: the first arm's standard deviation is twice the others'.
    """
    level = rng.normal(0, 10, (count, 1))
    if shape == "heavy tails":
        noise = rng.standard_t(4, (count, arms)) / np.sqrt(2)
    elif shape == "skewed":
        noise = rng.exponential(1, (count, arms)) - 1
    else:
        noise = rng.normal(0, 1, (count, arms))
        if shape == "first arm twice":
            noise[:, 0] *= 2
    return np.asarray(level + noise)


def trends(rng: Rng, count: int, x: Array, shape: str) -> Array:
    """[blocks, levels] without a trend on average; `own slopes`: blocks have some, mean 0."""
    values = blocks(rng, count, len(x), "alike")
    if shape == "own slopes":
        values = values + rng.normal(0, 1, (count, 1)) * (x - x.mean()) / x.std()
    return values


def valleys(rng: Rng, seeds: int, shape: str, floor: float = FLOOR) -> Array:
    """[seeds, rates] of final losses over `GRID` whose mean is least at 10**floor.

    `parabola`: .1 a squared decade about the floor, noise .005 a run (within a decade a loss rises
    by twenty times the noise). `own floors`: floors of the seeds scatter by .1 decades. `steeper
    above`: twice as steep above the floor as below it, as where training nears divergence.
    """
    off = np.log10(GRID) - floor
    if shape == "own floors":
        off = off - rng.normal(0, 0.1, (seeds, 1))
    curve = 0.1 * off**2
    if shape == "steeper above":
        curve = curve * np.where(off > 0, 4 / 3, 2 / 3)
    level = rng.normal(2, 0.05, (seeds, 1))
    return np.asarray(level + curve + rng.normal(0, 0.005, (seeds, len(GRID))))


def paths(rng: Rng, count: int, shape: str) -> list[tuple[Array, Array]]:
    """For each block the target losses and forgetting of one arm at six budgets.

    Loss falls and forgetting rises along tokens; the arm's block moves both, points scatter. Two
    calls are two equal arms. `noisy`: points scatter by three times as much.
    """
    tokens = np.linspace(0.0, 1.0, 6)
    scatter = 0.03 if shape == "noisy" else 0.01
    found = []
    for _ in range(count):
        gain, harm = rng.normal(1, 0.1), rng.normal(0.5, 0.08)
        losses = 3 - gain * np.sqrt(tokens) + rng.normal(0, scatter, 6)
        forgetting = harm * tokens**1.5 + rng.normal(0, scatter, 6)
        losses[0], forgetting[0] = 3.0, 0.0
        found.append((losses, forgetting))
    return found


def associated(rng: Rng, runs: int, rho: float) -> tuple[Array, Array]:
    """Two normal quantities of each run with Pearson's correlation rho."""
    x, noise = rng.normal(0, 1, (2, runs))
    return x, rho * x + np.sqrt(1 - rho * rho) * noise
