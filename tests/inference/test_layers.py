"""A model for evaluation against transformers' own modules: states, norms, MLPs, linear layers."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from lora_ledger.compute.cpu import linear
from lora_ledger.inference import layers
from lora_ledger.inference.layers import states
from lora_ledger.inference.layouts import Packed, Segment

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
        layers.install(model)
        assert torch.equal(model(ids), expected)
        # Twice is once.
        layers.install(model)
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
        monkeypatch.setattr(linear.torch.backends.mkldnn, "is_available", lambda: False)
    layers.install(model)
    assert "forward" not in model.layer.__dict__
    assert model.layer.weight.shape == (64, 64)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Qwen2", "Qwen3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms_round_as_the_models_own_do(kind: str, dtype: torch.dtype) -> None:
    """In bf16 to the bit but where fp32 sums, in another order, fall across a rounding."""
    modeling = importlib.import_module(
        f"transformers.models.{kind.lower()}.modeling_{kind.lower()}"
    )
    own = getattr(modeling, f"{kind}RMSNorm")(64, eps=1e-5).to(dtype)
    with torch.no_grad():
        own.weight.copy_(draw(64) + 1)
        x = (draw(3, 200, 64) * 5).to(dtype)
        expected, kept = own(x), x.clone()
        holder = torch.nn.Sequential(own)
        holder.device = torch.device("cpu")  # type: ignore[assignment]
        layers.install(holder)
        assert "forward" in own.__dict__
        found = own(x)
    assert torch.equal(x, kept)
    assert found.dtype == dtype
    if dtype == torch.float32:
        assert torch.allclose(found, expected, rtol=1e-6, atol=1e-6)
    else:
        assert (found != expected).float().mean() < 1e-3
        assert torch.allclose(found.float(), expected.float(), rtol=2**-7)


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Qwen2", "Qwen3"])
def test_gated_layers_round_as_the_models_own_do(kind: str) -> None:
    """In bf16, to the bit, and the input stays as it was."""
    modeling = importlib.import_module(
        f"transformers.models.{kind.lower()}.modeling_{kind.lower()}"
    )
    config = getattr(transformers, f"{kind}Config")(hidden_size=32, intermediate_size=48)
    own = getattr(modeling, f"{kind}MLP")(config).to(torch.bfloat16)
    x = (draw(3, 20, 32) * 5).to(torch.bfloat16)
    with torch.no_grad():
        expected, kept = own(x), x.clone()
        holder = torch.nn.Sequential(own)
        holder.device = torch.device("cpu")  # type: ignore[assignment]
        layers.install(holder)
        assert "forward" in own.__dict__
        assert torch.equal(own(x), expected)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Qwen2", "Qwen3"])
def test_states_equal_the_models_own(kind: str) -> None:
    """Each architecture over sequences in one row, one of them beyond Mistral's window."""
    extra = {"sliding_window": 7} if kind == "Mistral" else {}
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        **extra,
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    sequences = [torch.randint(0, 97, (n,)) for n in (80, 5, 1)]
    starts = [0, 80, 85]
    before = model.config._attn_implementation
    with torch.no_grad():
        found = states(
            model,
            torch.cat(sequences),
            torch.cat([torch.arange(len(ids)) for ids in sequences]),
            Packed([Segment(a, (len(i),)) for a, i in zip(starts, sequences, strict=True)]),
        )
        for start, ids in zip(starts, sequences, strict=True):
            expected = model.get_decoder()(ids[None], use_cache=False).last_hidden_state[0]
            assert torch.allclose(found[start : start + len(ids)], expected, atol=1e-5)
    assert model.config._attn_implementation == before


def test_frequencies_that_follow_the_batch_are_refused() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=9,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
    )
    ids = torch.arange(3)
    with pytest.raises(ValueError, match="rope_type: found 'dynamic'"):
        states(LlamaForCausalLM(config), ids, ids, Packed([Segment(0, (3,))]))
