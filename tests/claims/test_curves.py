"""Rules on optima of rates, matched losses, correlations: planted runs whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lora_ledger.claims.deciding import Decided, decide
from lora_ledger.claims.observed import Observed, Run
from planted_runs import rule, study

GRIDS = {
    "full": (1e-5, 3.16e-5, 1e-4, 3.16e-4, 1e-3),
    "r8": (1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2),
}
OPTIMUM = {
    "claim": "LC3",
    "test": "optimum",
    "metric": None,
    "range": [5, 20],
    "supported": "within",
    "contradicted": ["lower", "higher"],
}
MATCHED = {
    "claim": "LD5",
    "test": "matched",
    "metric": "general-loss",
    "where": {"budget": "all"},
    "supported": "lower",
    "contradicted": "higher",
}


def grid(seeds: int, optima: dict[str, float], apart: float, sd: float = 0.002) -> Observed:
    """Target loss 1 + block + .3 (log10 rate / optimum)², .3 more in the short budget; the general
    text loses as much as the target gains, and r8's `apart` more, at any loss."""
    rng = np.random.default_rng(4)
    runs, values = [], {}
    for seed in range(1, seeds + 1):
        block = rng.normal(0, 0.1)
        for budget, tokens, above in (("short", 1000.0, 0.3), ("long", 4000.0, 0.0)):
            for arm, rates in GRIDS.items():
                for rate in rates:
                    label = f"s0/{arm}/{budget}/lr-{rate}/s{seed}"
                    off = 0.3 * np.log10(rate / optima[arm]) ** 2 + above + rng.normal(0, sd)
                    unit = f"{arm} {rate} {seed}"
                    runs.append(Run(label, "s0", arm, budget, f"s{seed}", unit, rate, tokens, 1e5))
                    values[label, "target-loss"] = 1 + block + off
                    values[label, "gain"] = 2 - off
                    more = (apart if arm == "r8" else 0.0) + rng.normal(0, sd)
                    values[label, "general-loss"] = 3 + block - off + more
    return Observed(tuple(runs), values)


def verdict(found: Observed, keys: dict[str, Any]) -> Decided:
    given = {**rule(), "cells": {"kind": "lora", "rank": 8}, **keys}
    given = {key: value for key, value in given.items() if value is not None}
    raw = study(4, 1).model_dump(mode="json", exclude_unset=True, by_alias=True)
    del raw["methods"]["same"]
    plan = type(study(1)).model_validate({**raw, "decisions": {"one": given}})
    (one,) = decide(plan, found, {}, {})
    return one


@pytest.mark.parametrize(
    ("optima", "expected", "ratio"),
    [
        ({"full": 1e-4, "r8": 1e-3}, "supported", 10),
        ({"full": 1e-4, "r8": 2e-4}, "contradicted", 2),
        ({"full": 3e-5, "r8": 1.5e-3}, "contradicted", 50),
    ],
)
def test_the_ratio_of_optima(optima: dict[str, float], expected: str, ratio: float) -> None:
    one = verdict(grid(4, optima, 0.0), OPTIMUM)
    assert one.verdict == expected
    assert one.tested
    assert one.tested.estimate == pytest.approx(np.log10(ratio), abs=0.03)


def test_an_optimum_on_the_edge_decides_nothing() -> None:
    one = verdict(grid(4, {"full": 1e-4, "r8": 3e-2}, 0.0), OPTIMUM)
    assert one.verdict == "undecided"
    assert "edge of its grid" in " ".join(one.reasons)


@pytest.mark.parametrize(("apart", "expected"), [(-0.1, "supported"), (0.1, "contradicted")])
def test_forgetting_at_matched_loss(apart: float, expected: str) -> None:
    """Both ways of matching find the planted difference, whatever each arm's own loss is."""
    one = verdict(grid(4, {"full": 1e-4, "r8": 1e-3}, apart), MATCHED)
    assert one.verdict == expected
    assert one.tested
    assert one.tested.estimate == pytest.approx(apart, abs=0.02)


def test_nothing_apart_at_matched_loss_is_undecided() -> None:
    one = verdict(grid(4, {"full": 1e-4, "r8": 1e-3}, 0.0, sd=0.02), MATCHED)
    assert one.verdict == "undecided"


SPEARMAN = {
    "claim": "LD3",
    "test": "spearman",
    "metric": "general-loss",
    "other": "intruders",
    "against": None,
    "cells": {"kind": "lora", "rank": [2, 8, 32]},
    "margin": 0.5,
    "supported": "higher",
    "contradicted": ["lower", "within"],
}


def cloud(inside: float, between: float) -> Observed:
    """Three methods of eight runs: general loss rises with the count by `inside` within a method,
    and by `between` from one method's mean to the next, whose counts are higher by 10."""
    rng = np.random.default_rng(5)
    runs, values = [], {}
    for place, arm in enumerate(("r2", "r8", "r32")):
        for seed in range(1, 9):
            label = f"s0/{arm}/long/s{seed}"
            step = float(rng.uniform(-3, 3))
            runs.append(Run(label, "s0", arm, "long", f"s{seed}", label, None, 4000.0, 1e5))
            values[label, "intruders"] = 10.0 * place + step
            values[label, "general-loss"] = between * place + inside * step + rng.normal(0, 0.01)
            values[label, "target-loss"] = 1.0
    return Observed(tuple(runs), values)


@pytest.mark.parametrize(
    ("inside", "between", "expected"),
    [(0.1, 1.0, "supported"), (-0.1, -1.0, "contradicted"), (-0.1, 1.0, "undecided")],
)
def test_a_correlation_that_turns_round_within_methods_decides_nothing(
    inside: float, between: float, expected: str
) -> None:
    one = verdict(cloud(inside, between), SPEARMAN)
    assert one.verdict == expected
    said = " ".join(one.reasons)
    assert ("the methods' means make it" in said) == (expected == "undecided")
