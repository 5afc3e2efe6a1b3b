"""Closed forms against the modules that transformers and peft really build."""

from __future__ import annotations

import pytest

from lora_ledger.catalogue import ModelEntry, entries
from lora_ledger.models import architecture

SIZES = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 101,
}
VARIANTS = [
    {"model_type": "llama", "tie_word_embeddings": True},
    {"model_type": "llama", "tie_word_embeddings": False, "attention_bias": True},
    {"model_type": "llama", "tie_word_embeddings": False, "mlp_bias": True},
    {"model_type": "mistral", "tie_word_embeddings": False},
    {"model_type": "qwen2", "tie_word_embeddings": True},
    {"model_type": "qwen3", "tie_word_embeddings": True},
    {"model_type": "qwen3", "tie_word_embeddings": False, "attention_bias": True},
]
SMOL = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}


def build(config: dict[str, object]):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = {key: value for key, value in config.items() if key != "model_type"}
    made = AutoConfig.for_model(str(config["model_type"]), **settings)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(made)


def linear_shapes(model) -> dict[str, tuple[int, int]]:
    block = model.model.layers[0]
    return {
        name.rpartition(".")[2]: (module.in_features, module.out_features)
        for name, module in block.named_modules()
        if type(module).__name__ == "Linear"
    }


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_shapes_and_counts_are_those_of_the_built_model(variant: dict[str, object]) -> None:
    config = SIZES | variant
    model = build(config)
    if config["model_type"] != "qwen2":
        assert model.config.head_dim == 16
    assert architecture.module_names(config) == linear_shapes(model)
    model.tie_weights()
    assert architecture.total_parameters(config) == sum(p.numel() for p in model.parameters())
    assert architecture.tensors(config) == {n: p.numel() for n, p in model.named_parameters()}
    in_blocks = sum(
        parameter.numel()
        for name, parameter in model.model.layers.named_parameters()
        if name.split(".")[-2].endswith("_proj")
    )
    assert architecture.linear_parameters(config) == in_blocks


@pytest.mark.parametrize("kind", architecture.SUPPORTED)
def test_a_config_as_transformers_writes_it_is_read_the_same(kind: str) -> None:
    settings = {key: value for key, value in SIZES.items() if key != "head_dim"}
    model = build(settings | {"model_type": kind})
    written = model.config.to_dict()
    assert architecture.module_names(written) == linear_shapes(model)
    assert architecture.total_parameters(written) == sum(p.numel() for p in model.parameters())
    # Absent keys take the defaults of transformers' own config classes.
    assert architecture.module_names(settings | {"model_type": kind}) == linear_shapes(model)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize(("targets", "rank"), [("attention", 1), ("mlp", 4), ("all", 8)])
def test_lora_parameters_equal_what_peft_makes_trainable(
    targets: str, rank: int, dora: bool
) -> None:
    from peft import LoraConfig, get_peft_model

    config = SIZES | VARIANTS[0]
    names = list(architecture.resolve_targets(config, targets))
    model = get_peft_model(
        build(config), LoraConfig(r=rank, target_modules=names, use_dora=dora, lora_alpha=1)
    )
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert architecture.lora_parameters(config, targets, rank, dora=dora) == trainable


def test_the_wheels_model_by_hand() -> None:
    block = 576 * 576 * 2 + 576 * 192 * 2 + 576 * 1536 * 3
    assert architecture.linear_parameters(SMOL) == 30 * block == 106_168_320
    # 134,515,008 is also what the GGUF's 272 tensors add up to.
    assert architecture.total_parameters(SMOL) == 134_515_008
    rank_8 = 30 * 8 * (2 * (576 + 576) + 2 * (576 + 192) + 3 * (576 + 1536))
    assert architecture.lora_parameters(SMOL, "all", 8) == rank_8 == 2_442_240


def test_forward_flops_against_torchs_counter() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig, AutoModelForCausalLM

    config = SIZES | VARIANTS[0]
    settings = {key: value for key, value in config.items() if key != "model_type"}
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("llama", **settings), attn_implementation="eager"
    )
    length = 32
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.arange(length)[None])
    # Eager attention multiplies the masked half too: 4·L·T·heads·head_dim a token instead of
    # 2·L·(T + 1)·heads·head_dim.
    masked = 2 * 3 * (length - 1) * 6 * 16
    counted = counter.get_total_flops() / length
    assert counted - masked == architecture.forward_flops_per_token(config, length)


def test_groups_and_names_resolve_in_the_blocks_order() -> None:
    assert architecture.resolve_targets(SMOL, "attention") == (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
    )
    assert architecture.resolve_targets(SMOL, ["down_proj", "q_proj"]) == ("q_proj", "down_proj")
    assert architecture.resolve_targets(SMOL, ["mlp", "up_proj"]) == architecture.MLP
    assert architecture.resolve_targets(SMOL, "all") == tuple(architecture.module_names(SMOL))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: architecture.module_names({"model_type": "gpt2"}), ["gpt2", "llama", "qwen3"]),
        (lambda: architecture.module_names({}), ["model_type", "None"]),
        (
            lambda: architecture.module_names(SMOL | {"hidden_size": "576"}),
            ["hidden_size", "'576'"],
        ),
        (lambda: architecture.module_names(SMOL | {"hidden_size": True}), ["hidden_size", "True"]),
        (lambda: architecture.resolve_targets(SMOL, ["q_prj"]), ["'q_prj'", "mean 'q_proj'"]),
        (lambda: architecture.resolve_targets(SMOL, []), ["found none"]),
        (lambda: architecture.lora_parameters(SMOL, "all", 0), ["rank", "found 0"]),
    ],
)
def test_what_is_not_understood_is_named(call, words: list[str]) -> None:
    with pytest.raises(architecture.ArchitectureError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_every_model_of_the_catalogue_is_understood() -> None:
    models = {name: entry for name, entry in entries().items() if isinstance(entry, ModelEntry)}
    assert {"smollm2-135m-instruct-q4", "tiny-random-llama"} <= set(models)
    for entry in models.values():
        assert architecture.total_parameters(entry.config) > 0


def test_no_torch_is_imported() -> None:
    import subprocess
    import sys

    code = (
        "import sys, lora_ledger.models.architecture, lora_ledger.data.sources;"
        "import lora_ledger.models.pretrained;"
        "print(sorted({'torch', 'transformers', 'tokenizers', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
