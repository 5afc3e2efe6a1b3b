"""Which modules of a model a method of peft's adapts, by peft's rules, and whether they fit it.

In: a model's config.json and a method's keys. Out: names of modules with their sizes, or a
KeyProblem. It knows what `models.architecture` knows and imports no peft.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lora_ledger.common.errors import KeyProblem, nearest
from lora_ledger.models import architecture

from .facts import VIRTUAL
from .table import table

Shape = tuple[int, int]
ALL_LINEAR = "all-linear"
OUTER = {"TRAINABLE_TOKENS": "embed_tokens"}
"""What is adapted by methods that have no list of their own for each architecture."""


def keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """All keys of a method with the value that holds, peft's own where none was given."""
    known = table()["types"][config["peft_type"]]["keys"]
    return {name: one["default"] for name, one in known.items()} | dict(config)


def linear(model: Mapping[str, object]) -> dict[str, Shape]:
    """The linear modules of all blocks: full name → (inputs, outputs)."""
    read = architecture.read(model)
    return {
        f"model.layers.{block}.{'self_attn' if name in architecture.ATTENTION else 'mlp'}.{name}": (
            shape
        )
        for block in range(read.layers)
        for name, shape in read.modules.items()
    }


def norms(model: Mapping[str, object]) -> dict[str, Shape]:
    """The norms, with their number of weights and a 0."""
    return {
        name.removesuffix(".weight"): (size, 0)
        for name, size in architecture.tensors(model).items()
        if "norm" in name
    }


def adapted(
    model: Mapping[str, object], config: Mapping[str, Any], where: str = ""
) -> dict[str, Shape]:
    """The modules that are adapted, with their sizes; empty for virtual tokens.

    Raises KeyProblem for a name that the model lacks or that the method cannot adapt.
    """
    kind = config["peft_type"]
    if kind in VIRTUAL or kind in ("ADAPTION_PROMPT", *OUTER):
        return {}
    able = norms(model) if kind == "LN_TUNING" else linear(model)
    asked = keys(config)
    targets = _targets(model, config, where)
    _check_names(targets, able, f"{where}target_modules", kind)
    found = {
        name: shape
        for name, shape in able.items()
        if _matches(targets, name)
        and not _matches(asked.get("exclude_modules") or (), name)
        and _in_layers(asked, name)
    }
    if not found:
        raise KeyProblem(f"{where}target_modules", targets, f"a module for {kind} to adapt")
    return found


def feedforward(model: Mapping[str, object], config: Mapping[str, Any], name: str) -> bool:
    """Whether IA3 multiplies the inputs of a module, and not its outputs."""
    own = config.get("feedforward_modules")
    usual = table()["types"]["IA3"]["feedforward"][model["model_type"]]
    return _matches(usual if own is None else own, name)


def check(model: Mapping[str, object], config: Mapping[str, Any], where: str) -> None:
    """Refuse a method that this architecture cannot have.

    Raises KeyProblem; `where` stands before the key.
    """
    kind, asked, read = config["peft_type"], keys(config), architecture.read(model)
    if kind == "ADAPTION_PROMPT":
        able = table()["types"][kind]["targets"]
        if read.model_type not in able:
            expected = f"a method for a {read.model_type} model; {kind} is for {', '.join(able)}"
            raise KeyProblem(f"{where}peft_type", kind, expected)
        if asked["adapter_layers"] > read.layers:
            expected = f"at most {read.layers}, the model's blocks"
            raise KeyProblem(f"{where}adapter_layers", asked["adapter_layers"], expected)
    for token in asked.get("token_indices") or ():
        if not 0 <= token < read.vocab:
            expected = f"ids from 0 to {read.vocab - 1}, the model's vocabulary"
            raise KeyProblem(f"{where}token_indices", token, expected)
    if kind == "TRAINABLE_TOKENS" and asked["target_modules"] not in (None, ["embed_tokens"]):
        expected = "embed_tokens, or no such key"
        raise KeyProblem(f"{where}target_modules", asked["target_modules"], expected)
    layers = asked.get("layers_to_transform")
    for layer in [layers] if isinstance(layers, int) else layers or ():
        if not 0 <= layer < read.layers:
            expected = f"blocks from 0 to {read.layers - 1}"
            raise KeyProblem(f"{where}layers_to_transform", layer, expected)
    found = adapted(model, config, where)
    if kind == "IA3":
        _check_feedforward(asked, found, where)
    for name, shape in found.items():
        _check_sizes(kind, asked, name, shape, where)


