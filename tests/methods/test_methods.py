"""What trains, how many weights that is, what the start changes, and what is saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_ledger.methods.full import FullMethod
from lora_ledger.methods.full_linear import FullLinearMethod
from lora_ledger.methods.lora import LoraMethod

RATES = {"learning_rates": (1e-3,)}
SMOLLM2 = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}
IDS = torch.arange(2, 34).view(2, 16)


def lora(**settings: Any) -> LoraMethod:
    return LoraMethod(kind="lora", **{"rank": 4, "dropout": 0.1, **RATES, **settings})


@pytest.fixture
def base(tiny_model: Path) -> Callable[[], Any]:
    return lambda: AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        result: torch.Tensor = model(input_ids=IDS).logits
    return result


@pytest.mark.parametrize(
    ("targets", "per_rank"), [("attention", 115_200), ("mlp", 190_080), ("all", 305_280)]
)
def test_counts_on_smollm2(targets: Any, per_rank: int) -> None:
    for rank in (1, 8, 32):
        method = lora(rank=rank, target_modules=targets)
        assert method.trainable_parameters(SMOLLM2) == rank * per_rank
    # Outputs of q, k, v, o: 576, 192, 192, 576; of gate, up, down: 1536, 1536, 576.
    outputs = {"attention": 1536, "mlp": 3648, "all": 5184}[targets] * 30
    dora = lora(rank=8, target_modules=targets, dora=True)
    assert dora.trainable_parameters(SMOLLM2) == 8 * per_rank + outputs


def test_counts_of_full_fine_tuning_on_smollm2() -> None:
    assert FullMethod(kind="full", **RATES).trainable_parameters(SMOLLM2) == 134_515_008
    linear = FullLinearMethod(kind="full-linear", **RATES).trainable_parameters(SMOLLM2)
    # Without the tied embedding of 49152 x 576 and 61 norms of 576.
    assert linear == 134_515_008 - 49152 * 576 - 61 * 576


@pytest.mark.parametrize(
    "method",
    [
        FullMethod(kind="full", **RATES),
        FullLinearMethod(kind="full-linear", **RATES),
        lora(),
        lora(target_modules="attention"),
        lora(target_modules=("down_proj",), rank=3),
        lora(dora=True),
        lora(init="olora"),
    ],
    ids=lambda m: f"{m.kind}-{getattr(m, 'init', '')}-{getattr(m, 'target_modules', '')}",
)
def test_the_weights_that_train_are_those_counted_and_in_fp32(
    method: Any, base: Any, tiny_model: Path
) -> None:
    model = method.apply(base().to(torch.bfloat16), 0)
    weights = [w for w in model.parameters() if w.requires_grad]
    config = json.loads((tiny_model / "config.json").read_text())
    assert sum(w.numel() for w in weights) == method.trainable_parameters(config)
    assert {w.dtype for w in weights} == {torch.float32}


def test_full_linear_leaves_embeddings_and_norms_alone(base: Any) -> None:
    model = FullLinearMethod(kind="full-linear", **RATES).apply(base(), 0)
    frozen = {name for name, w in model.named_parameters() if not w.requires_grad}
    assert frozen == {
        "model.embed_tokens.weight",
        "model.norm.weight",
        *(
            f"model.layers.{i}.{norm}.weight"
            for i in (0, 1)
            for norm in ("input_layernorm", "post_attention_layernorm")
        ),
    }


@pytest.mark.parametrize(
    "settings",
    [{}, {"init": "gaussian"}, {"rslora": True}, {"dora": True}],
    ids=["default", "gaussian", "rslora", "dora"],
)
def test_identity_at_the_start_is_exact(settings: dict[str, Any], base: Any) -> None:
    # DoRA's norms may round on another processor.
    assert lora(**settings).starts_from_base is ("dora" not in settings)
    assert torch.equal(logits(lora(**settings).apply(base(), 0)), logits(base()))


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("init", ["pissa", "olora", "orthogonal"])
def test_identity_at_the_start_is_close(init: Any, rslora: bool, base: Any) -> None:
    assert not lora(init=init).starts_from_base
    model = lora(init=init, rslora=rslora).apply(base(), 0)
    assert torch.allclose(logits(model), logits(base()), rtol=0, atol=1e-5)
    # There is something in the adapter whose effect is cancelled.
    weights = dict(model.named_parameters())
    assert all(w.abs().sum() > 0 for name, w in weights.items() if "lora_" in name)


def perturb(model: Any) -> None:
    """A stand-in for training: noise on every weight that trains."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn(weight.shape, generator=draw))


LORAS = [
    {},
    {"init": "gaussian", "target_modules": "mlp"},
    {"rslora": True},
    {"dora": True},
    {"init": "pissa"},
    {"init": "pissa", "rslora": True},
    {"init": "olora"},
    {"init": "orthogonal"},
    {"init": "pissa", "dora": True},
]


