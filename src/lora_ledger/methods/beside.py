"""Methods whose weights stay beside the base's own: bottleneck adapters, biases, prompts.

In: a model that a method gives modules or weights of its own. Out: the same model, whose own part
alone trains; saved as `method.json` (kind, keys, the base model's name) and `weights.safetensors`
(what trained, by name), from which `load` makes the trained model of the untouched base.
What the kinds of bottleneck adapters share is here too; each says where its adapters sit. They are
attached by forward hooks, so the base's modules keep their names and their `forward`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt

from lora_ledger.common.errors import KeyProblem
from lora_ledger.common.seeds import stream
from lora_ledger.models import architecture

from .base import MethodBase
from .shades import between

METHOD, WEIGHTS = "method.json", "weights.safetensors"
NORMS = ("input_layernorm", "post_attention_layernorm")
"""A block's two norms, which have a weight of the model's width each and no bias."""


class BesideMethod(MethodBase):
    """A method whose weights stay beside the base's, and the form that they are saved in."""

    artefact: ClassVar[Literal["adapter", "model"]] = "adapter"

    @property
    def merges(self) -> bool:
        """No: what is evaluated is the model with its own part."""
        return False

    def save(self, model: Any, out: Path, name: str, source: Path) -> Path:
        """Two files: the method's keys as JSON, and every weight that trained."""
        from safetensors.torch import save_file

        out.mkdir(parents=True, exist_ok=True)
        state = {key: w.detach().cpu().contiguous() for key, w in sorted(_trained(model).items())}
        save_file(state, out / WEIGHTS, metadata={"format": "pt"})
        said = {"base_model_name_or_path": name, "method": self.resolved()}
        (out / METHOD).write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", "utf-8")
        return out / WEIGHTS

    def load(self, model: Any, folder: Path) -> Any:
        """The base `model`, changed, with the weights of a folder that `save` wrote; in its dtype.

        Raises ValueError for weights that are not those of this method on this model.
        """
        import torch
        from safetensors.torch import load_file

        dtype, training = model.dtype, model.training
        model = self.apply(model, 0)
        own, saved = _trained(model), load_file(folder / WEIGHTS)
        shapes, expected = (
            {key: tuple(w.shape) for key, w in some.items()} for some in (saved, own)
        )
        for key in sorted(shapes.keys() | expected.keys()):
            if shapes.get(key) != expected.get(key):
                raise ValueError(
                    f"{folder / WEIGHTS}: found {key} of shape {shapes.get(key)}, expected "
                    f"{expected.get(key)}; load it on the model that {METHOD} names"
                )
        with torch.no_grad():
            for key, weight in own.items():
                weight.copy_(saved[key])
        return self.finished(model).to(dtype).requires_grad_(False).train(training)

    def finished(self, model: Any) -> Any:
        """What is evaluated, of the model that trained."""
        return model


