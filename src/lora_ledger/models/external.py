"""Somebody else's model or adapter, checked before anything loads it.

In: a folder with config.json or adapter_config.json, and the config of the study's model. Out: a
folder with `model/` or `adapter/`, as a trained cell has, and a summary for the record. Shapes are
read from the headers of the safetensors; no weight is loaded, no code of the folder is run, and the
base that an adapter names is not followed. It does not measure whether the weights are any good.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from lora_ledger.catalogue import TokenRoles
from lora_ledger.data.sources import SourceError
from lora_ledger.data.sources.cache import sha256_of

from . import architecture
from .pretrained import (
    FOLDER_PATTERNS,
    PICKLED,
    check_weights,
    link_files,
    plain_config,
    read_json,
)
from .tokens import token_ids

WEIGHTS = "adapter_model.safetensors"
CONFIGS = {"adapter": "adapter_config.json", "model": "config.json"}
FLOATS = ("F32", "F16", "BF16")
# What peft would do beyond adding s B A to a weight when it reads the adapter: import a module that
# is named there, change the base, or need more than one forward pass of the plain model.
REFUSED = (
    "alora_invocation_tokens",
    "arrow_config",
    "auto_mapping",
    "kasa_config",
    "layer_replication",
    "loftq_config",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
)
# Other initialisations make peft split the base weight anew when the adapter is read.
INITS = (True, False, "gaussian", "orthogonal", None)
ADAPTED = re.compile(
    r"base_model\.model\.(model\.layers\.\d+\.(?:self_attn|mlp)\.\w+|lm_head)"
    r"\.(lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_magnitude_vector(?:\.weight)?)"
)
BLOCKS = {
    **dict.fromkeys(architecture.ATTENTION, "self_attn"),
    **dict.fromkeys(architecture.MLP, "mlp"),
}
Header = dict[str, tuple[str, list[int]]]


def kind_of(origin: Path) -> str:
    """`adapter` or `model`; SourceError, with what was found, for neither and for both."""
    found = [kind for kind, name in CONFIGS.items() if (origin / name).is_file()]
    if len(found) != 1:
        names = sorted(path.name for path in origin.glob("*"))
        raise SourceError(
            f"{origin}: found {', '.join(names) or 'nothing'}, expected "
            f"{' or '.join(CONFIGS.values())}, one of them; name a folder that is a model or an "
            "adapter"
        )
    return found[0]


def write(
    origin: Path, out: Path, base: Mapping[str, object], tokens: TokenRoles
) -> dict[str, Any]:
    """Fill `out/model` or `out/adapter` and describe it: {kind, parameters, files: {path: sha256}}.

    `base` is the config of the study's model. Raises SourceError, naming file and key, for what
    does not fit it or is not plain.
    """
    kind = kind_of(origin)
    folder = out / kind
    try:
        if kind == "adapter":
            parameters = check_adapter(origin, base)
            patterns: Sequence[str] = (CONFIGS[kind], WEIGHTS)
        else:
            parameters = _check_model(origin, base, tokens)
            patterns = FOLDER_PATTERNS
    except ValueError as error:
        raise SourceError(f"{origin}: {error}") from error
    folder.mkdir(parents=True)
    link_files(origin, folder, patterns)
    files = {f"{kind}/{path.name}": sha256_of(path) for path in sorted(folder.iterdir())}
    return {"kind": kind, "parameters": parameters, "files": files}


def _check_model(origin: Path, base: Mapping[str, object], tokens: TokenRoles) -> int:
    config = plain_config(origin)
    found: Header = {}
    for path in check_weights(origin):
        found |= header(path)
    model = architecture.read(config)
    if (origin / "tokenizer.json").is_file():
        token_ids(tokens, origin)
    elif model.vocab != architecture.read(base).vocab:
        raise SourceError(
            f"{origin}: found a vocabulary of {model.vocab} and no tokenizer.json, expected that "
            f"of the study's model, {architecture.read(base).vocab}; add the model's tokenizer.json"
        )
    _check_names(origin, config, found)
    return architecture.total_parameters(config)


def _check_names(origin: Path, config: Mapping[str, object], found: Header) -> None:
    """Every linear module and both ends of the model are there, in their shapes.

    transformers draws what is missing at random and says so in a warning only.
    """
    model = architecture.read(config)
    expected = {"model.embed_tokens.weight": [model.vocab, model.hidden]}
    if not model.tied:
        expected["lm_head.weight"] = [model.vocab, model.hidden]
    for layer in range(model.layers):
        for module, (wide, out) in model.modules.items():
            name = f"model.layers.{layer}.{BLOCKS[module]}.{module}.weight"
            expected[name] = [out, wide]
    for name, shape in expected.items():
        there = found[name][1] if name in found else "nothing"
        if there != shape:
            raise SourceError(
                f"{origin}: {name}: found {there}, expected {shape}, as config.json says; save the "
                "model again with save_pretrained"
            )


def check_adapter(origin: Path, base: Mapping[str, object]) -> int:
    """How many parameters a LoRA of peft has; SourceError unless it fits the model `base`."""
    path = origin / CONFIGS["adapter"]
    config = read_json(path)
    if config.get("peft_type") != "LORA":
        raise SourceError(f"{path}, peft_type: found {config.get('peft_type')!r}, expected LORA")
    for key in REFUSED:
        if config.get(key):
            raise SourceError(
                f"{path}, {key}: found {config[key]!r}, expected nothing: an adapter that is more "
                "than B A beside a weight is not read; merge it and give the model instead"
            )
    init = config.get("init_lora_weights")
    if init not in INITS:
        raise SourceError(
            f"{path}, init_lora_weights: found {init!r}, with which peft changes the base anew "
            "when it reads the adapter; convert it to an ordinary LoRA (save_pretrained with "
            "path_initial_model_for_weight_conversion)"
        )
    weights = origin / WEIGHTS
    if not weights.is_file():
        others = sorted(one.name for one in origin.glob("*") if one.suffix in PICKLED)
        raise SourceError(
            f"{origin} lacks {WEIGHTS}"
            + (f" and has {', '.join(others)}, which are not read" if others else "")
            + "; only safetensors are: write them with save_pretrained"
        )
    shapes = header(weights)
    found = _check_shapes(weights, shapes, config, base)
    _check_targets(path, config, base, found)
    return sum(prod(shape) for _, shape in shapes.values())


def header(path: Path) -> Header:
    """Type and shape of each tensor of a safetensors file, from its header alone.

    Raises SourceError for a file that is no such file, is cut short, or holds other than floats.
    """
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        try:
            # The format allows a header of 100 MB at most.
            found = json.loads(file.read(length)) if 0 < length <= 10**8 else None
        except ValueError:
            found = None
    if not isinstance(found, dict):
        raise SourceError(f"{path}: found no header, expected a safetensors file; fetch it again")
    found.pop("__metadata__", None)
    try:
        ends = [int(one["data_offsets"][1]) for one in found.values()]
        tensors = {name: (str(one["dtype"]), list(one["shape"])) for name, one in found.items()}
    except (IndexError, KeyError, TypeError) as error:
        raise SourceError(
            f"{path}: found a header without {error}, expected a safetensors file; fetch it again"
        ) from error
    end = 8 + length + max(ends, default=0)
    if path.stat().st_size != end:
        raise SourceError(
            f"{path}: found {path.stat().st_size} bytes, expected {end}, as its header says; "
            "fetch it again"
        )
    for name, (dtype, _) in tensors.items():
        if dtype not in FLOATS:
            raise SourceError(
                f"{path}, {name}: found {dtype}, expected one of {', '.join(FLOATS)}; "
                "quantised weights are not read: save a dequantised copy"
            )
    return tensors


def _check_shapes(
    path: Path, shapes: Header, config: Mapping[str, Any], base: Mapping[str, object]
) -> set[str]:
    """The adapted modules' paths; every tensor has the shape that the base asks for."""
    model = architecture.read(base)
    allowed = tuple(config.get("modules_to_save") or ())
    # A rank below the least of peft matches no tensor and leaves the message to the shapes.
    rank = config.get("r") if not config.get("rank_pattern") else None
    parts: dict[str, set[str]] = {}
    for name, (_, shape) in shapes.items():
        match = ADAPTED.fullmatch(name)
        if match:
            module, part = match[1], match[2].removesuffix(".weight")
            here = rank or (shape[0] if part == "lora_A" else shape[-1])
            expected = _expected(model, module, part, here)
            parts.setdefault(module, set()).add(part)
        else:
            module = name.removeprefix("base_model.model.").removesuffix(".weight")
            # peft compares the ends of names, whole parts or not.
            whole = name.endswith(".weight") and module.endswith(allowed)
            expected = _whole(model, module) if whole else None
        if expected is None or shape != expected:
            raise SourceError(
                f"{path}, {name}: found the shape {shape}, expected "
                + (f"{expected}" if expected else "no such tensor")
                + f" for the study's model ({model.model_type}, {model.layers} layers, hidden "
                f"{model.hidden}, vocabulary {model.vocab}) at rank {config.get('r')}; an adapter "
                "has to be of the study's model"
            )
    for module, there in parts.items():
        ranks = {
            shapes[f"base_model.model.{module}.{part}.weight"][1][axis]
            for part, axis in (("lora_A", 0), ("lora_B", 1))
            if part in there
        }
        if not {"lora_A", "lora_B"} <= there or len(ranks) != 1:
            raise SourceError(
                f"{path}, {module}: found {', '.join(sorted(there))} of ranks {sorted(ranks)}, "
                "expected lora_A and lora_B of one rank"
            )
        if bool(config.get("use_dora")) != ("lora_magnitude_vector" in there):
            raise SourceError(
                f"{path}, {module}: found {', '.join(sorted(there))}, expected a "
                f"lora_magnitude_vector exactly with use_dora, which is {config.get('use_dora')}"
            )
    return set(parts)


