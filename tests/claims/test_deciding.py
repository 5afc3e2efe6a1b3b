"""Verdicts on planted runs whose truth is known, and how often a false one is given."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lora_ledger.analysis.statistics import wilson
from lora_ledger.claims.committed import Commitment
from lora_ledger.claims.deciding import Decided, decide
from lora_ledger.claims.observed import Observed
from planted_runs import observed, rule, shuffled, study

CONFIG: dict[str, Any] = {}
WORSE = {"r2": 0.08, "r8": 0.05, "r32": 0.03, "same": 0.05}
EITHER = {"supported": "higher", "contradicted": "lower"}


def verdict(keys: dict[str, Any], found: Observed | None = None, **more: Any) -> Decided:
    plan = study(more.pop("seeds", 4), more.pop("settings", 2), one=rule(**keys))
    made = found or observed(plan, np.random.default_rng(1), WORSE, **more)
    (one,) = decide(plan, made, CONFIG, {})
    return one


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"primary": True}, "supported"),
        ({"primary": True, "supported": "lower", "contradicted": "higher"}, "contradicted"),
        ({"over": "each"}, "supported"),
        # The effects are 0.08 to 0.03 of a gain of 1: r2 alone is beyond 6 %, none beyond 20 %.
        ({"over": "each", "margin": "6% of gain"}, "undecided"),
        ({"margin": "20% of gain", "contradicted": ["lower", "within"]}, "contradicted"),
        ({"margin": 0.2, "supported": "within"}, "supported"),
        ({"test": "signs"}, "supported"),
        ({"test": "trend", "along": "rank", "supported": "lower", "contradicted": "higher"},
         "supported"),
        ({"test": "page", "along": "rank", "supported": "lower", "contradicted": "higher"},
         "supported"),
        ({"cells": {"kind": "lora", "rank": 8, "keys": {"seed_offset": 1000}},
          "against": {"kind": "lora", "rank": 8}}, "undecided"),
        ({"cells": {"kind": "lora", "keys": {"dora": True}}}, "not run"),
        ({"where": {"regime": "ift"}}, "not run"),
        ({"test": "matched", "where": {"budget": "all"}}, "not run"),
    ],
)  # fmt: skip
def test_a_planted_truth_is_told(keys: dict[str, Any], expected: str) -> None:
    one = verdict(keys)
    assert (one.verdict, one.reasons and one.reasons[0][:7]) == (
        expected,
        {"undecided": "needed:", "not run": "missing"}.get(expected, ()),
    )


def test_the_estimate_is_that_of_a_paired_t_by_hand() -> None:
    """One arm against one, the residual of the five arms of one setting: closed form."""
    plan = study(4, 1, one=rule(cells={"kind": "lora", "rank": 2}))
    made = observed(plan, np.random.default_rng(3), WORSE)
    (one,) = decide(plan, made, CONFIG, {})
    names = ["r2", "full", "r8", "r32", "same"]
    y = np.array(
        [[made.value(f"s0/{a}/long/s{s}", "target-loss") for a in names] for s in plan.seeds]
    )
    left = y - y.mean(0) - y.mean(1, keepdims=True) + y.mean()
    assert one.tested
    assert one.tested.estimate == pytest.approx(float(np.mean(y[:, 0] - y[:, 1])), rel=1e-9)
    assert one.tested.df == 12
    assert one.tested.se == pytest.approx(math.sqrt((left**2).sum() / 12 * 2 / 4), rel=1e-9)


def test_settings_on_bases_of_their_own_are_held_against_them() -> None:
    """A block that one setting lacks counts by the others: a paired t over blocks, by hand."""
    plan = study(4, 2, one=rule(cells={"kind": "lora", "rank": 2}, against="base"))
    made = observed(plan, np.random.default_rng(3), WORSE)
    runs = tuple(run for run in made.runs if (run.setting, run.block) != ("s1", "s4"))
    values = {**made.values, ("base", "target-loss"): 1.0}
    (one,) = decide(plan, Observed(runs, values), CONFIG, {})
    apart = [
        np.mean(
            [values[f"s{i}/r2/long/s{seed}", "target-loss"] - 1 for i in range(2 - (seed == 4))]
        )
        for seed in plan.seeds
    ]
    assert one.tested
    assert (one.tested.n, one.tested.df) == (4, 3)
    assert one.tested.estimate == pytest.approx(float(np.mean(apart)))
    assert one.tested.se == pytest.approx(float(np.std(apart, ddof=1)) / 2)


def test_a_slope_is_told_along_budgets() -> None:
    """The gap doubles with four times the tokens: 0.02 a doubling."""
    keys = {"test": "trend", "along": "budget", "where": {"budget": "all"}}
    short, long = dict.fromkeys(WORSE, 0.03), dict.fromkeys(WORSE, 0.07)
    one = verdict(keys, seeds=6, settings=3, sd=0.002, short=short, long=long)
    assert one.verdict == "supported"
    assert one.tested
    assert one.tested.estimate == pytest.approx(0.02, abs=0.003)


def test_a_primary_rule_needs_eight_degrees_of_freedom() -> None:
    one = verdict({"primary": True}, seeds=2, settings=1)
    assert one.verdict == "undecided"
    assert "residual degrees of freedom, and a primary test needs 8" in one.reasons[0]
    one = verdict({"primary": True}, seeds=1, settings=1)
    assert one.verdict == "undecided"
    assert one.reasons[0].endswith("needed: 2 blocks or more, for a spread")


@pytest.mark.parametrize(
    ("when", "expected"), [("post hoc", "undecided"), ("unknown", "supported")]
)
def test_a_rule_after_its_records_decides_nothing(when: Any, expected: str) -> None:
    plan = study(4, 2, one=rule(primary=True))
    made = observed(plan, np.random.default_rng(1), WORSE)
    since = {"one": Commitment(when, None, "why")}
    (one,) = decide(plan, made, CONFIG, since)
    assert one.verdict == expected
    assert "why" in " ".join(one.reasons)


def test_a_test_that_does_not_hold_may_not_decide() -> None:
    plan = study(4, 2, one=rule())
    made = observed(plan, np.random.default_rng(1), WORSE)
    asked: list[tuple[str, int, int]] = []

    def no(test: str, seeds: int, items: int) -> bool:
        asked.append((test, seeds, items))
        return False

    (one,) = decide(plan, made, CONFIG, {}, no)
    assert one.verdict == "undecided"
    assert asked == [("blocked, mean over settings", 4, 0)]
    assert "measured coverage" in one.reasons[0]


def test_primary_rules_are_corrected_by_holm_and_others_apart() -> None:
    plan = study(4, 2, a=rule(primary=True), b=rule(primary=True, test="signs"), c=rule())
    made = observed(plan, np.random.default_rng(1), {"r2": 0.01}, sd=0.02)
    a, b, c = decide(plan, made, CONFIG, {})
    low, high = sorted((a.p, b.p))
    assert sorted((a.adjusted, b.adjusted)) == pytest.approx(
        [min(1.0, 2 * low), min(1.0, max(2 * low, high))]
    )
    assert c.adjusted == c.p


FALSE: dict[str, dict[str, Any]] = {
    "difference": {"primary": True},
    "signs": {"test": "signs"},
    "trend": {"test": "trend", "along": "rank"},
    "page": {"test": "page", "along": "rank"},
}


@pytest.mark.slow
@pytest.mark.parametrize("test", FALSE)
def test_shuffled_labels_give_few_false_verdicts(test: str) -> None:
    """1,000 exchanges of labels within blocks of data in which the arms do differ."""
    plan = study(4, 2, one=rule(**FALSE[test]))
    rng = np.random.default_rng(11)
    made = observed(plan, rng, WORSE)
    false = 0
    for _ in range(1000):
        (one,) = decide(plan, shuffled(made, rng), CONFIG, {})
        false += one.verdict in ("supported", "contradicted")
    found = wilson(false, 1000)
    print(f"{test}: {false} of 1,000 false verdicts [{found.low:.3f}, {found.high:.3f}]")
    assert found.low <= 0.05


@pytest.mark.slow
def test_an_arm_against_itself_gives_few_false_verdicts() -> None:
    """The same method under a second name, whose draws are another seed's: 1,000 studies."""
    keys = {
        "cells": {"kind": "lora", "rank": 8, "keys": {"seed_offset": 1000}},
        "against": {"kind": "lora", "rank": 8},
    }
    plan = study(4, 2, one=rule(primary=True, **keys))
    rng = np.random.default_rng(12)
    false = 0
    for _ in range(1000):
        (one,) = decide(plan, observed(plan, rng, WORSE), CONFIG, {})
        false += one.verdict in ("supported", "contradicted")
    found = wilson(false, 1000)
    print(f"A/A: {false} of 1,000 false verdicts [{found.low:.3f}, {found.high:.3f}]")
    assert found.low <= 0.05
