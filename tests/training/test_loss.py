"""The loss from hidden states against torch's cross-entropy, and its sums over examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_ledger.training import patching
from lora_ledger.training.batching import Example
from lora_ledger.training.loss import nats_of_examples
from tiny_study import rows


def by_hand(model: Any, example: Example) -> float:
    """One sequence, log-softmax in double precision, position by position."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([example.input_ids])).logits[0].double()
    first = max(1, example.prompt_length)
    return -sum(
        float(torch.log_softmax(logits[t - 1], 0)[example.input_ids[t]])
        for t in range(first, len(example.input_ids))
    )


@pytest.mark.parametrize("tokens", [1, 40, 2048])
def test_nats_are_those_of_single_sequences(tiny_model: Path, tokens: int) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    examples = [Example(**row) for row in rows("ift", 8, 5)]
    expected = [by_hand(model, example) for example in examples]
    patching.install(model, by_hand=True)
    found = nats_of_examples(model, examples, "cpu", "fp32", tokens)
    assert found == pytest.approx(expected, abs=1e-4)
    assert model.training