def _whole(model: architecture.Architecture, module: str) -> list[int] | None:
    """The shape of a module's whole weight; None where the model has no such module."""
    if module in ("model.embed_tokens", "lm_head"):
        return None if module == "lm_head" and model.tied else [model.vocab, model.hidden]
    if module == "model.norm":
        return [model.hidden]
    layer, _, name = module.removeprefix("model.layers.").partition(".")
    if not (layer.isdecimal() and int(layer) < model.layers):
        return None
    if name in ("input_layernorm", "post_attention_layernorm"):
        return [model.hidden]
    if name in ("self_attn.q_norm", "self_attn.k_norm") and model.model_type == "qwen3":
        return [model.head_dim]
    inside, _, short = name.partition(".")
    there = BLOCKS.get(short) == inside
    return [model.modules[short][1], model.modules[short][0]] if there else None


def _expected(
    model: architecture.Architecture, module: str, part: str, rank: int
) -> list[int] | None:
    """The shape of one part of an adapted module; None where the model has no such module."""
    if module == "lm_head":
        # A tied head is the embedding: merging into it would change that too.
        sizes = None if model.tied else (model.hidden, model.vocab)
    else:
        _, _, layer, block, name = module.split(".")
        there = BLOCKS.get(name) == block and int(layer) < model.layers
        sizes = model.modules[name] if there else None
    if sizes is None:
        return None
    shapes = {"lora_A": [rank, sizes[0]], "lora_B": [sizes[1], rank]}
    return shapes.get(part, [sizes[1]])


