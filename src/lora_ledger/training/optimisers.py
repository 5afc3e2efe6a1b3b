"""Optimisers: torch's AdamW, and Lion with llm-foundry's decoupled decay.

In: the weights that train and an `Optimiser`. Out: a torch optimiser. Decay falls on all weights
that train, as it does in llm-foundry. Schedules and clipping are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from lora_ledger.methods.base import Groups
from lora_ledger.methods.recipe import Optimiser


class DecoupledLionW(torch.optim.Optimizer):
    """Lion (Chen et al. 2023) whose decay follows the schedule but not the peak rate.

    w ← w (1 − (lr / initial lr) decay) − lr sign(β₁ m + (1 − β₁) g), then m ← β₂ m + (1 − β₂) g.
    So a decay of 1e-4 at a peak rate of 5e-5 is what torch's AdamW calls 2.0.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})
        for group in self.param_groups:
            group.setdefault("initial_lr", group["lr"])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update of every weight that has a gradient."""
        for group in self.param_groups:
            rate, (beta1, beta2) = group["lr"], group["betas"]
            shrink = 1 - rate / group["initial_lr"] * group["weight_decay"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"]
                weight.mul_(shrink)
                weight.add_(momentum.lerp(weight.grad, 1 - beta1).sign_(), alpha=-rate)
                momentum.lerp_(weight.grad, 1 - beta2)


def build(optimiser: Optimiser, groups: Groups, rate: float) -> torch.optim.Optimizer:
    """The optimiser at its peak rate; each group of weights has that rate times its factor."""
    parts = [{"params": weights, "lr": factor * rate} for weights, factor in groups]
    if optimiser.name == "lion":
        return DecoupledLionW(
            parts, lr=rate, betas=optimiser.betas, weight_decay=optimiser.weight_decay
        )
    return torch.optim.AdamW(
        parts,
        lr=rate,
        betas=optimiser.betas,
        eps=optimiser.eps,
        weight_decay=optimiser.weight_decay,
        # One pass over each weight, without temporary copies of it.
        fused=True,
    )
