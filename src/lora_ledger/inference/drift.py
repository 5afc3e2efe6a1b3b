"""CSD: how far an update moves what the base's matrices give, on the inputs that a text gives them.

In: the base in memory, what was added to each of its matrices, and which rows of a forward pass
count for whom. Out: of ‖ΔW h‖² and of ‖W₀ h‖² the sums over positions, h being the input of the
matrix in the base's own forward pass. Biases, norms and embeddings are no matrices of a block. It
runs no forward pass itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .updates import Matrix


class Drift:
    """Listens to the base's linear modules; `at` says whose the rows of the next pass are."""

    def __init__(self, base: Any, matrices: Iterable[Matrix], owners: int) -> None:
        self.modules: list[str] = []
        self.factors: list[tuple[Tensor, ...]] = []
        self.handles = []
        self.rows, self.whose = torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long)
        for place, one in enumerate(matrices):
            self.modules.append(one.module)
            self.factors.append(tuple(part.to(base.device) for part in _factors(one)))
            linear = base.get_submodule(one.name.removesuffix(".weight"))
            self.handles.append(linear.register_forward_hook(self._listener(place)))
        self.moved = torch.zeros(len(self.modules), owners, dtype=torch.float64)
        self.given = torch.zeros_like(self.moved)

    def at(self, rows: Tensor, whose: Tensor) -> None:
        """The rows of the next forward pass that count, and the owner of each."""
        self.rows, self.whose = rows, whose

    def stop(self) -> None:
        for handle in self.handles:
            handle.remove()

    def _listener(self, place: int) -> Any:
        def listen(linear: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            h, given = (x.reshape(-1, x.shape[-1])[self.rows].float() for x in (inputs[0], output))
            if linear.bias is not None:
                given = given - linear.bias.float()
            moved = h
            for factor in self.factors[place]:
                moved = moved @ factor.T
            if self.factors[place]:
                self.moved[place].index_add_(0, self.whose, _squares(moved))
            self.given[place].index_add_(0, self.whose, _squares(given))

        return listen

    def results(self, positions: Sequence[int]) -> dict[str, Any]:
        """`absolute` and `relative`: for each owner the sum over its positions of the mean over
        matrices of ‖ΔW h‖², and of ‖ΔW h‖² over the matrix's mean ‖W₀ h‖² on all positions;
        `modules`: for each kind of matrix, [absolute, relative] a position."""
        moved, given, count = self.moved.numpy(), self.given.numpy(), sum(positions)
        mean = given.sum(1, keepdims=True) / max(1, count)
        relative = np.divide(moved, mean, out=np.zeros_like(moved), where=mean > 0)
        kinds = np.asarray(self.modules)
        return {
            "absolute": moved.mean(0).tolist(),
            "relative": relative.mean(0).tolist(),
            "modules": {
                kind: [float(x[kinds == kind].sum(1).mean() / count) for x in (moved, relative)]
                for kind in dict.fromkeys(self.modules)
            },
            "matrices": len(self.modules),
        }


def _factors(one: Matrix) -> list[Tensor]:
    """What h is multiplied with, one after another; nothing where nothing was added."""
    if one.product:
        scaled = one.product.scale * np.asarray(one.product.up, dtype=np.float32)
        found = [np.asarray(one.product.down, dtype=np.float32), scaled]
    else:
        found = [] if one.delta is None else [np.asarray(one.delta, dtype=np.float32)]
    return [torch.from_numpy(np.ascontiguousarray(part)) for part in found]


def _squares(x: Tensor) -> Tensor:
    return x.square().sum(-1).cpu().double()
