"""Adapters as peft saves them, on models with and without biases and with a head of their own: what
is accepted gives the answers that it gave its author, all else is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from lora_ledger.catalogue import TokenRoles
from lora_ledger.data.sources import SourceError
from lora_ledger.inference.weights import load_weights
from lora_ledger.models import external

TOKENS = TokenRoles(separator="a", end_of_response="a", prefix="a")
IDS = torch.arange(12)[None]
Bases = dict[str, Path]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    """Tiny Llamas: `tied`, `free` (a head of its own) and `biased` (biases in all linear modules,
    away from zero)."""
    found = {}
    for name in ("tied", "free", "biased"):
        torch.manual_seed(1)
        config = LlamaConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=40,
            tie_word_embeddings=name == "tied",
            attention_bias=name == "biased",
            mlp_bias=name == "biased",
        )
        model = LlamaForCausalLM(config)
        for key, weight in model.named_parameters():
            if key.endswith("bias"):
                torch.nn.init.normal_(weight)
        found[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(found[name])
    return found


def adapted(base: Path, out: Path, **how: Any) -> torch.Tensor:
    """Save an adapter whose parameters all moved, as peft does; its author's logits."""
    model = AutoModelForCausalLM.from_pretrained(base)
    made = get_peft_model(model, LoraConfig(**{"task_type": "CAUSAL_LM", "r": 4, **how}))
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn_like(weight)
    made.save_pretrained(str(out))
    found: torch.Tensor = made.eval()(input_ids=IDS).logits.detach()
    return found


def taken(origin: Path, base: Path, out: Path) -> torch.Tensor:
    """The logits after the check, the copy and the merge."""
    from peft import PeftModel

    config = json.loads((base / "config.json").read_text())
    summary = external.write(origin, out, config, TOKENS)
    assert summary["kind"] == "adapter"
    model = PeftModel.from_pretrained(load_weights(base), str(out / "adapter"))
    found: torch.Tensor = model.merge_and_unload(safe_merge=True).eval()(input_ids=IDS).logits
    return found.detach()


@pytest.mark.parametrize(
    ("base", "how"),
    [
        ("free", {"target_modules": ["lm_head"]}),
        ("free", {"target_modules": ["q_proj", "lm_head"], "use_dora": True}),
        ("free", {"target_modules": r".*(lm_head|layers\.1\.mlp\.up_proj)"}),
        ("free", {"target_modules": ["v_proj"], "modules_to_save": ["lm_head", "embed_tokens"]}),
        ("tied", {"target_modules": ["v_proj"], "modules_to_save": ["lm_head"]}),
        ("tied", {"target_modules": "all-linear", "bias": "lora_only"}),
        ("tied", {"target_modules": ["v_proj"], "alpha_pattern": {"v_proj": 32}}),
        ("biased", {"target_modules": ["q_proj", "down_proj"], "bias": "lora_only"}),
        ("biased", {"target_modules": ["q_proj"], "bias": "all"}),
        ("biased", {"target_modules": "all-linear", "lora_bias": True}),
        ("tied", {"target_modules": ["q_proj"], "init_lora_weights": "eva"}),
        ("tied", {"target_modules": ["q_proj"], "task_type": None}),
        (
            "tied",
            {
                "target_modules": ["q_proj"],
                "fan_in_fan_out": True,
                "use_rslora": True,
                "rank_pattern": {r"^model\.layers\.1\..*q_proj": 2},
            },
        ),
        ("tied", {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "norm"]}),
        (
            "tied",
            {
                "target_modules": ["q_proj", "up_proj"],
                "layers_to_transform": [1],
                "exclude_modules": r".*up_proj",
            },
        ),
    ],
)
def test_what_peft_saves_answers_as_it_did(
    bases: Bases, tmp_path: Path, base: str, how: dict[str, Any]
) -> None:
    theirs = adapted(bases[base], tmp_path / "theirs", **how)
    plain = load_weights(bases[base]).eval()(input_ids=IDS).logits
    assert (theirs - plain).abs().max() > 2e-3
    ours = taken(tmp_path / "theirs", bases[base], tmp_path / "out")
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def without_biases(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(path).items() if not k.endswith("bias")}, path)


