"""Full fine-tuning of the linear layers that LoRA can adapt; embeddings, head and norms are frozen.

In: a model. Out: the same model with gradients on in its blocks' linear modules; saved as a model
folder in fp32. It tells apart what LoRA's low rank does from what its choice of layers does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from lora_ledger.models import architecture

from .full import DenseMethod


class FullLinearMethod(DenseMethod):
    """Full fine-tuning of the linear layers that LoRA can adapt; all else is frozen."""

    # The orange of Okabe and Ito's colours.
    colour: ClassVar[str] = "#E69F00"

    kind: Literal["full-linear"]

    def has(self, name: str, config: Mapping[str, object]) -> bool:
        return name.rpartition(".")[0].rpartition(".")[2] in architecture.module_names(config)
