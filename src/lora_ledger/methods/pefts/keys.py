"""Checks a method's keys against the table of peft's, as a study is read.

In: the mapping `config` of a method of kind `peft`. Out: nothing, or a KeyProblem that says which
key, what was found and what was expected. It knows no model and imports no peft.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lora_ledger.common.errors import KeyProblem, nearest

from .facts import NOT_HERE
from .table import table

OF_THE_MODEL = "nothing: it is found in the model's config.json"
OF_LORA = "nothing: it is a variant of LoRA, which `kind: lora` has, or needs data or a library"
REFUSED = {
    **dict.fromkeys(
        ("token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"),
        OF_THE_MODEL,
    ),
    **dict.fromkeys(
        (
            *("eva_config", "corda_config", "lora_ga_config", "loftq_config", "velora_config"),
            *("alora_invocation_tokens", "use_qalora", "qalora_group_size", "monteclora_config"),
            *("layer_replication", "runtime_config", "lora_bias", "target_parameters", "use_dora"),
            *("use_bdlora", "arrow_config", "kasa_config", "megatron_config", "megatron_core"),
        ),
        OF_LORA,
    ),
    "modules_to_save": "nothing: whole modules train with `kind: full` and its `layers`",
    "trainable_token_indices": "nothing: tokens train with peft_type TRAINABLE_TOKENS",
    "ensure_weight_tying": "nothing: it is about modules that train whole",
    "fan_in_fan_out": "nothing: all linear modules of the supported models hold (out, in)",
    "total_step": "nothing: it is the number of the run's steps",
    "tokenizer_name_or_path": "nothing: it is the tokenizer of the study's model",
    "tokenizer_kwargs": "nothing: the tokenizer is read as the study's model has it",
    "use_asa": "nothing: its schedule is a callback of peft's that a checkpoint cannot hold",
    "sample_at_inference": "nothing: an evaluation has one answer",
    "generator_seed": "nothing: the run's seed draws",
    "progressbar": "nothing: the log has one",
    "runtime_offload_base_weight": "nothing: the base stays where it is",
}
"""Keys of peft's that may stand at their default alone, and why."""
OF_ADALORA = {
    "r": "nothing: AdaLoRA has init_r and target_r in its place",
    "rank_pattern": "nothing: it is what the training finds",
    "init_lora_weights": "nothing: AdaLoRA starts A and B in a way of its own",
    "use_rslora": "nothing: AdaLoRA's scaling is lora_alpha over the rank",
}
REQUIRED = {
    "ADAPTION_PROMPT": ("adapter_len", "adapter_layers"),
    "CARTRIDGE": ("num_virtual_tokens",),
    "PREFIX_TUNING": ("num_virtual_tokens",),
    "PROMPT_TUNING": ("num_virtual_tokens",),
    "P_TUNING": ("num_virtual_tokens",),
    "TRAINABLE_TOKENS": ("token_indices",),
}
"""Keys without which peft's method cannot be made, though peft has a default for them."""
POSITIVE = (
    *("r", "init_r", "target_r", "u", "num_virtual_tokens", "adapter_len", "adapter_layers"),
    *("block_size", "group_size", "n_frequency", "num_vectors", "vector_length", "num_B"),
    *("deltaT", "lora_alpha", "alpha", "theta_d_length", "encoder_hidden_size", "num_subspaces"),
    *("subspace_rank", "encoder_num_layers", "gralora_k", "mini_r", "topk"),
)
"""Numbers that have to be above 0, but where 0 is a default that stands for something else."""


def check(config: Mapping[str, Any]) -> None:
    """Refuse keys that peft's method lacks, values of another type, and what a study cannot have.

    Raises KeyProblem.
    """
    kind = config.get("peft_type")
    types = table()["types"]
    known = sorted(name for name in types if name not in NOT_HERE)
    if kind is None:
        raise KeyProblem("config.peft_type", "nothing", f"one of {', '.join(known)}")
    if kind in NOT_HERE:
        raise KeyProblem(
            "config.peft_type", kind, f"one of {', '.join(known)}; of {kind}: {NOT_HERE[kind]}"
        )
    if kind not in types:
        near = nearest(str(kind).upper(), known)
        raise KeyProblem("config.peft_type", kind, f"one of {', '.join(known)}", near)
    keys = types[kind]["keys"]
    refused = REFUSED | (OF_ADALORA if kind == "ADALORA" else {})
    for key, value in config.items():
        if key == "peft_type":
            continue
        if key not in keys:
            offered = sorted(name for name in keys if name not in refused)
            raise KeyProblem(
                f"config.{key}",
                value,
                f"a key of {kind}: {', '.join(offered)}",
                nearest(key, offered),
            )
        _check_value(kind, key, value, keys[key], refused)
    for key in REQUIRED.get(kind, ()):
        if not config.get(key):
            raise KeyProblem(f"config.{key}", config.get(key, "nothing"), f"this key of {kind}")
    _check_together(kind, {name: one["default"] for name, one in keys.items()} | dict(config))


