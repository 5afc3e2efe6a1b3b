"""The tests that a rule may ask for, of values over blocks: differences, trends, signs, items.

In: a rule and its comparisons, one for each setting. Out: a `Tested`, or `Missing` with what the
study lacks. Every test takes blocks (base x seed) as its units, budgets and rates of one block
together. It decides nothing: a word that was found says whether a claim holds in `deciding`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lora_ledger.analysis import blocked, paired, power, trend
from lora_ledger.analysis.student import Estimate, estimated, over_blocks
from lora_ledger.study.decisions import Decision

from .chosen import Comparison, Missing
from .observed import ITEMISED, Observed, base_of, key
from .words import HIGHER, LOWER, Tested, joint, judged, of_p

Array = npt.NDArray[np.float64]
Found = Sequence[Comparison]


def margin_of(rule: Decision, observed: Observed, found: Found) -> tuple[float, float]:
    """The margin in the metric's unit, and its standard error: a share is one of the comparator's
    mean gain, forgetting or value, over blocks and settings."""
    size, of = rule.limit
    if not of:
        return size, 0.0
    assert rule.metric
    metric = key(rule.metric, rule) if of == "value" else of
    per_block = [
        np.nanmean(one.matrix(observed, metric, one.against or one.arms, one.budgets), axis=1)
        for one in found
    ]
    ends = [over_blocks(np.abs(values)) for values in per_block]
    mean = float(np.mean([one.estimate for one in ends]))
    if not mean > 0:
        raise Missing(f"the comparator's {of}, of which the margin is a share, is {mean:.3g}")
    se = math.sqrt(sum(one.se**2 for one in ends if math.isfinite(one.se))) / len(ends)
    return size * mean, size * se


def difference(rule: Decision, observed: Observed, found: Found) -> Tested:
    """Arms less comparators in the blocked model, the mean over settings; against the untouched
    model each block's own difference."""
    limit, se = margin_of(rule, observed, found)
    groups = _groups(rule, found)
    made = []
    for arms in groups:
        estimate, measured, sd = _difference(rule, observed, found, arms)
        one = judged("blocked difference", estimate, -limit, limit, se)
        needed = _needed(estimate.estimate, sd, limit, _layout(rule, found, len(arms)))
        seeds = min(len(c.blocks) for c in found)
        made.append(replace(one, measured=measured, seeds=seeds, needed=needed))
    return joint(made, f"blocked difference, each of {len(made)}")


def _groups(rule: Decision, found: Found) -> list[tuple[str, ...]]:
    """The arms whose mean is compared, or each alone; those that some setting lacks are left out
    where each is asked for."""
    every = list(dict.fromkeys(arm for one in found for arm in one.arms))
    if rule.over == "mean":
        return [tuple(every)]
    return [(arm,) for arm in every]


def _difference(
    rule: Decision, observed: Observed, found: Found, arms: Sequence[str]
) -> tuple[Estimate, str, float]:
    assert rule.metric
    metric = key(rule.metric, rule)
    fits, weights = [], []
    apart: dict[str, list[float]] = {}
    for one in found:
        mine = [arm for arm in one.arms if arm in arms]
        if not mine:
            continue
        if rule.against == "base":
            after = one.matrix(observed, metric, mine, one.budgets).mean(axis=1)
            for block, value in zip(one.blocks, after - _base(observed, metric, one), strict=True):
                apart.setdefault(block, []).append(float(value))
            continue
        names = [*mine, *one.against, *one.others]
        values = one.matrix(observed, metric, names, one.budgets)
        there = np.array([np.isfinite(column).any() for column in values.T])
        if not there[: len(mine)].all() or not there[len(mine) :][: len(one.against)].all():
            raise Missing(f"{one.setting}: an arm has no value of {rule.metric}")
        share = [1 / len(mine)] * len(mine) + [-1 / len(one.against)] * len(one.against)
        weight = np.array(share + [0.0] * len(one.others))
        fits.append(blocked.fit(values[:, there]))
        weights.append(weight[there])
    if apart:
        # Settings on bases of their own have other blocks.
        estimate = over_blocks([float(np.mean(each)) for each in apart.values()])
        if not estimate.n:
            raise Missing(f"no value of {rule.metric} for the untouched model")
        return estimate, "paired t", estimate.se * math.sqrt(estimate.n / 2)
    pooled = blocked.pooled(fits)
    square = (
        pooled.mean_square
        if pooled.holds
        else max((f.mean_square for f in fits if f.df), default=math.nan)
    )
    name = "blocked" if len(fits) == 1 else "blocked, mean over settings"
    return _over_settings(fits, weights), name, math.sqrt(square) if square >= 0 else math.nan


