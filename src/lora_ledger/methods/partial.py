"""What of a model trains when not all of it does: the last blocks, or a share of the entries.

In: `layers` or `freeze` of a method. Out: which blocks, how many entries, and gradients that are 0
where nothing trains. Which tensors a method trains is the method's matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field

from lora_ledger.common.errors import KeyProblem
from lora_ledger.common.seeds import stream
from lora_ledger.models import architecture

Layers = Annotated[
    str,
    Field(
        pattern=r"^(all|last-[1-9][0-9]*)$",
        description="`last-2`: the last two blocks alone train.",
    ),
]


def check_layers(config: Mapping[str, object], layers: str, where: str = "") -> None:
    """Refuse more blocks than the model has."""
    depth = architecture.read(config).layers
    if layers != "all" and _number(layers) > depth:
        raise KeyProblem(
            f"{where}layers",
            layers,
            f"all, or last-1 to last-{depth}, since the model has {depth} blocks",
            f"last-{depth}",
        )


def blocks(config: Mapping[str, object], layers: str) -> range:
    """The places of the blocks that train."""
    depth = architecture.read(config).layers
    return range(0 if layers == "all" else depth - _number(layers), depth)


def block_of(name: str) -> int | None:
    """The place of the block that a parameter of this name is in; None for no block."""
    _, found, rest = name.partition("model.layers.")
    return int(rest.partition(".")[0]) if found else None


def frozen(entries: int, share: float) -> int:
    """How many entries of a tensor a share of them is."""
    return round(share * entries)


def freeze(model: Any, share: float, seed: int) -> int:
    """Keep a random share of each tensor that trains as it is; returns how many entries that is.

    Their gradients are set to 0 when they are made, hence before clipping. The caller sees to it
    that an optimiser moves nothing whose gradients are 0.
    """
    import torch

    total = 0
    draw = torch.Generator().manual_seed(stream(seed, "freeze"))
    for weight in model.parameters():
        if weight.requires_grad:
            mask = torch.zeros(weight.numel(), dtype=torch.bool)
            number = frozen(len(mask), share)
            mask[torch.randperm(len(mask), generator=draw)[:number]] = True
            weight.register_post_accumulate_grad_hook(_without(mask.view(weight.shape)))
            total += number
    return total


def _without(mask: Any) -> Callable[[Any], None]:
    def hook(weight: Any) -> None:
        nonlocal mask
        mask = mask.to(weight.grad.device)
        weight.grad.masked_fill_(mask, 0)

    return hook


def _number(layers: str) -> int:
    return int(layers.removeprefix("last-"))
