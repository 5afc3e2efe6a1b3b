"""Methods: how a model is parameterised for training, one small file for each kind.

In: a pretrained model in fp32 and a method of the study. Out: the model whose trainable weights are
exactly the method's, its saved form, and closed forms of its cost.
A method does not train, and does not know data, schedule or optimiser. A new kind is a new file
here with the functions of `Kind`, and a class in `study`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from lora_ledger.study.schema import FullLinearMethod, FullMethod, LoraMethod

AnyMethod = FullMethod | FullLinearMethod | LoraMethod


class Kind(Protocol):
    """What each file here provides."""

    ARTEFACT: str

    def apply(self, model: Any, method: Any, seed: int) -> Any: ...

    def save(self, model: Any, out: Path, name: str, source: Path) -> Path: ...

    def trainable_parameters(self, config: Mapping[str, object], method: Any) -> int: ...

    def flops_per_token(
        self, config: Mapping[str, object], method: Any, sequence_length: int
    ) -> float: ...


def module_of(method: AnyMethod) -> str:
    """The name of the method's file inside the package, such as `methods.lora`."""
    return f"methods.{method.kind.replace('-', '_')}"


def _kind(method: AnyMethod) -> Kind:
    return cast(Kind, import_module(f"lora_ledger.{module_of(method)}"))


def artefact(method: AnyMethod) -> str:
    """The folder that a trained cell holds: `adapter` or `model`."""
    return _kind(method).ARTEFACT


def apply(model: Any, method: AnyMethod, seed: int) -> Any:
    """The model with the method's weights, and no others, set to train, all of them in fp32.

    `model` is changed. Raises ValueError, naming the key, for a setting that the model's shapes
    rule out.
    """
    return _kind(method).apply(model, method, seed)


def save(model: Any, method: AnyMethod, out: Path, name: str, source: Path) -> Path:
    """Write the trained weights into the new folder `out`; returns the file of weights.

    `name` is the base model's name in the catalogue, `source` its folder. No file depends on the
    machine or the time.
    """
    return _kind(method).save(model, out, name, source)


def trainable_parameters(config: Mapping[str, object], method: AnyMethod) -> int:
    """The number of weights that train, from config.json alone."""
    return _kind(method).trainable_parameters(config, method)


def flops_per_token(config: Mapping[str, object], method: AnyMethod, sequence_length: int) -> float:
    """Floating-point operations of forward and backward for one token of a full sequence.

    A weight costs 2 in the forward pass, 2 to pass the gradient on, and 2 more for its own gradient
    where it trains (Kaplan et al. 2020, section 2.1; Schulman et al. 2025 for LoRA).
    """
    return _kind(method).flops_per_token(config, method, sequence_length)
