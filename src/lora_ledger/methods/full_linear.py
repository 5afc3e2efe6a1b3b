"""Full fine-tuning of the linear layers that LoRA can adapt; embeddings, head and norms are frozen.

In: a model. Out: the same model with gradients on in its blocks' linear modules; saved as a model
folder in fp32. It tells apart what LoRA's low rank does from what its choice of layers does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from lora_ledger.models import architecture

from .base import MethodBase
from .full import save_whole


class FullLinearMethod(MethodBase):
    """Full fine-tuning of the linear layers that LoRA can adapt; all else is frozen."""

    artefact: ClassVar[Literal["adapter", "model"]] = "model"

    kind: Literal["full-linear"]

    @classmethod
    def colours(cls, methods: Sequence[Self]) -> list[str]:
        """The orange of Okabe and Ito's colours."""
        return ["#E69F00"] * len(methods)

    def apply(self, model: Any, seed: int) -> Any:
        """The blocks' linear modules train, in fp32; `seed` is not used, as nothing is drawn."""
        names = set(architecture.module_names(model.config.to_dict()))
        model.float().requires_grad_(False)
        for path, module in model.named_modules():
            if path.rpartition(".")[2] in names:
                module.requires_grad_(True)
        return model

    def save(self, model: Any, out: Path, name: str, source: Path) -> Path:
        """A model folder, as full fine-tuning saves it."""
        return save_whole(model, out, source)

    def trainable_parameters(self, config: Mapping[str, object]) -> int:
        """Weights and biases of the blocks' linear modules."""
        return architecture.linear_parameters(config)

    def flops_per_token(self, config: Mapping[str, object], sequence_length: int) -> float:
        """As full fine-tuning, less the 2 V·h for the gradient of the head's weights."""
        head = architecture.read(config)
        return (
            3 * architecture.forward_flops_per_token(config, sequence_length)
            - 2.0 * head.vocab * head.hidden
        )