def _check_value(kind: str, key: str, value: Any, fact: Any, refused: Mapping[str, str]) -> None:
    where = f"config.{key}"
    if key == "task_type":
        if value != "CAUSAL_LM":
            raise KeyProblem(where, value, "CAUSAL_LM, or no such key: every study is of one")
        return
    if value == fact["default"] and type(value) is type(fact["default"]):
        return
    if key in refused:
        raise KeyProblem(where, value, refused[key])
    # An enumeration of peft's stands beside any text; what it has no value for is refused later.
    wanted = [one for one in fact["types"] if one != "str" or not _enumerates(fact["types"])]
    if not any(_is(value, one) for one in wanted):
        texts = [json.loads(one) for one in wanted if one.startswith('"')]
        raise KeyProblem(
            where,
            value,
            f"{' or '.join(one.strip(chr(34)) for one in wanted)}",
            nearest(value, texts) if isinstance(value, str) else "",
        )
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and key in POSITIVE and value <= 0:
        raise KeyProblem(where, value, f"a number above 0 for {kind}")
    if number and key.endswith("dropout") and not 0 <= value < 1:
        raise KeyProblem(where, value, "a share from 0 to below 1")


def _enumerates(types: list[str]) -> bool:
    return "str" in types and any(one.startswith('"') for one in types)


def _is(value: Any, wanted: str) -> bool:
    """Whether a value of JSON is of a type of the table."""
    if wanted == "null":
        return value is None
    if wanted.startswith('"'):
        return bool(value == json.loads(wanted))
    if wanted in ("int", "float"):
        numbers = (int,) if wanted == "int" else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool)
    outer, _, inner = wanted.removesuffix("]").partition("[")
    parts = inner.split(" | ") if inner and "[" not in inner else [inner] if inner else []
    if outer == "list":
        return isinstance(value, list | tuple) and all(
            any(_is(one, part) for part in parts) for one in value
        )
    if outer == "dict":
        return isinstance(value, dict) and all(
            not parts or any(_is(one, part) for part in parts) for one in value.values()
        )
    return {"str": isinstance(value, str), "bool": isinstance(value, bool)}.get(wanted, False)


def _check_together(kind: str, keys: Mapping[str, Any]) -> None:
    """What one key says of another, where peft finds out in the run or not at all."""
    if kind == "ADALORA" and keys["target_r"] >= keys["init_r"]:
        raise KeyProblem(
            "config.target_r", keys["target_r"], f"less than init_r, which is {keys['init_r']}"
        )
    if kind == "OFT" and bool(keys["r"]) == bool(keys["oft_block_size"]):
        raise KeyProblem(
            "config.r",
            keys["r"],
            "r or oft_block_size, one of them 0: r blocks of oft_block_size are the inputs",
        )
    if kind == "BOFT" and bool(keys["boft_block_size"]) == bool(keys["boft_block_num"]):
        expected = "boft_block_size or boft_block_num, one of them 0"
        raise KeyProblem("config.boft_block_num", keys["boft_block_num"], expected)
    if kind == "PROMPT_TUNING":
        text, init = keys["prompt_tuning_init_text"], keys["prompt_tuning_init"]
        if (init == "TEXT") != bool(text):
            raise KeyProblem(
                "config.prompt_tuning_init_text", text, "a text with prompt_tuning_init TEXT alone"
            )
    if kind == "CARTRIDGE" and not 0 <= keys["num_frozen_tokens"] < keys["num_virtual_tokens"]:
        raise KeyProblem(
            "config.num_frozen_tokens",
            keys["num_frozen_tokens"],
            f"0 to {keys['num_virtual_tokens'] - 1}, so that a virtual token trains",
        )
    if keys.get("layers_pattern") and keys.get("layers_to_transform") is None:
        expected = "nothing without layers_to_transform"
        raise KeyProblem("config.layers_pattern", keys["layers_pattern"], expected)
    if isinstance(keys.get("target_modules"), str) and keys.get("layers_to_transform") is not None:
        expected = "a list of names with layers_to_transform, or a pattern without it"
        raise KeyProblem("config.target_modules", keys["target_modules"], expected)