@pytest.mark.parametrize("settings", LORAS, ids=str)
def test_saved_adapters_load_on_the_untouched_base(
    settings: dict[str, Any], base: Any, tiny_model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    method = lora(**settings)
    model = method.apply(base(), 0)
    perturb(model)
    weights = method.save(model, tmp_path / "adapter", "tiny-random-llama", tiny_model)
    assert weights == tmp_path / "adapter/adapter_model.safetensors"
    loaded = PeftModel.from_pretrained(base(), tmp_path / "adapter")
    assert torch.allclose(logits(loaded), logits(model), rtol=0, atol=1e-5)
    assert not torch.allclose(logits(loaded), logits(base()), atol=1e-2)


def test_saved_adapters_are_the_same_bytes_and_name_no_machine(
    base: Any, tiny_model: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        method = lora(init="pissa")
        model = method.apply(base(), 0)
        method.save(model, tmp_path / name, "tiny-random-llama", tiny_model)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors"]
    for file in files:
        content = (tmp_path / "one" / file).read_bytes()
        assert content == (tmp_path / "two" / file).read_bytes()
        for place in (tiny_model.parent, tmp_path, Path.home()):
            assert str(place).encode() not in content
    config = json.loads((tmp_path / "one/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny-random-llama"
    assert (config["r"], config["lora_alpha"], config["init_lora_weights"]) == (8, 16, True)
    assert [a < b for a, b in pairwise(config["target_modules"])] == [True] * 6


def test_full_models_are_saved_whole(base: Any, tiny_model: Path, tmp_path: Path) -> None:
    method = FullMethod(kind="full", **RATES)
    model = method.apply(base(), 0)
    perturb(model)
    weights = method.save(model, tmp_path / "model", "tiny-random-llama", tiny_model)
    assert weights.name == "model.safetensors"
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto")
    assert loaded.dtype == torch.float32
    assert torch.equal(logits(loaded), logits(model))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / "model" / name).read_bytes() == (tiny_model / name).read_bytes()
    for path in (tmp_path / "model").iterdir():
        assert str(tiny_model.parent).encode() not in path.read_bytes()


def test_the_adapter_has_a_stream_of_its_own(base: Any) -> None:
    def drawn(seed: int, before: int) -> torch.Tensor:
        torch.manual_seed(before)
        model = lora().apply(base(), seed)
        after = torch.rand(1)
        torch.manual_seed(before)
        assert torch.equal(after, torch.rand(1))
        return torch.cat([w.flatten() for n, w in model.named_parameters() if "lora_A" in n])

    assert torch.equal(drawn(1, 7), drawn(1, 8))
    assert not torch.equal(drawn(1, 7), drawn(2, 7))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init": "pissa", "rank": 33}, "at most 32"),
        ({"init": "olora", "rank": 40}, "at most 32"),
        ({"init": "orthogonal", "rank": 3}, "an even one"),
    ],
)
def test_ranks_that_an_initialisation_cannot_have(
    settings: dict[str, Any], message: str, base: Any
) -> None:
    with pytest.raises(ValueError, match=f"rank: found .*{message}"):
        lora(**settings).apply(base(), 0)


def test_flops_on_smollm2() -> None:
    """Two a weight and pass; scores and mixing 4·576 a position seen, (512 + 1)/2 on average."""
    weights = 134_515_008 - 61 * 576
    attention = 30 * 4 * 576 * 513 / 2
    full = FullMethod(kind="full", **RATES).flops_per_token(SMOLLM2, 512)
    assert full == 6 * weights + 3 * attention
    linear = FullLinearMethod(kind="full-linear", **RATES).flops_per_token(SMOLLM2, 512)
    assert linear == full - 2 * 49152 * 576
    adapted = lora(rank=8).flops_per_token(SMOLLM2, 512)
    assert adapted == 4 * weights + 6 * 8 * 305_280 + 3 * attention


@pytest.mark.parametrize("factor", ["1.2.3x", "0x", ".x", "9" * 400 + "x", "0." + "0" * 400 + "1x"])
def test_a_factor_is_a_number_above_0(factor: str) -> None:
    with pytest.raises(ValueError, match=r"at: found .* expected a factor above 0"):
        FullMethod(kind="full", at=f"{factor} lora")
    assert FullMethod(kind="full", at="0.5x lora").reference() == (0.5, "lora")


@pytest.mark.parametrize("rate", [float("inf"), float("nan")])
def test_a_rate_is_finite(rate: float) -> None:
    with pytest.raises(ValueError, match="finite number"):
        FullMethod(kind="full", learning_rates=(1e-3, rate))
