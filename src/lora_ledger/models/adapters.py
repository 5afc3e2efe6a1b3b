"""Somebody else's adapter: whether it is a LoRA of the study's model, and all of it is understood.

In: a folder with adapter_config.json and safetensors, and the config of the study's model. Out: how
many parameters it has, or the reason why it cannot be taken. The tensors that have to be there are
those that peft saves of a model without weights; keys that say more than this model can show are
refused. No weight is loaded.
"""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from lora_ledger.data.sources import SourceError

from . import architecture
from .pretrained import PICKLED, read_json
from .skeletons import Shapes, shapes, without_weights

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
Names = str | list[str] | None


class Followed(BaseModel):
    """Keys of adapter_config.json that the model without weights follows as the model with them
    does, and what they hold: peft checks no type, and reads the text "false" as true."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    alpha_pattern: dict[str, float] = {}
    bias: str = "none"
    exclude_modules: Names = None
    layers_pattern: Names = None
    layers_to_transform: int | list[int] | None = None
    lora_alpha: float = 8
    lora_bias: bool | None = False
    lora_dropout: Annotated[float, Field(ge=0, le=1)] = 0.0
    modules_to_save: list[str] | None = None
    r: PositiveInt = 8
    rank_pattern: dict[str, PositiveInt] = {}
    target_modules: Names = None
    use_dora: bool | None = False
    use_rslora: bool | None = False


# Keys without effect when an adapter is read: notes, and how one was initialised.
NOTES = (
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "fan_in_fan_out",
    "inference_mode",
    "loftq_config",
    "lora_ga_config",
    "peft_type",
    "peft_version",
    "revision",
    "task_type",
)
INITS = (True, False, "gaussian", "orthogonal", "eva", None)
# With these, peft needs data or splits the base weight anew when the adapter is read.
OTHER_INITS = ("corda", "loftq", "lora_ga", "olora", "pissa")


def check(origin: Path, base: Mapping[str, object]) -> int:
    """How many parameters a LoRA of peft has; SourceError unless it fits the model `base`."""
    path = origin / CONFIG
    config = read_json(path)
    _check_keys(path, config)
    weights = origin / WEIGHTS
    if not weights.is_file():
        others = sorted(one.name for one in origin.glob("*") if one.suffix in PICKLED)
        raise SourceError(
            f"{origin} lacks {WEIGHTS}"
            + (f" and has {', '.join(others)}, which are not read" if others else "")
            + "; only safetensors are: write them with save_pretrained"
        )
    # A DoRA has its magnitudes under either name, depending on the version of peft.
    suffix = ".lora_magnitude_vector"
    found = {
        name.removesuffix(".weight") if name.endswith(f"{suffix}.weight") else name: shape
        for name, shape in shapes(weights).items()
    }
    expected, copies = _adapted(path, config, base)
    _compare(path, weights, config, base, (found, expected, copies))
    return sum(prod(shape) for shape in expected.values())


def _check_keys(path: Path, config: Mapping[str, Any]) -> None:
    """SourceError for a key of adapter_config.json that says what is not understood here."""
    from peft import LoraConfig

    if config.get("peft_type") != "LORA":
        raise SourceError(f"{path}, peft_type: found {config.get('peft_type')!r}, expected LORA")
    usual = {
        one.name: one.default_factory()
        if one.default_factory is not dataclasses.MISSING
        else one.default
        for one in dataclasses.fields(LoraConfig)
    }
    known = (*Followed.model_fields, *NOTES, "init_lora_weights")
    for key, value in config.items():
        if key in known or not value or value == usual.get(key):
            continue
        raise SourceError(
            f"{path}, {key}: found {value!r}, expected nothing: what it adds to B A beside a "
            "weight is not read; merge the adapter and give the model instead"
        )
    # Written by peft where the adapter has no task type; here nobody imports it.
    mapping = config.get("auto_mapping")
    library = mapping.get("parent_library") if isinstance(mapping, dict) else mapping
    if mapping and not str(library).startswith("transformers."):
        raise SourceError(
            f"{path}, auto_mapping: found {mapping!r}, expected a module of transformers: no code "
            "that comes with an adapter is run; take the key out"
        )
    try:
        Followed.model_validate(config)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise SourceError(
            f"{path}, {key}: found {str(config[key])[:80]}, expected "
            f"{first['msg'].removeprefix('Input should be ')}; save the adapter again with peft"
        ) from None
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.startswith(OTHER_INITS):
        raise SourceError(
            f"{path}, init_lora_weights: found {init!r}, with which peft needs data or changes the "
            "base anew when it reads the adapter; convert it to an ordinary LoRA (save_pretrained "
            "with path_initial_model_for_weight_conversion)"
        )
    if not any(type(init) is type(one) and init == one for one in INITS):
        listed = ", ".join(json.dumps(one) for one in INITS)
        raise SourceError(
            f"{path}, init_lora_weights: found {init!r}, expected one of {listed}: of another one "
            "it is not known what it does to the base; save an adapter of one of these"
        )


def _adapted(
    path: Path, config: Mapping[str, Any], base: Mapping[str, object]
) -> tuple[Shapes, Shapes]:
    """What peft saves of the adapted model, and copies of base weights that it may save beside it.

    Raises SourceError for a target that cannot be merged into the study's model.
    """
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from peft.tuners.lora import LoraLayer
    from torch.nn import Linear

    keys = {key: config[key] for key in Followed.model_fields if config.get(key) is not None}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = LoraConfig(task_type="CAUSAL_LM", **keys)
            model = get_peft_model(without_weights(base), wanted, low_cpu_mem_usage=True)
            kept, more = (
                {
                    name: list(one.shape)
                    for name, one in get_peft_model_state_dict(
                        model, save_embedding_layers=how
                    ).items()
                }
                for how in (False, "auto")
            )
    except re.error as error:
        raise SourceError(
            f"{path}: found a pattern that is none ({error}), expected a pattern of modules"
        ) from error
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise SourceError(f"{path}: peft refuses it for the study's model: {error}") from error
    for name, layer in model.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        module = name.removeprefix("base_model.model.")
        if not isinstance(layer.get_base_layer(), Linear):
            raise SourceError(
                f"{path}, target_modules: found {module}, expected linear modules; an adapter on "
                "an embedding is not read: merge it and give the model instead"
            )
        if module == "lm_head" and architecture.read(base).tied:
            raise SourceError(
                f"{path}, target_modules: found lm_head, which in the study's model is one matrix "
                "with the embedding, so that merging would change both; expected other modules"
            )
        if config.get("lora_bias") and layer.get_base_layer().bias is None:
            raise SourceError(
                f"{path}, lora_bias: found True, expected False, since {module} of the study's "
                "model has no bias that the adapter's could be merged into"
            )
    return kept, {name: shape for name, shape in more.items() if name not in kept}


def _compare(
    path: Path,
    weights: Path,
    config: Mapping[str, Any],
    base: Mapping[str, object],
    tensors: tuple[Shapes, Shapes, Shapes],
) -> None:
    """SourceError, with the reason, unless the tensors are those that peft saves.

    peft leaves a module without weights at its start and passes over weights without a module.
    """
    found, expected, copies = tensors
    model = architecture.read(base)
    whose = (
        f"for the study's model ({model.model_type}, {model.layers} layers, hidden {model.hidden}, "
        f"vocabulary {model.vocab}) at rank {config.get('r')}; an adapter has to be of the study's "
        "model"
    )
    allowed = {**copies, **expected}
    for name, shape in found.items():
        if name in allowed and shape != allowed[name]:
            raise SourceError(
                f"{weights}, {name}: found the shape {shape}, expected {allowed[name]} {whose}"
            )
    there, wanted = _modules(found), _modules(expected)
    if there != wanted:
        surplus, lacking = sorted(there - wanted), sorted(wanted - there)
        raise SourceError(
            f"{path}, target_modules: found {config.get('target_modules')!r}, which asks for "
            f"{len(wanted)} modules, and weights for {len(there)}; expected the same"
            + (f"; without weights: {lacking[0]}" if lacking else "")
            + (f"; not asked for: {surplus[0]}" if surplus else "")
        )
    said = ", ".join(
        f"{key} {config[key]!r}"
        for key in ("use_dora", "bias", "lora_bias", "modules_to_save")
        if config.get(key)
    )
    for name in expected:
        if name not in found:
            raise SourceError(
                f"{weights}: found no {name}, expected one of shape {expected[name]}"
                f"{f', as {path.name} says {said}' if said else ''}; save the adapter again"
            )
    for name, shape in found.items():
        if name not in allowed:
            raise SourceError(
                f"{weights}, {name}: found the shape {shape}, expected no such tensor"
                f"{f', as {path.name} says {said}' if said else ''}, {whose}"
            )


def _modules(names: Iterable[str]) -> set[str]:
    """The modules that have an A or a B."""
    marked = (re.fullmatch(r"base_model\.model\.(.*)\.lora_[AB]\.weight", name) for name in names)
    return {match[1] for match in marked if match}