def says(folder: Path, **keys: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


@pytest.mark.parametrize(
    ("base", "how", "spoil", "message"),
    [
        (
            "biased",
            {"target_modules": ["q_proj"], "bias": "lora_only"},
            without_biases,
            r"found no .*q_proj.*bias, expected one of shape \[32\], as .* says bias 'lora_only'",
        ),
        (
            "biased",
            {"target_modules": ["q_proj"], "bias": "all"},
            without_biases,
            r"found no .*bias, expected .* says bias 'all'",
        ),
        (
            "biased",
            {"target_modules": ["q_proj"], "bias": "lora_only"},
            lambda folder: says(folder, bias="none"),
            r"q_proj.*bias: found the shape \[32\], expected no such tensor, .* bias 'none'",
        ),
        (
            "tied",
            {"target_modules": ["q_proj"]},
            lambda folder: says(folder, lora_bias=True),
            r"lora_bias: found True, expected False, since .*q_proj of the study's model has no",
        ),
        (
            "biased",
            {"target_modules": ["q_proj"]},
            lambda folder: says(folder, lora_bias=True),
            r"found no .*q_proj\.lora_B\.bias, expected .* lora_bias True",
        ),
        (
            "tied",
            {"target_modules": ["lm_head"]},
            None,
            r"found lm_head, which in the study's model is one matrix with the embedding",
        ),
        (
            "free",
            {"target_modules": ["embed_tokens"]},
            None,
            r"found model\.embed_tokens, expected linear modules",
        ),
        ("tied", {"target_modules": ["q_proj"], "trainable_token_indices": [1]}, None, "trainable"),
        (
            "tied",
            {"target_modules": ["q_proj"]},
            lambda folder: says(folder, use_something_new={"a": 1}),
            r"use_something_new: found \{'a': 1\}, expected nothing",
        ),
        (
            "tied",
            {"target_modules": ["q_proj"]},
            lambda folder: says(folder, target_modules=["c_attn"]),
            r"peft refuses it for the study's model: .*c_attn",
        ),
        (
            "free",
            {"target_modules": ["q_proj"]},
            lambda folder: says(folder, bias="some"),
            r"peft refuses it for the study's model: Requested bias: some",
        ),
    ],
)
def test_what_is_not_understood_is_refused(
    bases: Bases, tmp_path: Path, base: str, how: dict[str, Any], spoil: Any, message: str
) -> None:
    adapted(bases[base], tmp_path / "theirs", **how)
    if spoil:
        spoil(tmp_path / "theirs")
    config = json.loads((bases[base] / "config.json").read_text())
    with pytest.raises(SourceError, match=message):
        external.write(tmp_path / "theirs", tmp_path / "out", config, TOKENS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("r", "4", "a valid integer"),
        ("r", True, "a valid integer"),
        ("r", None, "a valid integer"),
        ("lora_alpha", None, "a valid number"),
        ("lora_alpha", True, "a valid number"),
        ("lora_alpha", float("nan"), "a finite number"),
        ("lora_alpha", 10**400, "a valid number"),
        ("rank_pattern", ["q_proj"], "a valid dictionary"),
        ("rank_pattern", {"q_proj": "4"}, "a valid integer"),
        ("alpha_pattern", {"q_proj": float("inf")}, "a finite number"),
        ("bias", True, "a valid string"),
        ("use_rslora", "false", "a valid boolean"),
        ("use_dora", "false", "a valid boolean"),
        ("layers_to_transform", "1", "a valid integer"),
        ("modules_to_save", "norm", "a valid list"),
        ("lora_dropout", "0", "a valid number"),
        ("init_lora_weights", "true", 'one of true, false, "gaussian"'),
        ("init_lora_weights", 1, "one of true"),
    ],
)
def test_a_value_of_another_type_is_refused(
    bases: Bases, tmp_path: Path, key: str, value: object, expected: str
) -> None:
    adapted(bases["tied"], tmp_path / "theirs", target_modules=["q_proj"])
    says(tmp_path / "theirs", **{key: value})
    config = json.loads((bases["tied"] / "config.json").read_text())
    with pytest.raises(SourceError, match=rf"adapter_config\.json, {key}: found .* {expected}"):
        external.write(tmp_path / "theirs", tmp_path / "out", config, TOKENS)


def test_a_key_of_a_newer_peft_that_is_off_is_passed_over(bases: Bases, tmp_path: Path) -> None:
    theirs = adapted(bases["tied"], tmp_path / "theirs", target_modules=["q_proj"])
    says(tmp_path / "theirs", use_something_new=False, peft_version="99", qalora_group_size=16)
    ours = taken(tmp_path / "theirs", bases["tied"], tmp_path / "out")
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