def _check_targets(
    path: Path, config: Mapping[str, Any], base: Mapping[str, object], found: set[str]
) -> None:
    """The weights are there for exactly those modules that peft will adapt.

    peft leaves a module without weights at its start and passes over weights without a module.
    """
    model = architecture.read(base)
    every = [
        f"model.layers.{layer}.{BLOCKS[name]}.{name}"
        for layer in range(model.layers)
        for name in model.modules
    ]
    targets = config.get("target_modules") or []
    layers = config.get("layers_to_transform")
    chosen = [layers] if isinstance(layers, int) else layers
    wanted = {
        module
        for module in [*every, "lm_head"]
        if (module != "lm_head" if targets == "all-linear" else _named(module, targets))
        and not _named(module, config.get("exclude_modules") or [])
        and (chosen is None or (module != "lm_head" and int(module.split(".")[2]) in chosen))
    }
    if wanted != found or not found:
        surplus, lacking = sorted(found - wanted), sorted(wanted - found)
        raise SourceError(
            f"{path}, target_modules: found {targets!r}, which asks for {len(wanted)} modules, and "
            f"weights for {len(found)}; expected the same"
            + (f"; without weights: {lacking[0]}" if lacking else "")
            + (f"; not asked for: {surplus[0]}" if surplus else "")
        )


def _named(module: str, targets: str | Sequence[str]) -> bool:
    """Whether peft takes a module for one of the targets: a pattern, or ends of names."""
    if isinstance(targets, str):
        try:
            return re.fullmatch(targets, module) is not None
        except re.error as error:
            raise SourceError(
                f"adapter_config.json: found {targets!r} ({error}), expected a pattern of modules"
            ) from error
    return any(module == target or module.endswith(f".{target}") for target in targets)
