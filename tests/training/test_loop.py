"""The loop: what a step averages over, what all arms share, and when it stops."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_ledger.study.schema import Study
from lora_ledger.training import batching, run
from lora_ledger.training.loop import CellTrainer
from lora_ledger.training.regimes import Regime
from tiny_study import STUDY


def variant(**changes: Any) -> Study:
    """The study with other values in both settings."""
    settings = {name: s | changes for name, s in STUDY["settings"].items()}
    return Study.model_validate(STUDY | {"settings": settings})


def weights(model: Any) -> torch.Tensor:
    return torch.cat([w.detach().flatten() for w in model.parameters() if w.requires_grad])


@pytest.mark.slow
def test_accumulation_equals_one_big_batch(job: Any) -> None:
    """Responses differ in length: a mean of micro-batch means would be another loss."""
    constant = {
        "schedule": {"name": "constant", "warmup": 0},
        "optimiser": {"name": "adamw", "eps": 1.0},
    }
    one, other = (
        run.train(variant(micro_batch_size=size, **constant), job("full", "ift", f"w{size}"), "x")
        for size in (1, 4)
    )
    steps, tokens, nats = zip(*one.results["loss_curve"], strict=True)
    assert len(steps) > 5
    assert (steps, tokens) == tuple(zip(*other.results["loss_curve"], strict=True))[:2]
    assert [nats for _, _, nats in other.results["loss_curve"]] == pytest.approx(nats, rel=1e-6)
    assert torch.allclose(weights(one.model), weights(other.model), rtol=0, atol=1e-6)


def test_one_step_against_plain_torch(job: Any, tiny_model: Path) -> None:
    """Loss, clipping and AdamW written out: all 24 examples, one by one, in one step."""
    study = variant(
        batch_size=24,
        micro_batch_size=4,
        max_grad_norm=0.5,
        schedule={"name": "constant", "warmup": 0},
    )
    this = job("full", "ift")
    from datasets import load_from_disk

    examples = batching.read_examples(load_from_disk(str(this.data / "train")))
    tokens = sum(e.loss_tokens for e in examples)
    study = Study.model_validate(
        {**study.model_dump(mode="json", exclude_unset=True), "budgets": {"short": {"tokens": 1}}}
    )
    outcome = run.train(study, this, "x")
    assert outcome.results["steps"] == 1
    assert outcome.results["tokens"] == tokens

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    adamw = torch.optim.AdamW(model.parameters(), lr=this.rate, betas=(0.9, 0.95), weight_decay=0)
    total = torch.zeros(())
    for example in examples:
        ids = torch.tensor([example.input_ids])
        labels = ids.clone()
        labels[:, : example.prompt_length] = -100
        total = total + model(input_ids=ids, labels=labels).loss * example.loss_tokens
    (total / tokens).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    before = weights(model)
    adamw.step()
    assert outcome.results["loss_curve"][0][2] == pytest.approx(
        float(total.detach()) / tokens, rel=1e-6
    )
    # Adam's first step is the rate times the sign, which a gradient near 0 leaves open.
    close = (weights(outcome.model) - weights(model)).abs() < 1e-5
    assert close.float().mean() > 0.999
    assert float((weights(outcome.model) - before).abs().max()) == pytest.approx(3e-3, rel=1e-3)


@pytest.mark.slow
def test_all_arms_see_the_same_examples_in_the_same_order(
    study: Study, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[Any]] = {}
    original = CellTrainer.compute_loss

    def look(self: Any, model: Any, inputs: Any, **kwargs: Any) -> Any:
        seen[method].append(inputs["input_ids"].tolist())
        return original(self, model, inputs, **kwargs)

    monkeypatch.setattr(CellTrainer, "compute_loss", look)
    curves = {}
    for method in ("full", "full-linear", "lora", "pissa"):
        seen[method] = []
        results = run.train(study, job(method, "ift", method), "x").results
        curves[method] = [tokens for _, tokens, _ in results["loss_curve"]]
    assert len(seen["full"]) > 10
    for method in seen:
        assert seen[method] == seen["full"]
        assert curves[method] == curves["full"]


@pytest.mark.slow
def test_training_learns_and_starts_from_the_base(study: Study, job: Any) -> None:
    ends = {}
    for method in ("full", "lora"):
        validation = run.train(study, job(method, work=method), "x").results["validation"]
        assert sum(validation["end"]) < sum(validation["start"])
        assert [step for step, _, _ in validation["curve"]] == [0, 2, 5]
        assert validation["tokens"] == [31] * 4
        assert validation["curve"][-1][2] == pytest.approx(sum(validation["end"]) / 124)
        ends[method] = validation
    assert ends["full"]["start"] == ends["lora"]["start"]


@pytest.mark.slow
def test_dropout_is_off_in_validation_and_on_in_training(study: Study, job: Any) -> None:
    dry = Study.model_validate(
        STUDY | {"methods": {"lora": STUDY["methods"]["lora"] | {"dropout": 0.0}}}
    )
    with_dropout = run.train(study, job("lora", work="a"), "x").results
    without = run.train(dry, job("lora", work="b"), "x").results
    assert with_dropout["validation"]["start"] == without["validation"]["start"]
    # B is 0 in the first step, so dropout shows from the second on.
    assert with_dropout["loss_curve"][0] == without["loss_curve"][0]
    assert with_dropout["loss_curve"][2] != without["loss_curve"][2]


def test_a_rate_that_is_too_high_diverges(study: Study, job: Any) -> None:
    outcome = run.train(study, job("full", rate=1.0), "x")
    assert outcome.diverged
    assert outcome.results["steps"] < 5
    assert outcome.results["validation"]["end"] == []
    assert len(outcome.results["loss_curve"]) == outcome.results["steps"]


@pytest.mark.parametrize(("batch", "steps"), [(4, 8), (24, 12)])
def test_a_model_that_answers_every_batch_alike_has_diverged(
    batch: int, steps: int, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 24 examples in each step are the same batch, whose loss may well stand still."""

    def constant(self: Any, model: Any, inputs: Any) -> torch.Tensor:
        return 0 * model(**inputs).loss + 5 * inputs["loss_mask"].sum()

    monkeypatch.setattr(Regime, "loss", constant)
    study = Study.model_validate(
        variant(batch_size=batch).model_dump(mode="json", exclude_defaults=True)
        | {"budgets": {"short": {"steps": 12}}}
    )
    outcome = run.train(study, job("full"), "x")
    assert outcome.diverged is (batch == 4)
    assert outcome.results["steps"] == steps


def test_settings_hold_what_decides_the_numbers(study: Study, job: Any) -> None:
    settings = run.settings_of(study, job("lora"))
    assert settings["method"]["alpha"] == 8
    assert settings["learning_rate"] == 3e-3
    assert (settings["device"], settings["train"]) == ("cpu", "fp32")
    assert "learning_rates" not in settings["method"]
    changed = Study.model_validate(STUDY | {"checkpoint_steps": 7, "title": "other"})
    assert run.settings_of(changed, job("lora")) == settings
    assert run.settings_of(study, replace(job("lora"), seed=2)) != settings
    json.dumps(settings)
