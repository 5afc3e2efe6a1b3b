"""The tests that a rule may ask for, of curves: forgetting at matched loss, optima of rates,
correlations over runs; and `TESTS`, all of them by name.

In: a rule and its comparisons, one for each setting. Out: a `Tested`, or `Missing` with what the
study lacks. Budgets, rates and branches of one block are no units of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lora_ledger.analysis import matched, rates
from lora_ledger.analysis.association import Association, reverses, within
from lora_ledger.analysis.statistics import Resampling
from lora_ledger.analysis.student import over_blocks
from lora_ledger.study.decisions import Decision

from .chosen import Comparison, Missing
from .confirmatory import Found, difference, items, margin_of, page, signs, slope
from .observed import Observed, key
from .words import HIGHER, LOWER, WITHIN, Tested, joint, judged, of_bounds

Array = npt.NDArray[np.float64]


def at_matched_loss(rule: Decision, observed: Observed, found: Found) -> Tested:
    """The metric at equal target loss, by tokens and by rates, interpolated: both must agree."""
    assert rule.metric
    metric = key(rule.metric, rule)
    limit, se = margin_of(rule, observed, found)
    ways: dict[str, list[float]] = {"tokens": [], "rates": []}
    for one in found:
        for block in one.blocks:
            for way, apart in ways.items():
                paths = [
                    [p for m in side if (p := _path(observed, one, metric, m, block, way))]
                    for side in (one.arms, one.against)
                ]
                each = [matched.difference(a, b) for a in paths[0] for b in paths[1]]
                if each:
                    apart.append(float(np.mean(each)))
    missing = [way for way, apart in ways.items() if not np.isfinite(apart).any()]
    if missing:
        raise Missing(
            f"two {' and two '.join(missing)} at least of each arm whose target losses overlap"
        )
    parts = []
    for way, apart in ways.items():
        one_way = judged(f"at matched loss along {way}", over_blocks(apart), -limit, limit, se)
        parts.append(replace(one_way, measured="matched loss", seeds=one_way.n))
    return joint(parts, "at matched loss along tokens and along rates")


def _path(
    observed: Observed, one: Comparison, metric: str, method: str, block: str, way: str
) -> matched.Path | None:
    """Target losses and the metric by rising tokens at the best rate, or by rising rates at the
    longest budget; None with fewer than two points."""
    if way == "tokens":
        best = [one.at_best(observed, method, budget, block) for budget in one.budgets]
        runs = [run for run in best if run]
    else:
        runs = one.of(method, one.budgets[-1], block)
    if len(runs) < 2:
        return None
    return (
        [observed.value(run.label, "target-loss") for run in runs],
        [observed.value(run.label, metric) for run in runs],
    )


def optimum(rule: Decision, observed: Observed, found: Found) -> Tested:
    """The ratio of the best rates of arms and comparator, each arm in each setting, against a range
    of ratios, in log10."""
    assert rule.range
    region = (math.log10(rule.range[0]), math.log10(rule.range[1]))
    parts, notes = [], []
    for one in found:
        for arm in one.arms:
            curves = [_losses(observed, one, name) for name in (arm, one.against[0])]
            if any(np.shape(grid)[0] < 3 for _, grid in curves):
                raise Missing(f"{one.setting}: a grid of three rates or more, reported, of each")
            edges = [rates.optimum(*curve).on_edge for curve in curves]
            ratio = rates.paired_ratio(curves[0], curves[1], Resampling("seeds"))
            logs = (_log10(ratio.ratio), _log10(ratio.low), _log10(ratio.high))
            n = len(one.blocks)
            made = of_bounds("ratio of best rates (log10)", logs, n - 1, n, "blocks", region)
            if any(edges):
                made = replace(made, p=dict.fromkeys(made.p, math.nan))
                notes.append(f"{one.setting}/{arm}: an optimum lies on the edge of its grid")
            parts.append(replace(made, measured="ratio of optima, paired", seeds=n))
    made = joint(parts, f"ratio of best rates (log10), each of {len(parts)}")
    return replace(made, notes=tuple(notes), needed="a wider grid" if notes else "more blocks")


def _losses(observed: Observed, one: Comparison, method: str) -> tuple[Array, Array]:
    """[blocks, rates] and [rates] at the longest budget; a diverged run is inf."""
    runs = [r for r in one.runs if (r.method, r.budget) == (method, one.budgets[-1]) and r.rate]
    grid = sorted({run.rate for run in runs if run.rate})
    losses = np.full((len(one.blocks), len(grid)), math.nan)
    for run in runs:
        place = one.blocks.index(run.block), grid.index(run.rate or 0.0)
        losses[place] = math.inf if run.diverged else observed.value(run.label, "target-loss")
    return losses, np.array(grid)


def _log10(value: float) -> float:
    if math.isnan(value) or value < 0:
        return math.nan
    return math.log10(value) if 0 < value < math.inf else (math.inf if value else -math.inf)


def correlation(rule: Decision, observed: Observed, found: Found) -> Tested:
    """Spearman's ρ over runs within settings; undecided where it turns round within methods."""
    assert rule.metric
    assert rule.other
    first, second = key(rule.other, rule), key(rule.metric, rule)
    runs = [
        run
        for one in found
        for run in one.runs
        if run.method in one.arms
        and run.budget in one.budgets
        and math.isfinite(observed.value(run.label, first) + observed.value(run.label, second))
    ]
    if len({run.unit for run in runs}) < 5:
        raise Missing("five runs or more with both values")
    x, y = ([observed.value(run.label, name) for run in runs] for name in (first, second))
    units = [run.unit for run in runs]
    overall = within(x, y, [run.setting for run in runs], units)
    inside = within(x, y, [(run.setting, run.method) for run in runs], units)
    limit = rule.limit[0]
    made = _of_association(overall, limit)
    if reverses(overall, inside):
        note = f"within methods it is {inside.rho:+.2f}: the methods' means make it"
        made = replace(made, p=dict.fromkeys(made.p, math.nan), notes=(note,))
    return replace(made, measured="Spearman over runs", seeds=len(set(units)) // 6 or 1)


def _of_association(found: Association, limit: float) -> Tested:
    """In Fisher's z; without a margin the p is that of the permutations."""
    most = 1 - 1e-9
    low, rho, high = (
        math.atanh(max(-most, min(most, v))) for v in (found.low, found.rho, found.high)
    )
    edge = math.atanh(limit)
    made = of_bounds(
        "Spearman over runs", (rho, low, high), math.inf, found.n, "runs", (-edge, edge)
    )
    p = dict(made.p)
    if not limit:
        p = {HIGHER: found.p if found.rho > 0 else 1.0, LOWER: found.p if found.rho < 0 else 1.0}
        p[WITHIN] = math.nan
    return replace(made, estimate=found.rho, low=found.low, high=found.high, p=p, margin=limit)


TESTS: Mapping[str, Callable[[Decision, Observed, Any], Tested]] = {
    "difference": difference,
    "trend": slope,
    "page": page,
    "signs": signs,
    "matched": at_matched_loss,
    "items": items,
    "optimum": optimum,
    "spearman": correlation,
}
