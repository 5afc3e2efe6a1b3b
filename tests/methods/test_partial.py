"""Arms that train a part: last blocks, a share of entries, B alone, a band of singular vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from lora_ledger.methods.base import MethodBase
from lora_ledger.methods.full import FullMethod
from lora_ledger.methods.full_linear import FullLinearMethod
from lora_ledger.methods.lora import LoraMethod
from lora_ledger.methods.recipe import Optimiser
from lora_ledger.models import architecture
from lora_ledger.training.optimisers import build

RATES = {"learning_rates": (1e-3,)}
IDS = torch.arange(2, 34).view(2, 16)
OPTIMISERS = [
    Optimiser(),
    Optimiser(name="lion"),
    Optimiser(name="sgd"),
]


def full(**keys: Any) -> FullMethod:
    return FullMethod(kind="full", **RATES, **keys)


def linear(**keys: Any) -> FullLinearMethod:
    return FullLinearMethod(kind="full-linear", **RATES, **keys)


def lora(**keys: Any) -> LoraMethod:
    return LoraMethod(kind="lora", **{"rank": 4, "dropout": 0.0, **RATES, **keys})


ARMS = [
    full(),
    full(layers="last-1"),
    full(freeze=0.95),
    full(layers="last-1", freeze=0.5),
    linear(),
    linear(layers="last-1"),
    linear(freeze=0.3),
    lora(),
    lora(layers="last-1"),
    lora(train="b-only"),
    lora(train="b-only", layers="last-1"),
    lora(init="milora", layers="last-2"),
]


@pytest.fixture
def base(tiny_model: Path) -> Callable[..., Any]:
    return lambda **how: AutoModelForCausalLM.from_pretrained(
        tiny_model, dtype=torch.float32, **how
    ).eval()


@pytest.fixture
def config(tiny_model: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tiny_model / "config.json").read_text())
    return found


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        result: torch.Tensor = model(input_ids=IDS).logits
    return result


def backward(model: Any) -> None:
    model.zero_grad()
    model(input_ids=IDS, labels=IDS).loss.backward()


def described(method: MethodBase) -> str:
    return " ".join(f"{k}={v}" for k, v in method.resolved(defaults=False).items() if k != "alpha")


@pytest.mark.parametrize("method", ARMS, ids=described)
def test_what_trains_is_what_is_counted(method: Any, base: Any, config: dict[str, Any]) -> None:
    model = method.apply(base(), 0)
    assert method.trained(model) == method.trainable_parameters(config)
    # A gradient is made for each of these, and is not 0 for those that train.
    backward(model)
    held = [w for w in model.parameters() if w.requires_grad]
    assert sum(w.numel() for w in held) == method.held_parameters(config)
    if isinstance(method, LoraMethod) and method.init == "default" and method.train == "all":
        return  # B is 0, and with it the gradient of A.
    tied = model.get_input_embeddings().weight
    moved = sum(int((w.grad != 0).sum()) for w in held if w is not tied)
    frozen = sum(round(getattr(method, "freeze", 0) * w.numel()) for w in held if w is not tied)
    assert moved == sum(w.numel() for w in held if w is not tied) - frozen


@pytest.mark.parametrize("method", ARMS, ids=described)
def test_the_operations_are_those_counted(method: Any, base: Any, config: dict[str, Any]) -> None:
    model = method.apply(base(attn_implementation="eager"), 0)
    with FlopCounterMode(display=False) as counted:
        backward(model)
    tokens = IDS.numel()
    # Eager attention makes all T x T products, as many as a causal sequence of 2 T - 1 tokens.
    expected = method.flops_per_token(config, 2 * IDS.shape[1] - 1)
    if method.kind != "full":
        # Nothing is asked of what lies below the first module that trains; for `full` it is a norm.
        modules = architecture.module_names(config)
        for rows, columns in (modules[name] for name in ("q_proj", "k_proj", "v_proj")):
            rank = method.rank if isinstance(method, LoraMethod) else 0
            expected -= 2 * (rows * columns + rank * rows)
            if isinstance(method, LoraMethod) and method.train == "b-only":
                expected -= 2 * rank * columns
    assert counted.get_total_flops() == tokens * expected


@pytest.mark.parametrize(("method", "norms"), [(full, True), (linear, False), (lora, False)])
def test_the_last_blocks_train_alone(method: Any, norms: bool, base: Any) -> None:
    model = method(layers="last-1").apply(base(), 0)
    names = [name for name, w in model.named_parameters() if w.requires_grad]
    assert all("model.layers.1." in name for name in names)
    assert sum("layernorm" in name for name in names) == 2 * norms
    assert len(names) == (14 if method is lora else 7 + 2 * norms)
    assert len(list(method(layers="last-2").apply(base(), 0).parameters())) > len(names)


def test_an_adapter_of_the_last_blocks_loads_on_the_base(
    base: Any, tiny_model: Path, tmp_path: Path
) -> None:
    method = lora(layers="last-1")
    model = perturbed(method.apply(base(), 0))
    method.save(model, tmp_path / "adapter", "tiny", tiny_model)
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert (config["layers_to_transform"], config["layers_pattern"]) == ([1], "layers")
    assert torch.allclose(
        logits(method.load(base(), tmp_path / "adapter")), logits(model), atol=1e-5
    )


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=lambda one: one.name)
@pytest.mark.parametrize("method", [full(freeze=0.95), linear(freeze=0.3, layers="last-1")])
def test_frozen_entries_keep_their_bits(method: Any, optimiser: Optimiser, base: Any) -> None:
    model = method.apply(base(), 0)
    before = {name: w.detach().clone() for name, w in model.named_parameters()}
    weights = [w for w in model.parameters() if w.requires_grad]
    stepper = build(optimiser, method.groups(model), 1e-3)
    for _ in range(3):
        backward(model)
        # What is clipped is the gradient of what trains.
        frozen = {w: w.grad == 0 for w in weights}
        stepper.step()
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            assert torch.equal(weight, before[name])
            continue
        if weight is not model.get_input_embeddings().weight:
            assert frozen[weight].sum() == round(method.freeze * weight.numel())
            assert not torch.equal(weight, before[name])
        assert torch.equal(weight[frozen[weight]], before[name][frozen[weight]])


def test_frozen_entries_are_the_seeds(base: Any) -> None:
    def moved(seed: int) -> torch.Tensor:
        model = full(freeze=0.9).apply(base(), seed)
        backward(model)
        result: torch.Tensor = model.model.layers[0].mlp.up_proj.weight.grad != 0
        return result

    assert torch.equal(moved(1), moved(1))
    assert not torch.equal(moved(1), moved(2))


@pytest.mark.parametrize(
    ("optimiser", "said"),
    [
        (Optimiser(weight_decay=0.1), "found 0.95, expected 0 with weight_decay 0.1"),
        (Optimiser(name="muon"), "found 0.95, expected 0 with muon"),
    ],
)
def test_what_would_move_frozen_entries_is_refused(optimiser: Optimiser, said: str) -> None:
    with pytest.raises(ValueError, match=rf"m\.freeze: {said}.* as settings\.s has it"):
        full(freeze=0.95).check_optimiser(optimiser, "m.", "settings.s")
    full().check_optimiser(optimiser, "m.", "settings.s")
    full(freeze=0.95).check_optimiser(Optimiser(), "m.", "settings.s")


def perturbed(model: Any) -> Any:
    """A stand-in for training: noise on every weight that trains."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn(weight.shape, generator=draw))
    return model


