"""Branches: which cells leave which, what decides their weights, and what is refused up front."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from lora_ledger.scheduling.planning import plan
from lora_ledger.scheduling.staleness import science
from lora_ledger.study import cells
from lora_ledger.study.branches import leaving
from lora_ledger.study.file import StudyError, parse
from lora_ledger.study.schema import Study
from lora_ledger.study.training_inputs import decides

SETTING = {
    "corpus": "smoke-text",
    "regime": "cpt",
    "sequence_length": 50,
    "batch_size": 4,
    "schedule": {"name": "inverse-sqrt", "warmup": 0.1, "cooldown": 0.2},
}
RAW: dict[str, Any] = {
    "name": "ways",
    "title": "branches",
    "model": "tiny-random-llama",
    "seeds": [1, 2],
    "settings": {"code": SETTING},
    "methods": {"full": {"kind": "full", "learning_rates": [1e-3]}},
    "budgets": {
        "long": {"tokens": 100_000},
        "short": {"tokens": 25_000, "from": "long"},
        "hot": {"tokens": 90_000, "from": "long", "hot": True},
    },
}


def changed(**changes: Any) -> str:
    """The study with keys at dotted paths (`__` for the dot) set, or taken away where None."""
    raw = json.loads(json.dumps(RAW))
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = raw
        for key in parents:
            node = node.setdefault(key, {})
        node.pop(last) if value is None else node.update({last: value})
    return yaml.safe_dump(raw, sort_keys=False)


def study(**changes: Any) -> Study:
    return parse(changed(**changes))


def test_a_branch_knows_the_cell_that_it_leaves() -> None:
    found = {cell.label: cell.parent for cell in cells.cells(study())}
    assert found["code/full/long/s1"] is None
    assert found["code/full/short/s2"] == "code/full/long/s2"
    graded = study(settings__code__report="grid")
    rated = {cell.label: cell.parent for cell in cells.cells(graded)}
    assert rated["code/full/short/lr-1e-3/s1"] == "code/full/long/lr-1e-3/s1"
    assert leaving(graded, "code", "long") == ("short", "hot")
    assert [one.label for one in cells.branches(graded)["code/full/long/lr-1e-3/s2"]] == [
        "code/full/short/lr-1e-3/s2",
        "code/full/hot/lr-1e-3/s2",
    ]


def budget(plan: Study, name: str) -> dict[str, Any]:
    found: dict[str, Any] = decides(plan, "code", "full", name, 1, 1e-3)["budget"]
    return found


def test_the_trunk_decides_by_the_length_of_its_warm_up_alone() -> None:
    share = study()
    assert budget(share, "long") == {"tokens": 100_000}
    assert budget(share, "short") == {"tokens": 25_000, "from": {"tokens": 100_000}}
    assert budget(share, "hot") == {"tokens": 90_000, "hot": True, "from": {"tokens": 100_000}}
    steps = study(
        settings__code__schedule={"name": "inverse-sqrt", "warmup_steps": 3, "cooldown": 0.2}
    )
    assert budget(steps, "short") == {"tokens": 25_000}


def test_a_branch_moves_no_digest_of_its_trunk() -> None:
    names = {"setting": "code", "method": "full", "budget": "long", "seed": "1"}
    alone = study(budgets={"long": {"tokens": 100_000}})
    assert science(study(), "train", **names) == science(alone, "train", **names)


def test_a_constant_cool_down_that_equals_another_default_counts() -> None:
    """0.2 is the inverse square root's, and a constant rate has none where none is given."""
    names = {"setting": "code", "method": "full", "budget": "long", "seed": "1"}
    schedule, long = {"name": "constant", "warmup": 0.1}, {"long": {"tokens": 100_000}}
    plain = study(settings__code__schedule=schedule, budgets=long)
    cooled = study(settings__code__schedule=schedule | {"cooldown": 0.2}, budgets=long)
    assert science(plain, "train", **names) != science(cooled, "train", **names)
    told = [
        decides(one, "code", "full", "long", 1, 1e-3, defaults=True)["setting"]["schedule"]
        for one in (plain, cooled)
    ]
    assert [one["cooldown"] for one in told] == [0.0, 0.2]
    again = parse(yaml.safe_dump(cooled.model_dump(mode="json", exclude_defaults=True)))
    assert again == cooled
    assert science(again, "train", **names) == science(cooled, "train", **names)


