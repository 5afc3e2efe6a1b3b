"""Weights in the arithmetic of the products, cast once and not at every use.

In: weights in fp32. Out: the same in the products' 16 bits, kept while they do not change. It knows
no module: whoever steps the weights says when the casts are void.
"""

from __future__ import annotations

import torch


class Casts:
    """Weights in the arithmetic of the products, cast once and not at every use.

    `keep` says for how long: with False, as under FSDP, where the storage of a weight comes and
    goes, nothing is kept. Fused optimisers leave a tensor's version as it is, so whoever steps has
    to `forget` the weights that train.
    """

    def __init__(self) -> None:
        self.keep = False
        self._made: dict[int, tuple[torch.Tensor, int, torch.Tensor]] = {}

    def of(self, weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """The weight, detached, in `dtype`."""
        if weight.dtype == dtype:
            return weight.detach()
        made = self._made.get(id(weight))
        if made and made[0] is weight and made[1] == weight._version and made[2].dtype == dtype:
            return made[2]
        cast: torch.Tensor = weight.detach().to(dtype)
        if self.keep:
            self._made[id(weight)] = (weight, weight._version, cast)
        return cast

    def forget(self, *, frozen: bool) -> None:
        """Drop the casts of weights that train, and with `frozen` all others too."""
        self._made = {
            key: made for key, made in self._made.items() if not (frozen or made[0].requires_grad)
        }