def test_b_alone_trains_over_an_orthonormal_a(base: Any, tiny_model: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    method = lora(train="b-only", dropout=0.1)
    assert method.starts_from_base
    model = method.apply(base(), 5)
    assert torch.equal(logits(model), logits(base()))
    weights = dict(model.named_parameters())
    assert all("lora_B" in name for name, w in weights.items() if w.requires_grad)
    for name, weight in weights.items():
        if "lora_A" in name:
            assert torch.allclose(weight @ weight.T, torch.eye(4), atol=1e-6)
            again = dict(method.apply(base(), 5).named_parameters())[name]
            assert torch.equal(weight, again)
    other = dict(method.apply(base(), 6).named_parameters())
    assert not any(torch.equal(w, other[name]) for name, w in weights.items() if "lora_A" in name)
    method.save(perturbed(model), tmp_path / "adapter", "tiny", tiny_model)
    loaded = PeftModel.from_pretrained(base(), tmp_path / "adapter")
    assert torch.allclose(logits(loaded), logits(model), rtol=0, atol=1e-5)
    assert not torch.allclose(logits(loaded), logits(base()), atol=1e-2)


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize(("init", "place"), [("pissa", 0), ("middle", 0.5), ("milora", 1)])
def test_a_band_of_singular_vectors_is_what_trains(
    init: Any, place: float, rslora: bool, base: Any, tiny_model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    method = lora(init=init, rslora=rslora)
    assert not method.starts_from_base
    untouched, model = base(), method.apply(base(), 0)
    assert torch.allclose(logits(model), logits(untouched), rtol=0, atol=1e-5)
    for block in range(2):
        layer = model.base_model.model.model.layers[block].self_attn.q_proj
        weight = untouched.model.layers[block].self_attn.q_proj.weight.detach().double()
        left, values, right = torch.linalg.svd(weight)
        first = int(place * (len(values) - 4))
        some = slice(first, first + 4)
        part = left[:, some] * values[some] @ right[some]
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        product = layer.scaling["default"] * (up @ down).double()
        assert torch.allclose(product, part, atol=1e-6)
        assert torch.linalg.matrix_rank(product, rtol=1e-5) == 4
        assert torch.allclose(up.norm(dim=0), down.norm(dim=1), atol=1e-5)
    method.save(perturbed(model), tmp_path / "adapter", "tiny", tiny_model)
    loaded = PeftModel.from_pretrained(base(), tmp_path / "adapter")
    assert torch.allclose(logits(loaded), logits(model), rtol=0, atol=1e-5)
    assert json.loads((tmp_path / "adapter/adapter_config.json").read_text())["r"] == 8


def test_the_start_of_a_is_scaled_and_b_has_a_rate_of_its_own(base: Any) -> None:
    plain, scaled = (lora(init_scale=scale).apply(base(), 0) for scale in (1, 3))
    for (name, one), (_, other) in zip(
        plain.named_parameters(), scaled.named_parameters(), strict=True
    ):
        assert torch.equal(one * 3 if "lora_A" in name else one, other)
    method = lora(learning_rate_ratio=16, dora=True)
    model = method.apply(base(), 0)
    names = {id(w): name for name, w in model.named_parameters()}
    stepper = build(Optimiser(name="lion", weight_decay=0.5), method.groups(model), 1e-3)
    rest, up = stepper.param_groups
    assert (rest["lr"], up["lr"]) == (1e-3, 16e-3)
    assert {names[id(w)].split(".")[-3] for w in up["params"]} == {"lora_B"}
    assert len(up["params"]) == 14
    assert len(rest["params"]) == 28
    assert len(lora().groups(plain)) == 1
