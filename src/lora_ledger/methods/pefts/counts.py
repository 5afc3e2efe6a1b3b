"""How many weights a method of peft's trains: exactly for some, a bound for all.

In: a model's config.json and a method's keys. Out: a number in closed form where there is one; the
number on a model without weights (torch, peft) for the rest; and a bound from the config alone, by
which memory is planned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lora_ledger.models import architecture

from .facts import PREFIXES, PROMPTS, VIRTUAL
from .modules import Shape, adapted, feedforward, keys

Keys = Mapping[str, Any]

PER_MODULE: dict[str, Callable[[Keys, int, int], int]] = {
    "ADALORA": lambda k, i, o: k["init_r"] * (i + o + 1),
    "DEFT": lambda k, i, o: k["r"] * (i + o),
    "FOURIERFT": lambda k, i, o: k["n_frequency"],
    "HIRA": lambda k, i, o: k["r"] * (i + o),
    "HRA": lambda k, i, o: k["r"] * i,
    "LN_TUNING": lambda k, i, o: i,
    "LOHA": lambda k, i, o: 2 * k["r"] * (i + o),
    "OFT": lambda k, i, o: _oft(k, i),
    "SHIRA": lambda k, i, o: k["r"] * (i + o),
    "VERA": lambda k, i, o: k["r"] + o,
}
"""Weights of one module with that many inputs and outputs."""
PATTERNS = ("rank_pattern", "alpha_pattern", "n_frequency_pattern", "bias", "init_weights", "para")
"""Keys that may give a module another number than the closed form has."""
LOW_RANK = (
    *("ADALORA", "DEFT", "DELORA", "GRALORA", "HIRA", "HRA", "IA3", "LN_TUNING", "LOHA", "MISS"),
    *("PEANUT", "PSOFT", "PVERA", "ROAD", "SHIRA", "TINYLORA", "UNILORA", "VERA"),
)
"""Methods that train no more in a module than four LoRAs of their rank and a vector or two."""


OF_THE_WEIGHTS = ("ADAMSS", "FROD")
"""Methods whose number of weights follows from the base's weights."""


def closed_form(model: Mapping[str, object], config: Keys) -> int | None:
    """The number of weights that train, or None where there is no closed form."""
    kind, asked, read = config["peft_type"], keys(config), architecture.read(model)
    kv, virtual = read.kv_heads * read.head_dim, int(asked.get("num_virtual_tokens") or 0)
    if kind == "PREFIX_TUNING":
        wide = read.layers * 2 * kv
        if not asked["prefix_projection"]:
            return virtual * wide
        inner = int(asked["encoder_hidden_size"] or kv)
        return virtual * kv + (kv + 1) * inner + (inner + 1) * wide
    if kind == "CARTRIDGE":
        return int((virtual - asked["num_frozen_tokens"]) * read.layers * 2 * kv)
    if kind == "PROMPT_TUNING":
        return virtual * read.hidden
    if kind == "TRAINABLE_TOKENS":
        return len(set(asked["token_indices"])) * read.hidden
    if kind == "IA3":
        return sum(
            inputs if feedforward(model, asked, name) else outputs
            for name, (inputs, outputs) in adapted(model, config).items()
        )
    usual = keys({"peft_type": kind})
    if kind in PER_MODULE and all(asked.get(key) == usual.get(key) for key in PATTERNS):
        count = PER_MODULE[kind]
        return sum(count(asked, *shape) for shape in adapted(model, config).values())
    return None


def bound(model: Mapping[str, object], config: Keys) -> int:
    """At least as many weights as train, from config.json alone.

    A method that is not of low rank, and has no closed form, is taken to train as many as the model
    has.
    """
    exact = closed_form(model, config)
    if exact is not None:
        return exact
    kind, asked, total = config["peft_type"], keys(config), architecture.total_parameters(model)
    read = architecture.read(model)
    if kind == "P_TUNING":
        wide = max(asked["encoder_hidden_size"] or 0, read.hidden)
        layers = 3 if asked["encoder_reparameterization_type"] == "MLP" else 16
        deep = max(1, asked["encoder_num_layers"])
        return int(asked["num_virtual_tokens"] * read.hidden + layers * deep * 3 * wide * wide)
    if kind == "ADAPTION_PROMPT":
        return int(asked["adapter_layers"]) * (int(asked["adapter_len"]) * read.hidden + 1)
    if kind in LOW_RANK and asked.get("bias", "none") == "none":
        ranks = [asked.get(key) or 0 for key in ("r", "u", "hybrid_r")]
        rank = int(max([*ranks, *(asked.get("rank_pattern") or {}).values()]))
        sides = sum(inputs + outputs for inputs, outputs in adapted(model, config).values())
        return (4 * rank + 2) * sides + int(asked.get("theta_d_length") or 0)
    return total


def counted(model: Mapping[str, object], config: Keys) -> int:
    """The number of weights that train, counted on a model without weights.

    Two methods look at the weights; they are counted on weights that are drawn.
    """
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from lora_ledger.models.skeletons import without_weights

    from .making import made

    if config["peft_type"] in OF_THE_WEIGHTS:
        of = {key: value for key, value in model.items() if key != "model_type"}
        base = AutoModelForCausalLM.from_config(AutoConfig.for_model(model["model_type"], **of))
    else:
        base = without_weights(model)
    adapted_model = get_peft_model(base, made(config))
    return sum(w.numel() for w in adapted_model.parameters() if w.requires_grad)


def frozen_products(model: Mapping[str, object], config: Keys) -> int:
    """Entries of the frozen matrices that stand beside the modules and are multiplied by."""
    if config["peft_type"] not in ("PVERA", "VERA"):
        return 0
    rank = keys(config)["r"]
    return sum(rank * (i + o) for i, o in adapted(model, config).values())


def longer(config: Keys) -> tuple[int, int]:
    """By how many positions the text is longer in the blocks, and in attention alone."""
    virtual = int(config.get("num_virtual_tokens") or 0) if config["peft_type"] in VIRTUAL else 0
    inputs = virtual if config["peft_type"] in PROMPTS else 0
    return inputs, virtual if config["peft_type"] in PREFIXES else 0


def _oft(asked: Keys, inputs: int) -> int:
    """Skew-symmetric blocks, one for all where they are shared."""
    size = asked["oft_block_size"] or inputs // asked["r"]
    blocks = 1 if asked["block_share"] else inputs // size
    return int(blocks * size * (size - 1) // 2)


__all__ = ["Shape", "bound", "closed_form", "counted", "frozen_products", "longer"]