class BottleneckMethod(BesideMethod):
    """Adapters h + U σ(D h + b) + c of a block's outputs, U and both biases 0 at the start."""

    kind: str
    places: ClassVar[tuple[Literal["attention", "mlp", "block"], ...]] = ("block",)
    """Whose outputs are adapted: of attention and MLP before the residual is added, or the
    block's."""
    own_norm: ClassVar[bool] = False
    """Whether D reads h through a norm of the adapter's own."""
    shades: ClassVar[tuple[str, str]]
    """Light and dark ends of the kind's colours."""

    bottleneck: PositiveInt = Field(description="Width of the adapters: r of D (r x d), U (d x r).")
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    train_norms: bool = Field(False, description="Whether the norms of adapted blocks train too.")

    @property
    def starts_from_base(self) -> bool:
        """Where the blocks compute as they did: what is added is 0. On the fast path a module that
        is looked at computes otherwise, and may round."""
        return self.places == ("block",)

    def distance(self, other: MethodBase) -> float:
        """The ratio of the widths, as the absolute value of its logarithm."""
        if type(other) is not type(self):
            return math.inf
        return abs(math.log(self.bottleneck / other.bottleneck))

    @classmethod
    def colours(cls, methods: Sequence[Self]) -> list[str]:
        """Shades of the kind's hue, darker with the width."""
        return shaded(cls.shades, [method.bottleneck for method in methods])

    def blocks(self, layers: int) -> range:
        """The blocks that have adapters, counted from 0."""
        return range(layers)

    def check(self, config: Mapping[str, object], where: str = "") -> None:
        """A bottleneck is narrower than the model."""
        hidden = architecture.read(config).hidden
        if self.bottleneck >= hidden:
            expected = f"{hidden - 1} at most, less than the model's hidden_size"
            raise KeyProblem(f"{where}bottleneck", self.bottleneck, expected)

    def apply(self, model: Any, seed: int) -> Any:
        """Freeze the model and attach the adapters; D is drawn, as LoRA's A is, by `seed`."""
        import torch

        self.check(model.config.to_dict())
        model.float().requires_grad_(False)
        layers = model.get_decoder().layers
        with torch.random.fork_rng():
            torch.manual_seed(stream(seed, "adapter"))
            for block in (layers[i] for i in self.blocks(len(layers))):
                for place in self.places:
                    self._attach(block, place, model)
                if self.train_norms:
                    for norm in NORMS:
                        getattr(block, norm).requires_grad_(True)
        return model

    def _attach(self, block: Any, place: str, model: Any) -> None:
        from torch import nn

        width = model.config.hidden_size
        down, up = nn.Linear(width, self.bottleneck), nn.Linear(self.bottleneck, width)
        for weight in (up.weight, up.bias, down.bias):
            nn.init.zeros_(weight)
        norm: Any = nn.Identity()
        if self.own_norm:
            norm = type(block.input_layernorm)(width, eps=model.config.rms_norm_eps)
        adapter = nn.ModuleDict({"norm": norm, "down": down, "up": up}).to(model.device)
        block.add_module(f"adapter_{place}", adapter)
        activate = getattr(nn.functional, self.activation)

        def add(module: Any, inputs: Any, output: Any) -> Any:
            return output + up(activate(down(norm(output))))

        adapted = {"attention": block.self_attn.o_proj, "mlp": block.mlp.down_proj, "block": block}
        adapted[place].register_forward_hook(add)

    def trainable_parameters(self, config: Mapping[str, object]) -> int:
        """n (2 d r + r + d) + l d: n adapters of width r, l norms that train.

        Hu et al. 2021, section 5.1, which has 2 d for a norm: theirs have a bias.
        """
        base = architecture.read(config)
        blocks, d, r = len(self.blocks(base.layers)), base.hidden, self.bottleneck
        adapters = blocks * len(self.places)
        norms = blocks * len(NORMS) * self.train_norms + adapters * self.own_norm
        return adapters * (2 * d * r + r + d) + norms * d

    def flops_per_token(self, config: Mapping[str, object], sequence_length: int) -> float:
        """Forward through all; backward, without gradients of frozen weights, through head and
        adapted blocks: 6 for each of an adapter's 2 d r, and no pass through blocks below."""
        blocks = len(self.blocks(architecture.read(config).layers))
        adapter = 2 * architecture.read(config).hidden * self.bottleneck
        adapters = adapter * blocks * len(self.places)
        base = architecture.training_flops_per_token(
            config, sequence_length, trained=adapters, blocks=blocks
        )
        return base + 4.0 * adapters


def shaded(ends: tuple[str, str], sizes: Sequence[int]) -> list[str]:
    """A colour for each size between the light and the dark end, darker with size."""
    known = sorted(set(sizes))
    last = len(known) - 1
    return [between(*ends, known.index(size) / last if last else 0.6) for size in sizes]


def _trained(model: Any) -> dict[str, Any]:
    return {name: w for name, w in model.named_parameters() if w.requires_grad}
