"""The update of a saved LoRA as products of thin factors, read without the model.

In: a peft folder. Out: for each weight that it changes, s · B A with B, A and s apart; nothing
where the update is no such product, as DoRA's is not. It loads no model and multiplies nothing.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADAPTER, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX, DOWN, UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
OTHERWISE = (
    "use_dora", "fan_in_fan_out", "lora_bias", "modules_to_save", "alpha_pattern", "rank_pattern",
    "trainable_token_indices", "target_parameters", "layer_replication", "use_qalora",
    "alora_invocation_tokens", "arrow_config", "kasa_config",
)  # fmt: skip
"""Keys that, where they are set, make of ΔW something else, or scale it weight by weight."""


@dataclass(frozen=True)
class Product:
    """ΔW = scale · up · down, of shapes (out, r) and (r, in), in fp32.

    `trained`: how many columns of `up` and rows of `down`, from the first, are the weights that
    trained; the rest are what a split base weight is made whole with.
    """

    up: Any
    down: Any
    scale: float
    trained: int


def of_folder(folder: Path, trained: int | None = None) -> dict[str, Product] | None:
    """By the name of the base's weight; None for an adapter that is no plain LoRA.

    `trained`: see `Product`; all, if it is not given.
    """
    from safetensors import safe_open

    from lora_ledger.models.tensors import read

    if not (folder / ADAPTER).is_file():
        return None
    config = json.loads((folder / ADAPTER).read_text("utf-8"))
    set_ = [key for key in OTHERWISE if config.get(key)]
    if config.get("peft_type") != "LORA" or set_ or config.get("bias", "none") != "none":
        return None
    path = folder / WEIGHTS
    with safe_open(path, framework="np") as file:
        names = list(file.keys())
    if not all(name.startswith(PREFIX) and name.endswith((DOWN, UP)) for name in names):
        return None
    found = {}
    for name in (one for one in names if one.endswith(DOWN)):
        module = name.removesuffix(DOWN)
        down, up = read(path, name), read(path, module + UP)
        rank = int(down.shape[0])
        over = math.sqrt(rank) if config.get("use_rslora") else rank
        found[f"{module.removeprefix(PREFIX)}.weight"] = Product(
            up, down, config["lora_alpha"] / over, rank if trained is None else trained
        )
    return found
