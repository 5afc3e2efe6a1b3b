"""The weights of a derived cell, made in memory from a trained one's and the base's.

In: the model folder, a trained cell's folder and method, and what is to be made. Out: a model on
the processor in fp32 whose weights are that, its tokenizer, and what was done to how many tensors.
It trains nothing, and writes nothing to disk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lora_ledger.analysis.interventions import (
    Intruder,
    first_intruder,
    random_pair,
    random_update,
    size,
)
from lora_ledger.common.seeds import stream
from lora_ledger.study.derived import Derived

from .weights import load_cell, load_weights

if TYPE_CHECKING:
    from lora_ledger.methods import MethodBase


def make(
    model_dir: Path, trained: Path, method: MethodBase, how: Derived
) -> tuple[Any, Any, dict[str, Any]]:
    """(model, tokenizer, {"tensors", "norm"}): tensors that differ from the trained ones, and the
    Frobenius norm of all differences.

    Raises ValueError where the trained model has other tensors than the base.
    """
    import torch

    model, tokenizer = load_cell(model_dir, trained, "fp32", "cpu", method)
    tuned, base = _tensors(model), _tensors(load_weights(model_dir))
    if {name: one.shape for name, one in tuned.items()} != {
        n: one.shape for n, one in base.items()
    }:
        raise ValueError(
            f"{trained}: found other tensors than those of {model_dir}, expected the same names "
            "and shapes; leave the cell out of `derived`"
        )
    moved = {name: size(tuned[name].numpy() - base[name].numpy()) for name in tuned}
    moved = {name: norm for name, norm in moved.items() if norm > 0}
    changed, squares = 0, 0.0
    with torch.no_grad():
        for name, made in _made(how, base, tuned, moved):
            step = size(made.numpy() - tuned[name].numpy())
            changed, squares = changed + (step > 0), squares + step**2
            tuned[name].copy_(made)
    return model, tokenizer, {"tensors": changed, "norm": float(f"{math.sqrt(squares):.6g}")}


def _tensors(model: Any) -> dict[str, Any]:
    return {name: weight.detach() for name, weight in model.named_parameters()}


def _made(
    how: Derived, base: dict[str, Any], tuned: dict[str, Any], moved: dict[str, float]
) -> Iterator[tuple[str, Any]]:
    """The tensors that a derived cell has in the place of the trained ones; `moved` has the norm of
    the change of each that training changed."""
    import torch

    if how.kind == "rewound":
        for name in moved:
            yield name, torch.lerp(base[name], tuned[name], how.value)
    elif how.kind == "random":
        for name, norm in moved.items():
            draw = np.random.default_rng(stream(how.of.seed, f"derived update of {name}"))
            drawn = random_update(tuple(base[name].shape), norm, how.rank, draw)
            yield name, base[name] + torch.from_numpy(drawn)
    else:
        found = dict(_intruders(how, base, tuned, moved))
        if how.control == "shrink":
            whole = math.sqrt(sum(norm**2 for norm in moved.values()))
            taken = math.sqrt(sum(one.value**2 for one in found.values())) * (1 - how.value)
            # A step that is longer than the whole update would go on beyond the base.
            left = max(0.0, 1 - taken / whole) if whole else 1.0
            for name in moved if found else ():
                yield name, torch.lerp(base[name], tuned[name], left)
            return
        for name, one in found.items():
            left_right = _directions(how, name, tuple(base[name].shape), one)
            if left_right is not None:
                step = (how.value - 1) * one.value * np.outer(*left_right)
                yield name, (tuned[name].double() + torch.from_numpy(step)).float()


def _intruders(
    how: Derived, base: dict[str, Any], tuned: dict[str, Any], moved: dict[str, float]
) -> Iterator[tuple[str, Intruder]]:
    """The first intruder of each matrix of the blocks that has one."""
    for name in moved:
        if name.endswith("_proj.weight"):
            one = first_intruder(base[name].numpy(), tuned[name].numpy(), how.k, how.epsilon)
            if one is not None:
                yield name, one


def _directions(how: Derived, name: str, shape: tuple[int, ...], one: Intruder) -> Any:
    """The unit vectors along which a matrix is changed; None where no direction is a neighbour."""
    if how.control == "neighbour":
        return one.neighbour
    if how.control == "direction":
        seed = stream(how.of.seed, f"derived direction of {name}")
        return random_pair(shape[0], shape[1], np.random.default_rng(seed))
    return one.vectors
