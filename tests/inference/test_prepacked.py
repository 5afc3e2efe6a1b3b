"""Linear layers with weights in oneDNN's order, against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lora_ledger.inference import prepacked

needed = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bf16 in this processor's oneDNN"
)


class Tied(nn.Module):
    """An embedding, a layer with a bias, and a head that shares the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(300, 64)
        self.layer = nn.Linear(64, 64)
        self.head = nn.Linear(64, 300, bias=False)
        self.head.weight = self.embed.weight
        self.device = torch.device("cpu")

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.layer(self.embed(ids)))
        return logits


@needed
@pytest.mark.parametrize("shape", [(1,), (1, 1), (3, 7), (1, 500), (0,), (2, 0)])
def test_the_same_bits(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = Tied().to(torch.bfloat16)
    ids = torch.randint(300, shape)
    with torch.inference_mode():
        expected = model(ids)
        prepacked.install(model)
        assert torch.equal(model(ids), expected)
        # Twice is once.
        prepacked.install(model)
        assert torch.equal(model(ids), expected)
    # Kept where it is looked up too, and once only where it is not.
    assert model.embed.weight.shape == (300, 64)
    assert model.layer.weight.numel() == 0
    assert model.layer.prepacked.is_mkldnn  # type: ignore[union-attr]


@pytest.mark.parametrize("case", ["fp32", "no operators"])
def test_others_stay_as_they_are(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = Tied()
    if case == "no operators":
        model = model.to(torch.bfloat16)
        monkeypatch.setattr(prepacked.torch.backends.mkldnn, "is_available", lambda: False)
    prepacked.install(model)
    assert "forward" not in model.layer.__dict__
    assert model.layer.weight.shape == (64, 64)