def _over_settings(fits: Sequence[blocked.Fit], weights: Sequence[Array]) -> Estimate:
    """The mean of a contrast over settings; of blocks that leave no degree of freedom, without a
    standard error."""
    if all(one.df for one in fits):
        return blocked.across(fits, weights).mean
    values = [float(w @ one.effects) for one, w in zip(fits, weights, strict=True)]
    blocks = sum(one.blocks for one in fits)
    return estimated(float(np.mean(values)), math.nan, 0, blocks, "blocks")


def _base(observed: Observed, metric: str, one: Comparison) -> Array:
    """[blocks]: the untouched model's value; 0 of what is itself a change."""
    zero = metric in ("gain", "forgetting", "recall-lost")
    return np.array([0.0 if zero else observed.value(base_of(b), metric) for b in one.blocks])


def _layout(rule: Decision, found: Found, arms: int) -> power.Layout:
    one = found[0]
    share = 1 / arms + (1 / len(one.against) if one.against else 0)
    every = arms + len(one.against) + len(one.others)
    return power.Layout(max(every, 2), len(found), averaged=len(found) > 1, squares=share)


def _needed(seen: float, sd: float, limit: float, layout: power.Layout) -> str:
    """The blocks that would decide: a difference as large as was seen, beyond the margin, or that
    it lies within it."""
    if not (math.isfinite(seen) and sd > 0):
        return "2 blocks or more, for a spread"
    if abs(seen) > limit:
        blocks = power.blocks_needed(abs(seen) - limit, sd, layout)
        return _said_needed(blocks, f"if the difference is {seen:.3g}, as seen")
    blocks = power.blocks_for_equivalence(limit, sd, layout, power.Wanted(0.025), abs(seen))
    return _said_needed(blocks, f"to show that it lies within {limit:.3g}")


def _said_needed(blocks: int | None, what: str) -> str:
    number = f"over {power.MOST_BLOCKS}" if blocks is None else str(blocks)
    return f"{number} blocks {what}"


def _levels(rule: Decision, observed: Observed, one: Comparison) -> tuple[Array, Array]:
    """[blocks, levels] of the metric, less the comparator's where there is one, and the levels as
    log2: budgets by their tokens, or arms by rank or number of trained parameters."""
    assert rule.metric
    metric = key(rule.metric, rule)
    if rule.along == "budget":
        columns = []
        for budget in one.budgets:
            values = one.matrix(observed, metric, one.arms, [budget]).mean(axis=1)
            if one.against:
                values = values - one.matrix(observed, metric, one.against, [budget]).mean(axis=1)
            columns.append(values)
        tokens = {run.budget: run.tokens for run in one.runs if not run.diverged}
        return np.stack(columns, axis=1), np.log2([tokens[budget] for budget in one.budgets])
    sizes = {run.method: run.parameters for run in one.runs}
    arms = sorted(one.arms, key=lambda arm: sizes.get(arm, math.nan))
    values = one.matrix(observed, metric, arms, one.budgets)
    if one.against:
        values = values - one.matrix(observed, metric, one.against, one.budgets).mean(
            axis=1, keepdims=True
        )
    # Parameters of one kind and modules are a rank times a constant.
    return values, np.log2([sizes[arm] for arm in arms])


def slope(rule: Decision, observed: Observed, found: Found) -> Tested:
    """The slope a doubling, a contrast of the blocked model of levels, the mean over settings."""
    limit, se = margin_of(rule, observed, found)
    fits, weights = [], []
    for one in found:
        values, x = _levels(rule, observed, one)
        if len(set(x.tolist())) < 2:
            continue
        whole = np.isfinite(values).any(axis=0)
        fits.append(blocked.fit(values[:, whole]))
        weights.append(trend.linear_weights(x[whole]))
    if not fits:
        raise Missing(f"no setting has two levels of {rule.along}")
    estimate = _over_settings(fits, weights)
    made = judged(f"slope a doubling of {rule.along}", estimate, -limit, limit, se)
    pooled = blocked.pooled(fits)
    sd = math.sqrt(pooled.mean_square) if pooled.mean_square >= 0 else math.nan
    squares = float(np.mean([w @ w for w in weights]))
    layout = power.Layout(len(weights[0]), len(fits), averaged=len(fits) > 1, squares=squares)
    needed = _needed(estimate.estimate, sd, limit, layout)
    seeds = min(len(c.blocks) for c in found)
    return replace(made, measured="slope, blocked", seeds=seeds, needed=needed)


