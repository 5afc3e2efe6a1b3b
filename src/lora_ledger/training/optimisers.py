"""Optimisers: torch's AdamW, SGD and Muon, and Lion with llm-foundry's decoupled decay.

In: the weights that train and an `Optimiser`. Out: a torch optimiser. Decay falls on all weights
that train, as it does in llm-foundry. Schedules and clipping are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
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


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the matrices of hidden layers, AdamW for all else, in one object.

    Jordan et al. 2024 leave embeddings, head, norms and biases to AdamW. An update of Muon is
    scaled by 0.2 √max(rows, columns), which gives it the size of one of AdamW's, so that one rate
    and one decay serve both (Liu et al. 2025, "Muon is Scalable for LLM Training", section 2.2).
    """

    def __init__(
        self, hidden: list[dict[str, Any]], others: list[dict[str, Any]], settings: Optimiser
    ) -> None:
        self.parts: list[torch.optim.Optimizer] = []
        if hidden:
            self.parts.append(
                torch.optim.Muon(
                    hidden,
                    momentum=settings.momentum,
                    weight_decay=settings.weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        if others:
            self.parts.append(_adamw(others, settings))
        # The groups are the parts' own: a schedule that sets a rate here sets it there.
        super().__init__([group for part in self.parts for group in part.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update of every weight that has a gradient."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The state of each part, Muon's first."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What `state_dict` gave; the parts make new groups of it."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def build(
    optimiser: Optimiser, groups: Groups, rate: float, hidden: Container[int] = ()
) -> torch.optim.Optimizer:
    """The optimiser at its peak rate; each group of weights has that rate times its factor.

    `hidden` are the ids of the matrices that Muon is for.
    """
    if optimiser.name == "muon":
        mine = [([w for w in weights if id(w) in hidden], factor) for weights, factor in groups]
        others = [
            ([w for w in weights if id(w) not in hidden], factor) for weights, factor in groups
        ]
        return MuonWithAdamW(_at(mine, rate), _at(others, rate), optimiser)
    parts = _at(groups, rate)
    if optimiser.name == "lion":
        return DecoupledLionW(
            parts, lr=rate, betas=optimiser.betas, weight_decay=optimiser.weight_decay
        )
    if optimiser.name == "sgd":
        return torch.optim.SGD(
            parts, lr=rate, momentum=optimiser.momentum, weight_decay=optimiser.weight_decay
        )
    return _adamw(parts, optimiser)


def hidden_matrices(model: torch.nn.Module) -> frozenset[int]:
    """Ids of the matrices of a decoder's blocks, those of adapters in them included."""
    return frozenset(
        id(weight)
        for name, weight in model.named_parameters()
        if weight.ndim == 2 and ".layers." in f".{name}"
    )


def _at(groups: Groups, rate: float) -> list[dict[str, Any]]:
    return [{"params": weights, "lr": factor * rate} for weights, factor in groups if weights]


def _adamw(parts: list[dict[str, Any]], settings: Optimiser) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        parts,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        # One pass over each weight, without temporary copies of it.
        fused=True,
    )
