"""Full fine-tuning: every weight trains, embeddings and norms included.

In: a model. Out: the same model with all gradients on; saved as a model folder in fp32.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from lora_ledger.models import architecture

from .base import MethodBase

BESIDE_WEIGHTS = ("*.json", "*.txt", "*.jinja", "*.model")


class FullMethod(MethodBase):
    """Full fine-tuning of every weight, embeddings and norms included."""

    artefact: ClassVar[Literal["adapter", "model"]] = "model"

    kind: Literal["full"]

    @classmethod
    def colours(cls, methods: Sequence[Self]) -> list[str]:
        """The vermilion of Okabe and Ito's colours."""
        return ["#D55E00"] * len(methods)

    def apply(self, model: Any, seed: int) -> Any:
        """All weights train, in fp32; `seed` is not used, as nothing is drawn."""
        return model.float().requires_grad_(True)

    def save(self, model: Any, out: Path, name: str, source: Path) -> Path:
        """A model folder: fp32 weights, and all else as it stands in `source`."""
        return save_whole(model, out, source)

    def trainable_parameters(self, config: Mapping[str, object]) -> int:
        """All of them, a tied embedding once."""
        return architecture.total_parameters(config)

    def flops_per_token(self, config: Mapping[str, object], sequence_length: int) -> float:
        """6 N and three times the attention products: the backward pass costs two forward
        passes."""
        return 3 * architecture.forward_flops_per_token(config, sequence_length)


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