def page(rule: Decision, observed: Observed, found: Found) -> Tested:
    """Page's L over blocks of all settings: do values go up or down with the level?"""
    rows = [_levels(rule, observed, one)[0] for one in found]
    width = max(row.shape[1] for row in rows)
    whole = [r for row in rows if row.shape[1] == width for r in row if np.isfinite(r).all()]
    if width < 3 or len(whole) < 2:
        raise Missing(f"three levels of {rule.along} in two blocks or more")
    up, down = (trend.page(np.stack(whole), increasing=way) for way in (True, False))
    p = {HIGHER: min(1.0, 2 * up.p), LOWER: min(1.0, 2 * down.p)}
    made = of_p(f"Page's L along {rule.along}", up.statistic, len(whole), "blocks", p)
    return replace(made, measured="Page's L", seeds=len(whole))


def signs(rule: Decision, observed: Observed, found: Found) -> Tested:
    """Exact sign test of arms less comparators over blocks and settings."""
    assert rule.metric
    metric = key(rule.metric, rule)
    apart: list[float] = []
    for one in found:
        after = one.matrix(observed, metric, one.arms, one.budgets).mean(axis=1)
        before = (
            _base(observed, metric, one)
            if rule.against == "base"
            else one.matrix(observed, metric, one.against, one.budgets).mean(axis=1)
        )
        apart += (after - before).tolist()
    counts = paired.sign_test(apart)
    most = counts.above > counts.below
    p = {HIGHER: counts.p if most else 1.0, LOWER: 1.0 if most else counts.p}
    n = counts.above + counts.below
    share = counts.above / n if n else math.nan
    needed = "6 blocks of one sign or more" if n < 6 else ""
    made = of_p("sign test: share above", share, n, "blocks x settings", p)
    return replace(made, measured="sign test", seeds=n, needed=needed)


def items(rule: Decision, observed: Observed, found: Found) -> Tested:
    """Arms less comparators on the same items, items and seeds crossed, items of all settings."""
    assert rule.metric
    metric = key(rule.metric, rule)
    if rule.metric not in ITEMISED:
        raise Missing(f"a metric of items, which {rule.metric} is not")
    limit, se = margin_of(rule, observed, found)
    rows = []
    blocks = [b for b in found[0].blocks if all(b in one.blocks for one in found)]
    for block in blocks:
        parts: list[Array] = []
        for one in found:
            after = _items(observed, one, metric, one.arms, block)
            against = _items(observed, one, metric, one.against, block)
            if rule.against == "base":
                # The base is asked the items of every setting, so they are not this setting's.
                raise Missing("another arm: items of the untouched model are not paired")
            if after is None or against is None or len(after) != len(against):
                parts = []
                break
            parts.append(after - against)
        if parts:
            rows.append(np.concatenate(parts))
    if not rows or len({len(row) for row in rows}) > 1:
        raise Missing(f"items of {rule.metric} that every block has")
    apart = np.stack(rows)
    estimate = paired.crossed(apart)
    made = judged("items x seeds, crossed", estimate, -limit, limit, se)
    needed = "2 blocks or more: items alone say nothing of another run"
    if len(rows) > 1:
        effect = abs(estimate.estimate) - limit if abs(estimate.estimate) > limit else limit
        least = power.crossed_needed(effect, paired.components(apart))
        needed = f"{least.seeds or 'over 1000'} seeds with these items" if effect > 0 else ""
    else:
        made = replace(made, p=dict.fromkeys(made.p, math.nan))
    return replace(made, measured="crossed t", seeds=len(rows), items=apart.shape[1], needed=needed)


def _items(
    observed: Observed, one: Comparison, metric: str, methods: Sequence[str], block: str
) -> Array | None:
    """Mean over methods and budgets of each item."""
    runs = [one.at_best(observed, m, budget, block) for m in methods for budget in one.budgets]
    found = [observed.items.get((run.label, metric)) for run in runs if run]
    if not found or any(row is None for row in found) or len(found) < len(runs):
        return None
    rows = [row for row in found if row is not None]
    return np.mean(rows, axis=0) if len({len(row) for row in rows}) == 1 else None
