"""Somebody else's model or adapter, checked before anything loads it.

In: a folder with config.json or adapter_config.json, and the config of the study's model. Out: a
folder with `model/` or `adapter/`, as a trained cell has, and a summary for the record. Which
tensors have to be there, in which shapes, says a model that transformers or peft builds without
weights; which are there, say the heads of the safetensors. No weight is loaded, no code of the
folder is run, and the base that an adapter names is not followed. It does not measure whether the
weights are any good.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from lora_ledger.catalogue import TokenRoles
from lora_ledger.data.sources import SourceError
from lora_ledger.data.sources.cache import sha256_of

from . import adapters, architecture
from .pretrained import (
    FOLDER_PATTERNS,
    check_weights,
    link_files,
    plain_config,
)
from .skeletons import Shapes, shapes, without_weights
from .tokens import token_ids

CONFIGS = {"adapter": adapters.CONFIG, "model": "config.json"}
# What old checkpoints hold and no model reads.
COMPUTED = re.compile(r".*\.rotary_emb\.inv_freq")


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
            parameters = adapters.check(origin, base)
            patterns: Sequence[str] = (CONFIGS[kind], adapters.WEIGHTS)
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
    """How many parameters a model has; SourceError unless each tensor of its config is there.

    transformers draws what is missing at random, passes over what its config does not know, and
    says so in a warning only.
    """
    config = plain_config(origin)
    model = architecture.read(config)
    found: Shapes = {}
    for path in check_weights(origin):
        found |= shapes(path)
    if (origin / "tokenizer.json").is_file():
        token_ids(tokens, origin)
    elif model.vocab != architecture.read(base).vocab:
        raise SourceError(
            f"{origin}: found a vocabulary of {model.vocab} and no tokenizer.json, expected that "
            f"of the study's model, {architecture.read(base).vocab}; add the model's tokenizer.json"
        )
    skeleton = without_weights(config)
    expected = {name: list(one.shape) for name, one in skeleton.state_dict().items()}
    tied = set(skeleton.all_tied_weights_keys)
    for name, shape in expected.items():
        there = found.get(name, shape if name in tied else "nothing")
        if there != shape:
            raise SourceError(
                f"{origin}: {name}: found {there}, expected {shape}, as config.json says; save the "
                "model again with save_pretrained"
            )
    for name, shape in found.items():
        if name not in expected and not COMPUTED.fullmatch(name):
            raise SourceError(
                f"{origin}: {name}: found {shape}, expected no such tensor, as config.json asks "
                "for none and transformers would pass over it; save the model again with "
                "save_pretrained"
            )
    return sum(prod(shape) for name, shape in expected.items() if name not in tied)
