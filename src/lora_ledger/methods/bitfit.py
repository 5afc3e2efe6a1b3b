"""BitFit: the biases of the blocks' linear layers train; all else is frozen.

In: a model. Out: the same model with gradients on in its biases (Ben-Zaken et al. 2022). A model
that has none, as Llama, is given a bias for each linear layer of its blocks, 0 at the start; the
record and the log say so. What is saved is the biases alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from lora_ledger.models import architecture

from .beside import BesideMethod


class BitFitMethod(BesideMethod):
    """BitFit: the biases train, or are added where a model has none."""

    kind: Literal["bitfit"]

    @property
    def merges(self) -> bool:
        """A linear layer with a bias is one that every back-end of this project computes."""
        return True

    @property
    def starts_from_base(self) -> bool:
        """A product with a bias of 0 may round otherwise than one without."""
        return False

    @classmethod
    def colours(cls, methods: Sequence[Self]) -> list[str]:
        """A brick red."""
        return ["#a50f15"] * len(methods)

    def notes(self, config: Mapping[str, object]) -> dict[str, str]:
        """Which layers' biases train, and whether they are the model's."""
        added = "" if architecture.read(config).biased else ", added with 0: the model has none"
        return {"biases": f"of {', '.join(_biased(config))}{added}"}

    def apply(self, model: Any, seed: int) -> Any:
        """The biases train, in fp32; `seed` is not used, as nothing is drawn."""
        import torch

        model.float().requires_grad_(False)
        names = _biased(model.config.to_dict())
        for path, module in model.get_decoder().layers.named_modules():
            if path.rpartition(".")[2] not in names:
                continue
            if module.bias is None:
                zeros = torch.zeros(module.out_features, device=module.weight.device)
                module.bias = torch.nn.Parameter(zeros)
            module.bias.requires_grad_(True)
        return model

    def trainable_parameters(self, config: Mapping[str, object]) -> int:
        """The output features of the layers whose biases train."""
        base = architecture.read(config)
        return base.layers * sum(base.modules[name][1] for name in _biased(config))

    def flops_per_token(self, config: Mapping[str, object], sequence_length: int) -> float:
        """Two thirds of full fine-tuning's, as no matrix gets a gradient; sums over tokens are left
        out."""
        return architecture.training_flops_per_token(config, sequence_length, trained=0)


def _biased(config: Mapping[str, object]) -> tuple[str, ...]:
    """The modules whose biases train: those that have one, or all."""
    base = architecture.read(config)
    return tuple(name for name in base.modules if name in base.biased or not base.biased)
