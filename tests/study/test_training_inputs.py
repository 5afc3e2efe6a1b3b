"""What decides a cell's weights: each key stands on one side, and values are resolved."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lora_ledger.study.schema import Setting, Study
from lora_ledger.study.training_inputs import DECIDES, DECIDES_NOT, decides
from tiny_study import STUDY


def of(study: Study, method: str = "lora", **names: Any) -> dict[str, Any]:
    asked = {"setting": "ift", "budget": "short", "seed": 1, "rate": 3e-3, **names}
    return decides(study, method=method, **asked)


def with_setting(**keys: Any) -> Study:
    ift = STUDY["settings"]["ift"] | keys
    return Study.model_validate(STUDY | {"settings": STUDY["settings"] | {"ift": ift}})


def test_each_key_of_a_setting_is_declared_on_one_side() -> None:
    """A key that nobody declared would let a run go on from the checkpoint of another one."""
    assert not DECIDES & DECIDES_NOT
    assert set(Setting.model_fields) == DECIDES | DECIDES_NOT, (
        "say in study/training_inputs.py whether the key decides the weights"
    )


def test_values_are_resolved_and_defaults_left_out() -> None:
    found = of(Study.model_validate(STUDY))
    assert found == {
        "setting": {
            "regime": "ift",
            "sequence_length": 32,
            "batch_size": 4,
            "validation_examples": 4,
            "validation_points": 1,
        },
        "method": {"kind": "lora", "rank": 4, "dropout": 0.1, "alpha": 8.0},
        "budget": {"tokens": 600},
        "seed": 1,
        "learning_rate": 3e-3,
    }
    json.dumps(found)
    assert "learning_rate" not in of(Study.model_validate(STUDY), rate=None)
    assert of(Study.model_validate(STUDY), method="full")["method"] == {"kind": "full"}


def test_a_value_that_is_the_default_says_nothing_new() -> None:
    plain = Study.model_validate(STUDY)
    assert of(with_setting(max_grad_norm=1.0, schedule={"warmup": 0.1})) == of(plain)
    alpha = STUDY["methods"]["lora"] | {"alpha": 8, "rslora": False}
    methods = STUDY["methods"] | {"lora": alpha}
    assert of(Study.model_validate(STUDY | {"methods": methods})) == of(plain)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sequence_length", 64),
        ("micro_batch_size", 1),
        ("optimiser", {"weight_decay": 0.1}),
        ("schedule", {"name": "constant"}),
        ("max_grad_norm", 0.5),
        ("validation_points", 0),
    ],
)
def test_what_decides_shows(key: str, value: Any) -> None:
    assert of(with_setting(**{key: value})) != of(Study.model_validate(STUDY))


def test_what_does_not_decide_does_not_show() -> None:
    other = with_setting(role="control", methods=["lora"], tuning_budget="short")
    assert of(other) == of(Study.model_validate(STUDY))
    elsewhere = STUDY | {"compute": {"device": "cpu", "threads": 2}, "checkpoint_steps": 9}
    assert of(Study.model_validate(elsewhere)) == of(Study.model_validate(STUDY))


def test_with_defaults_all_that_decides_is_there() -> None:
    found = of(Study.model_validate(STUDY), defaults=True)
    assert set(found["setting"]) == DECIDES
    assert found["setting"]["micro_batch_size"] == 2
    assert found["setting"]["schedule"]["final"] == 0.01
    assert found["method"]["init"] == "default"
    assert found["method"]["alpha"] == 8.0