def test_a_plan_counts_the_trunk_once(tmp_path: Any) -> None:
    """Of each seed 100,000 tokens, and a fifth of 25,000; the rate of `long` falls from 80,000 on,
    so 10,000 more for `hot`, which itself trains its last step of 4 times 50."""
    found = plan(study(), tmp_path)
    assert found.tokens == 2 * (100_000 + 5_000 + 10_000 + 200)
    assert found.jobs["trunk"] == (0, 4)
    assert found.jobs["train"] == (0, 6)
    steps = study(
        settings__code__schedule={"name": "inverse-sqrt", "cooldown_steps": 40}, budgets__hot=None
    )
    assert plan(steps, tmp_path).tokens == 2 * (100_000 + 40 * 4 * 50)
    folder = tmp_path / "trunk/code/full/short"
    folder.mkdir(parents=True)
    (folder / "s1.json").write_text("{}")
    assert plan(study(), tmp_path).jobs["trunk"] == (1, 4)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a branch longer than its trunk": (
        {"budgets__short__tokens": 100_001},
        "budgets.short.tokens: found 100001, expected fewer than the 100000 of its trunk long",
    ),
    "a branch as long as its trunk": (
        {"budgets__short__tokens": 100_000},
        "budgets.short.tokens: found 100000, expected fewer than the 100000 of its trunk long",
    ),
    "a hot branch longer than its trunk": (
        {"budgets__hot__tokens": 100_001},
        "budgets.hot.tokens: found 100001, expected at most the 100000 of its trunk long",
    ),
    "an unknown trunk": (
        {"budgets__short__from": "lomg"},
        "budgets.short.from: found 'lomg', expected a longer budget: .*; did you mean 'long'?",
    ),
    "its own trunk": (
        {"budgets__short__from": "short"},
        "budgets.short.from: found 'short', expected a longer budget: ",
    ),
    "a branch of a branch": (
        {"budgets__short__from": "hot"},
        "budgets.short.from: found 'hot', expected a budget that is no branch itself: long; did "
        "you mean 'long'?",
    ),
    "counted otherwise": (
        {"budgets__short": {"steps": 50, "from": "long"}},
        "budgets.short.steps: found 50, expected a number of tokens, as its trunk long counts them",
    ),
    "hot without a trunk": (
        {"budgets__hot": {"tokens": 10, "hot": True}},
        "budgets.hot.hot: found True, expected a budget with `from`, the longer one",
    ),
    "a misspelt key": (
        {"budgets__short": {"tokens": 10, "form": "long"}},
        "budgets.short.form: found an unknown key, expected one of .*; did you mean 'from'?",
    ),
    "a setting without the trunk": (
        {"settings__code__budgets": ["short"]},
        "settings.code.budgets: found ['short'], expected long among them, as short branches",
    ),
    "a trunk that is no CPT budget": (
        {
            "settings__words": SETTING | {"corpus": "smoke-words", "regime": "ift"},
        },
        "budgets.short.from: found 'long', expected a budget of the regime cpt, or `hot: true`, "
        "as settings.words is of the regime ift",
    ),
    "a cosine": (
        {"settings__code__schedule": {"name": "cosine"}},
        "settings.code.schedule.name: found 'cosine', expected constant or inverse-sqrt, as short "
        "branches off the run of long",
    ),
    "a cosine of a method": (
        {"methods__full__schedule": {"name": "cosine"}},
        "methods.full.schedule.name: found 'cosine', expected constant or inverse-sqrt",
    ),
    "a tuning budget on a cosine": (
        {
            "settings__code": {"corpus": "smoke-text", "regime": "cpt", "budgets": ["long"]}
            | {"tuning_budget": "short"}
        },
        "settings.code.schedule.name: found 'cosine', expected constant or inverse-sqrt",
    ),
    "a constant rate without a cool-down": (
        {"settings__code__schedule": {"name": "constant"}},
        "settings.code.schedule.cooldown: found None, expected the share of its own steps over "
        "which short cools down, or `hot: true` in budgets.short",
    ),
    "a cool-down that a cosine ignores": (
        {"settings__code__schedule": {"name": "cosine", "cooldown": 0.1}},
        "settings.code.schedule.cooldown: found 0.1, expected a key that cosine reads: warmup, "
        "warmup_steps, final",
    ),
    "a cool-down that a method's cosine ignores": (
        {"methods__full__schedule": {"name": "cosine", "cooldown_steps": 3}},
        "methods.full.schedule.cooldown_steps: found 3, expected a key that cosine reads, as "
        "settings.code has it trained: ",
    ),
    "an end that an inverse root ignores": (
        {"settings__code__schedule__final": 0.1},
        "settings.code.schedule.final: found 0.1, expected a key that inverse-sqrt reads: ",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_before_any_compute(what: str) -> None:
    changes, said = REFUSED[what]
    pattern = re.escape(said).replace(r"\.\*", ".*")
    with pytest.raises(StudyError, match=pattern):
        study(**changes)


def test_what_may_be() -> None:
    """Hot branches of any regime, one as long as its trunk, and a cool-down of a method's own."""
    words = SETTING | {"corpus": "smoke-words", "regime": "ift", "budgets": ["long", "hot"]}
    study(settings__words=words)
    study(budgets__hot__tokens=100_000)
    constant = {"name": "constant", "cooldown_steps": 7}
    study(settings__code__schedule={"name": "constant"}, methods__full__schedule=constant)
    hot = {"name": "constant"}
    study(settings__code__schedule=hot, settings__code__budgets=["long", "hot"])


def test_a_method_that_depends_on_the_runs_length_has_no_branches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lora_ledger.methods.full import FullMethod

    monkeypatch.setattr(FullMethod, "depends_on_length", True)
    with pytest.raises(
        StudyError, match=r"settings\.code\.methods: found 'full', expected a method"
    ):
        study()
