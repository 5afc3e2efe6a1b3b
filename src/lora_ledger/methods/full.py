"""Full fine-tuning: every weight trains, embeddings and norms included.

In: a model. Out: the same model with gradients on; saved as a model folder in fp32.
`layers: last-2` is the FT-Top2 of Hu et al. 2021. `freeze` holds a random share of each tensor's
entries as they are, bit for bit.
"""

from __future__ import annotations

import json
import shutil
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from lora_ledger.common.errors import KeyProblem
from lora_ledger.models import architecture

from . import partial
from .base import MethodBase
from .partial import Layers
from .recipe import Optimiser
from .shades import around

BESIDE_WEIGHTS = ("*.json", "*.txt", "*.jinja", "*.model")


class DenseMethod(MethodBase):
    """What trains weights of the model itself, all of them or some."""

    artefact: ClassVar[Literal["adapter", "model"]] = "model"
    colour: ClassVar[str]

    layers: Layers = "all"
    freeze: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Share of each tensor's entries, drawn at random, that do not train."
    )

    @classmethod
    def colours(cls, methods: Sequence[Self]) -> list[str]:
        """The kind's colour, then shades of it."""
        return around(cls.colour, len(methods))

    @abstractmethod
    def has(self, name: str, config: Mapping[str, object]) -> bool:
        """Whether the kind trains the parameter of this name, whatever its block."""

    def check(self, config: Mapping[str, object], where: str = "") -> None:
        """The model has as many blocks."""
        partial.check_layers(config, self.layers, where)

    def check_optimiser(self, optimiser: Optimiser, where: str, setting: str) -> None:
        """Nothing but its gradient may move a frozen entry."""
        moves = "muon" if optimiser.name == "muon" else f"weight_decay {optimiser.weight_decay}"
        if self.freeze and (optimiser.name == "muon" or optimiser.weight_decay):
            raise KeyProblem(
                f"{where}freeze",
                self.freeze,
                f"0 with {moves}, which moves entries without a gradient, as {setting} has it "
                "trained; or an optimiser of adamw, lion and sgd with weight_decay 0",
            )

    def apply(self, model: Any, seed: int) -> Any:
        """The weights of the kind train, in fp32; `seed` says which entries are frozen."""
        config = model.config.to_dict()
        self.check(config)
        chosen = self._sizes(config)
        model.float()
        for name, weight in model.named_parameters():
            weight.requires_grad_(name in chosen)
        if self.freeze:
            model.frozen_entries = partial.freeze(model, self.freeze, seed)
        return model

    def save(self, model: Any, out: Path, name: str, source: Path) -> Path:
        """A model folder: fp32 weights, and all else as it stands in `source`."""
        return save_whole(model, out, source)

    def trainable_parameters(self, config: Mapping[str, object]) -> int:
        """The kind's in the blocks that train, a tied embedding once, less what is frozen."""
        sizes = self._sizes(config).values()
        return sum(size - partial.frozen(size, self.freeze) for size in sizes)

    def held_parameters(self, config: Mapping[str, object]) -> int:
        """Frozen entries are held too: their tensor's gradient is made whole."""
        return sum(self._sizes(config).values())

    def trained(self, model: Any) -> int:
        """Without the frozen entries of tensors that train."""
        return super().trained(model) - getattr(model, "frozen_entries", 0)

    def flops_per_token(self, config: Mapping[str, object], sequence_length: int) -> float:
        """6 a weight and three times the attention products, of the blocks that train; the backward
        pass ends at the first of them. Frozen entries save nothing."""
        matrices = sum(
            size for name, size in self._sizes(config).items() if _is_product(name, config)
        )
        blocks = len(partial.blocks(config, self.layers))
        return architecture.training_flops_per_token(
            config, sequence_length, trained=matrices, blocks=blocks
        )

    def _sizes(self, config: Mapping[str, object]) -> dict[str, int]:
        """The tensors that train, by name, with their numbers of entries."""
        blocks = partial.blocks(config, self.layers)
        return {
            name: size
            for name, size in architecture.tensors(config).items()
            if self.has(name, config) and (self.layers == "all" or partial.block_of(name) in blocks)
        }


class FullMethod(DenseMethod):
    """Full fine-tuning of every weight, embeddings and norms included."""

    # The vermilion of Okabe and Ito's colours.
    colour: ClassVar[str] = "#D55E00"

    kind: Literal["full"]

    def has(self, name: str, config: Mapping[str, object]) -> bool:
        return True


def _is_product(name: str, config: Mapping[str, object]) -> bool:
    """Whether the parameter is a matrix that activations are multiplied by: a tied embedding is, as
    the head, and one of its own is not."""
    if name == "model.embed_tokens.weight":
        return architecture.read(config).tied
    return name == "lm_head.weight" or name.endswith("_proj.weight")


def save_whole(model: Any, out: Path, source: Path) -> Path:
    """Write a model folder: fp32 weights, and all else as it stands in `source`."""
    model.save_pretrained(out, max_shard_size="1000GB")
    for pattern in BESIDE_WEIGHTS:
        for path in sorted(source.glob(pattern)):
            if path.name != "record.json" and not path.name.endswith(".safetensors.index.json"):
                shutil.copyfile(path, out / path.name)
    config = json.loads((out / "config.json").read_text("utf-8"))
    config.pop("torch_dtype", None)
    # A loader that follows the config would round what was trained in fp32.
    config["dtype"] = "float32"
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    return out / "model.safetensors"
