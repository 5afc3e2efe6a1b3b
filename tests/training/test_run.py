"""Arms trained from files to numbers: what must agree with what, step by step."""

from __future__ import annotations

import json
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from lora_ledger.stages.train import train
from lora_ledger.study.schema import Study
from lora_ledger.training import run
from tiny_study import STUDY


def study(method: dict[str, Any], backend: str = "fast", **setting: Any) -> Study:
    """The study with one method, `arm`."""
    where = STUDY["compute"] | {"backend": backend}
    settings = {name: one | setting for name, one in STUDY["settings"].items()}
    own = {"arm": {"learning_rates": [3e-3], **method}}
    return Study.model_validate(STUDY | {"compute": where, "methods": own, "settings": settings})


def losses(study: Study, job: Any, setting: str = "cpt", work: str = "work") -> list[float]:
    """Training losses and means of the validation, in turn; the rate is the arm's own."""
    (rate,) = study.methods["arm"].learning_rates or ()
    results = run.train(study, job("arm", setting, work, rate), "x").results
    return [loss for _, _, loss in results["loss_curve"] + results["validation"]["curve"]]


def lora(p: float = 1, q: float = 1, eps: float = 1e-8, **keys: Any) -> dict[str, Any]:
    """A LoRA whose A starts p times as large and whose rates are p and q times as high; alpha makes
    up for both."""
    return {
        "kind": "lora",
        "rank": 4,
        "dropout": 0.1,
        "alpha": 8 / (p * q),
        "init_scale": p,
        "learning_rates": [3e-3 * p],
        "learning_rate_ratio": q / p,
        "optimiser": {"eps": eps},
        # A norm is of the gradients themselves, which are 1 / p and 1 / q times as large.
        "max_grad_norm": 1e6,
        **keys,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("p", "q", "eps", "tolerance"),
    # Powers of two shift exponents and round nothing; eps shrinks with both gradients where p is q,
    # and is all but 0 elsewhere.
    [(4, 4, 1e-8 / 4, 0.0), (8, 0.5, 1e-16, 1e-5), (3, 5, 1e-16, 1e-5)],
)
def test_a_lora_has_two_knobs_and_not_four(
    p: float, q: float, eps: float, tolerance: float, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schulman et al. 2025, "Parametrization invariances": under Adam training stays the same with
    alpha / (p q), A's start and rate times p, and B's rate times q."""
    monkeypatch.setitem(STUDY, "budgets", {"short": {"steps": 50}})
    reference = losses(study(lora(eps=1e-8 if p == q else 1e-16)), job, work="one")
    same = losses(study(lora(p, q, eps)), job, work="two")
    largest = max(abs(a - b) for a, b in zip(reference, same, strict=True))
    print(f"p {p}, q {q}: largest difference of a loss over 50 steps: {largest:.3g}")
    assert len(reference) == 50 + 3
    assert reference[49] < reference[0] - 0.1
    assert largest <= tolerance
    # With one of the four left as it was it is another training.
    for key, value in (("init_scale", 1), ("learning_rate_ratio", 1), ("alpha", 8.0)):
        if lora(p, q)[key] != value:
            other = losses(study(lora(p, q, eps, **{key: value})), job, work=key)
            assert max(abs(a - b) for a, b in zip(reference, other, strict=True)) > 1e-3


ARMS: dict[str, dict[str, Any]] = {
    "attention dropout": {"kind": "full", "attention_dropout": 0.3},
    "last block": {"kind": "full", "layers": "last-1"},
    "most is frozen": {"kind": "full-linear", "freeze": 0.9},
    "b-only": {"kind": "lora", "rank": 4, "dropout": 0.0, "train": "b-only"},
    "b of the last block": {
        "kind": "lora",
        "rank": 4,
        "dropout": 0.0,
        "train": "b-only",
        "layers": "last-1",
    },
    "milora": {"kind": "lora", "rank": 4, "dropout": 0.0, "init": "milora"},
    "lora+": {"kind": "lora", "rank": 4, "dropout": 0.0, "learning_rate_ratio": 8},
}


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
def test_the_two_paths_agree(arm: str, job: Any) -> None:
    """One example at a time, so that both paths draw the same entries of attention to drop."""
    fast, slow = (
        losses(study(ARMS[arm], backend, micro_batch_size=1), job, work=backend)
        for backend in ("fast", "plain")
    )
    assert len(fast) > 5
    assert slow == pytest.approx(fast, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_attention_is_dropped_in_training_alone(kind: str, job: Any) -> None:
    more = {"rank": 4, "dropout": 0.0} if kind == "lora" else {}
    none, zero, some = (
        run.train(study({"kind": kind, **more, **keys}), job("arm", "ift", str(keys)), "x").results
        for keys in ({}, {"attention_dropout": 0.0}, {"attention_dropout": 0.3})
    )
    assert zero["loss_curve"] == none["loss_curve"]
    assert zero["validation"] == none["validation"]
    # The model has not moved yet: the step's loss differs, what is measured of it does not.
    assert some["validation"]["start"] == none["validation"]["start"]
    first, other = some["loss_curve"][0][2], none["loss_curve"][0][2]
    assert 1e-4 < abs(first - other) < 0.2


def test_attention_dropout_is_no_part_of_a_saved_model(
    job: Any, tiny_model: Any, tmp_path: Any
) -> None:
    arm = study({"kind": "full", "attention_dropout": 0.3})
    train(arm, job("arm"), tmp_path / "out")
    saved = json.loads((tmp_path / "out/model/config.json").read_text())
    source = json.loads((tiny_model / "config.json").read_text())
    assert saved["attention_dropout"] == source["attention_dropout"] == 0.0
    adapter = study({"kind": "lora", "rank": 2, "attention_dropout": 0.3})
    train(adapter, job("arm", work="other"), tmp_path / "adapter")
    assert "attention" not in (tmp_path / "adapter/adapter/adapter_config.json").read_text()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out/model")
    assert all(block.self_attn.attention_dropout == 0 for block in model.model.layers)


def test_what_trains_is_recorded_without_what_is_frozen(job: Any) -> None:
    arm = study({"kind": "full-linear", "freeze": 0.95, "layers": "last-1"})
    results = run.train(arm, job("arm"), "x").results
    config = json.loads((job("arm").model / "config.json").read_text())
    method = arm.methods["arm"]
    assert results["parameters"]["trainable"] == method.trainable_parameters(config)
    assert method.held_parameters(config) > 10 * method.trainable_parameters(config)
    assert results["flops_per_token"] == method.flops_per_token(config, 32)