def _targets(
    model: Mapping[str, object], config: Mapping[str, Any], where: str
) -> str | Sequence[str]:
    kind, own = config["peft_type"], config.get("target_modules")
    if own is not None:
        targets: str | Sequence[str] = own
        return targets
    usual = table()["types"][kind].get("targets", {}).get(model["model_type"])
    if usual is None:
        raise KeyProblem(
            f"{where}target_modules",
            "nothing",
            f"this key, since peft has no modules for {kind} in a {model['model_type']} model",
        )
    return tuple(usual)


def _check_names(
    targets: str | Sequence[str], able: Mapping[str, Shape], key: str, kind: str
) -> None:
    """Every name of a list, and a pattern, has to say something."""
    short = list(dict.fromkeys(name.rpartition(".")[2] for name in able))
    if isinstance(targets, str):
        try:
            outer = [name for name in ("lm_head", "model.embed_tokens") if _matches(targets, name)]
            if outer:
                expected = f"a pattern without {outer[0]}: modules of the blocks are adapted alone"
                raise KeyProblem(key, targets, expected)
            if any(_matches(targets, name) for name in able):
                return
        except re.error as error:
            raise KeyProblem(key, targets, f"a regular expression ({error})") from error
        expected = f"{ALL_LINEAR}, a list of names, or a pattern of whole names of modules for "
        raise KeyProblem(key, targets, f"{expected}{kind}, such as {next(iter(able))}")
    for target in targets:
        if not any(_matches([target], name) for name in able):
            expected = f"modules that {kind} adapts: {', '.join(short)}"
            raise KeyProblem(key, target, expected, nearest(target, short))


def _matches(targets: str | Sequence[str], name: str) -> bool:
    if isinstance(targets, str):
        linear_ones = targets.lower() == ALL_LINEAR and name.endswith("_proj")
        return linear_ones or re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _in_layers(asked: Mapping[str, Any], name: str) -> bool:
    chosen = asked.get("layers_to_transform")
    if chosen is None or chosen == []:
        return True
    patterns = asked.get("layers_pattern") or r"[^.]*"
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        match = re.match(rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\.", name)
        if match:
            return int(match["idx"]) in ([chosen] if isinstance(chosen, int) else chosen)
    return False


def _check_feedforward(asked: Mapping[str, Any], found: Mapping[str, Shape], where: str) -> None:
    """peft takes only what is among its own targets too."""
    own = asked["feedforward_modules"] or ()
    for one in [own] if isinstance(own, str) else own:
        if not any(_matches(own if isinstance(own, str) else [one], name) for name in found):
            expected = f"modules among the targets: {', '.join(dict.fromkeys(_short(found)))}"
            raise KeyProblem(f"{where}feedforward_modules", one, expected)


def _short(names: Mapping[str, Shape]) -> list[str]:
    return [name.rpartition(".")[2] for name in names]


def _check_sizes(kind: str, asked: Mapping[str, Any], name: str, shape: Shape, where: str) -> None:
    """The sizes that peft divides by divide, and a rank is no larger than a module's side."""
    inputs, outputs = shape
    module = name.rpartition(".")[2]
    sides = {"inputs": inputs, "outputs": outputs}
    divided: dict[str, tuple[str, ...]] = {
        "BOFT": ("boft_block_size", "boft_block_num"),
        "C3A": ("block_size",),
        "GRALORA": ("gralora_k",),
        "OFT": ("oft_block_size", "r"),
        "ROAD": ("group_size",),
        "VBLORA": ("vector_length",),
    }
    of = {"BOFT": ("inputs",), "OFT": ("inputs",), "ROAD": ("outputs",)}.get(kind, tuple(sides))
    for key in divided.get(kind, ()):
        for side in of:
            if asked[key] and sides[side] % asked[key]:
                expected = f"a divisor of {sides[side]}, the {side} of {module}"
                raise KeyProblem(f"{where}{key}", asked[key], expected)
    most = {
        "FOURIERFT": ("n_frequency", inputs * outputs),
        "MISS": ("r", inputs),
        "PSOFT": ("r", min(shape)),
        "WAVEFT": ("n_frequency", inputs * outputs),
    }
    if kind in most and asked[most[kind][0]] > most[kind][1]:
        key, limit = most[kind]
        expected = f"at most {limit}, as {module} has {inputs} inputs and {outputs} outputs"
        raise KeyProblem(f"{where}{key}", asked[key], expected)
