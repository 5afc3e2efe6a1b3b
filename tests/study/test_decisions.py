"""Rules that cannot work are refused before anything runs, and properties choose methods."""

from __future__ import annotations

from typing import Any

import pytest

from lora_ledger.study.decided import check, means
from lora_ledger.study.decisions import Bounds, Methods
from lora_ledger.study.file import load
from planted_runs import decision, rule, study


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"metric": "target-los"}, r"metric: found 'target-los'.*did you mean 'target-loss'"),
        ({"version": 2}, r"reason: found '', expected why version 2"),
        ({"margin": "5 percent"}, r"margin: found '5 percent', expected a number, or a share"),
        ({"supported": "within"}, r"supported: found 'within', expected a word of this test"),
        ({"contradicted": ["higher"]}, r"contradicted: found \['higher'\], expected words that"),
        ({"along": "rank"}, r"along: found 'rank', expected no such key with the test difference"),
        ({"test": "trend"}, r"along: found None, expected this key, since the test is trend"),
        ({"test": "trend", "along": "budget"}, r"where.budget: found 'longest', expected all"),
        ({"test": "exact"}, r"supported: found 'higher', expected a word of this test"),
        ({"against": None}, r"against: found None, expected this key"),
    ],
)
def test_keys_that_do_not_go_together(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decision(**keys)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"metric": "recall"}, r"decisions.one.metric: found 'recall', expected what this study"),
        ({"cells": {"kind": "lorra"}}, r"decisions.one.cells.kind: found 'lorra'.*did you mean"),
    ],
)
def test_what_this_study_cannot_decide_by(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check(study(3, one=rule(**keys)))


def test_a_trend_needs_two_budgets() -> None:
    trend = rule(test="trend", along="budget", where={"budget": "all"})
    plan = study(3, one=trend)
    check(plan)
    with pytest.raises(ValueError, match=r"decisions.one.where: found .*two budgets or more"):
        check(plan.model_copy(update={"budgets": {"short": plan.budgets["short"]}}))


def test_at_most_twelve_are_primary() -> None:
    check(study(3, **{f"a{i}": rule(primary=True) for i in range(12)}))
    with pytest.raises(ValueError, match="decisions: found 13, expected at most 12"):
        check(study(3, **{f"a{i}": rule(primary=True) for i in range(13)}))


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"kind": "full"}, ["full"]),
        ({"kind": "lora"}, ["lora-r2"]),
        ({"kind": "lora", "times": 10, "modules": "attention"}, ["lora-at-full"]),
        ({"kind": "lora", "keys": {"dora": True}}, ["lora-dora"]),
        ({"kind": "lora", "keys": {"init": "pissa"}, "rank": Bounds(most=2)}, ["lora-pissa"]),
        ({"kind": ("full", "full-linear"), "share": {"most": 0.9}}, ["full-linear"]),
        ({"kind": "lora", "rank": 3}, []),
        ({"kind": "lora", "alpha_over_rank": 2}, ["lora-r2"]),
    ],
)
def test_methods_are_chosen_by_what_they_are(chosen: dict[str, Any], expected: list[str]) -> None:
    smoke = load("smoke")
    config = smoke.model_entry().config
    wanted = Methods.model_validate(chosen)
    assert [n for n, m in smoke.methods.items() if means(wanted, m, config)] == expected


def test_a_digest_is_of_the_rule_alone() -> None:
    """Prose and keys at their default are left out; whatever decides is in it."""
    first = decision().digest
    assert first == decision(reason="as it was", over="mean").digest
    changed = ({"margin": 0.1}, {"primary": True}, {"over": "each"}, {"version": 2, "reason": "x"})
    assert len({first, *(decision(**keys).digest for keys in changed)}) == 5
