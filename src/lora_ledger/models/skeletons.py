"""What a model is made of without its weights: as transformers builds it, and as files say it.

In: a config.json's mapping, or the path of a safetensors file. Out: a model without storage, or the
shapes of the file's tensors. It reads heads of files only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_ledger.data.sources import SourceError

FLOATS = ("F32", "F16", "BF16")
Shapes = dict[str, list[int]]


def shapes(path: Path) -> Shapes:
    """The shape of each tensor of a safetensors file, from its head.

    Raises SourceError for a file that is no such file, is cut short, or holds other than floats.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            kinds = {name: one.get_dtype() for name, one in slices.items()}
            found = {name: list(one.get_shape()) for name, one in slices.items()}
    except SafetensorError as error:
        raise SourceError(
            f"{path}: found no whole safetensors file ({error}); fetch it again"
        ) from error
    for name, kind in kinds.items():
        if kind not in FLOATS:
            raise SourceError(
                f"{path}, {name}: found {kind}, expected one of {', '.join(FLOATS)}; "
                "quantised weights are not read: save a dequantised copy"
            )
    return found


def without_weights(config: Mapping[str, object]) -> Any:
    """The model of a config.json as transformers makes it, with shapes and without storage."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    keys = {key: value for key, value in config.items() if key != "model_type"}
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **keys))
