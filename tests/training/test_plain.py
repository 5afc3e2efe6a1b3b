"""A run on the plain path against the same run on the fast one, from files to numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lora_ledger.study.schema import Study
from lora_ledger.training import plain, run
from lora_ledger.training.batching import Example
from tiny_study import STUDY


def study(backend: str, dropout: float = 0.0, **compute: Any) -> Study:
    methods = {
        name: method | ({"dropout": dropout} if method["kind"] == "lora" else {})
        for name, method in STUDY["methods"].items()
    }
    where = STUDY["compute"] | {"backend": backend, **compute}
    return Study.model_validate(STUDY | {"compute": where, "methods": methods})


def losses(results: dict[str, Any]) -> list[float]:
    curves = results["loss_curve"] + results["validation"]["curve"]
    return [loss for _, _, loss in curves]


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["cpt", "ift"])
@pytest.mark.parametrize("method", ["full", "lora", "pissa"])
def test_losses_agree_step_by_step(job: Any, method: str, setting: str) -> None:
    fast, slow = (
        run.train(study(backend), job(method, setting, backend), "x").results
        for backend in ("fast", "plain")
    )
    assert fast["steps"] > 4
    assert slow["tokens"] == fast["tokens"]
    assert [tokens for _, tokens, _ in slow["loss_curve"]] == [
        tokens for _, tokens, _ in fast["loss_curve"]
    ]
    assert losses(slow) == pytest.approx(losses(fast), abs=1e-5)
    for name in ("start", "end"):
        assert slow["validation"][name] == pytest.approx(fast["validation"][name], abs=1e-3)


@pytest.mark.slow
def test_gradient_checkpointing_changes_nothing(job: Any) -> None:
    one, other = (
        run.train(study("plain", gradient_checkpointing=on), job("lora", "ift", f"w{on}"), "x")
        for on in (False, True)
    )
    assert losses(one.results) == losses(other.results)


@pytest.mark.slow
def test_bf16_follows_and_dropout_is_on(job: Any) -> None:
    """Autocast rounds in other places, and other entries are dropped: near, and not equal."""
    half = {"precision": {"train": "bf16", "evaluate": "fp32"}}
    fast, slow = (
        losses(run.train(study(backend, **half), job("lora", "ift", backend), "x").results)
        for backend in ("fast", "plain")
    )
    assert slow != fast
    assert slow == pytest.approx(fast, abs=0.02)
    dropped = losses(run.train(study("plain", 0.3), job("lora", "ift", "dropped"), "x").results)
    kept = losses(run.train(study("plain"), job("lora", "ift", "kept"), "x").results)
    assert dropped[0] == kept[0]
    assert dropped[3] != kept[3]


def test_nothing_is_installed(job: Any) -> None:
    model = run.train(study("plain"), job("full"), "x").model
    assert all("forward" not in module.__dict__ for module in model.modules())
    assert model.config._attn_implementation == "sdpa"


def test_settings_name_the_path(job: Any) -> None:
    """vLLM answers evaluations alone: training is the fast path there."""
    named = {
        backend: run.settings_of(study(backend, device="auto"), job("full"))["backend"]
        for backend in ("plain", "fast", "vllm")
    }
    assert named == {"plain": "plain", "fast": "fast", "vllm": "fast"}


def test_batches_are_padded_and_labelled() -> None:
    batch = plain.collate([Example([5, 6, 7, 8], 2, 0), Example([9, 10], 0, 0)])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [9, 10, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 7, 8], [-100, 10, -100, -100]]
    assert plain.loss_tokens(batch) == 3
    assert batch["labels"].dtype == torch.long
