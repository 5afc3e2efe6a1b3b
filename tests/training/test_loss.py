"""The loss against the model's own, and its average over an accumulation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_ledger import methods
from lora_ledger.study import FullMethod, LoraMethod
from lora_ledger.training.batching import Example, collate
from lora_ledger.training.loss import summed_nats, token_nats

from .conftest import rows


@pytest.fixture
def model(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


@pytest.fixture
def examples() -> list[Example]:
    return [Example(**row) for row in rows("ift", 8, 5)]


def by_hand(model: Any, example: Example) -> float:
    """One sequence, no padding, log-softmax in double precision, position by position."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([example.input_ids])).logits[0].double()
    first = max(1, example.prompt_length)
    return -sum(
        float(torch.log_softmax(logits[t - 1], 0)[example.input_ids[t]])
        for t in range(first, len(example.input_ids))
    )


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_summed_nats_are_those_of_single_sequences(
    model: Any, examples: list[Example], batch_size: int
) -> None:
    expected = [by_hand(model, example) for example in examples]
    assert summed_nats(model, examples, batch_size, "cpu", "fp32") == pytest.approx(
        expected, abs=1e-4
    )


def test_chunks_change_neither_loss_nor_gradient(model: Any, examples: list[Example]) -> None:
    methods.apply(model, FullMethod(kind="full", learning_rates=(1e-3,)), 0)
    gradients = []
    for chunk in (3, 10_000):
        model.zero_grad()
        token_nats(model, collate(examples), chunk).sum().backward()
        gradients.append(torch.cat([w.grad.flatten() for w in model.parameters()]))
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-5, atol=1e-5)
    model.zero_grad()
    batch = collate(examples)
    labels = batch["input_ids"].masked_fill(~batch["loss_mask"], -100)
    tokens = int(batch["loss_mask"].sum())
    out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels)
    (out.loss * tokens).backward()
    theirs = torch.cat([w.grad.flatten() for w in model.parameters()])
    assert torch.allclose(gradients[0], theirs, rtol=1e-4, atol=1e-4)


def test_prompt_tokens_get_no_gradient(model: Any) -> None:
    """Other prompt targets, same context for the response: only the response is learnt."""
    example = Example([5, 6, 7, 8, 9], 4, 1)
    batch = collate([example])
    assert token_nats(model, batch).shape == (1,)
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"]).logits[0, 3]
    assert float(token_nats(model, batch).detach()) == pytest.approx(
        float(torch.logsumexp(logits, 0) - logits[9]), abs=1e-5
    )


def test_frozen_head_in_bf16_is_what_autocast_makes_of_it(
    model: Any, examples: list[Example]
) -> None:
    """Casting the head once, as for LoRA, and letting autocast do it give the same numbers."""
    batch = collate(examples)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        trained = token_nats(model.requires_grad_(True), batch).detach()
        frozen = token_nats(model.requires_grad_(False), batch).detach()
    assert torch.equal(trained, frozen)


def test_the_adapter_is_in_the_loss(model: Any, examples: list[Example]) -> None:
    batch = collate(examples)
    before = token_nats(model, batch).detach()
    adapted = methods.apply(
        model, LoraMethod(kind="lora", rank=2, dropout=0, learning_rates=(1e-3,)), 0
    )
    assert torch.equal(token_nats(adapted, batch), before)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.5)
    assert not torch.allclose(token_nats(adapted, batch), before, atol=1e-2)
