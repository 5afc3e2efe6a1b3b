"""Houlsby's adapters: two bottlenecks in each block, and the norms; all else is frozen.

In: a model. Out: the same model with an adapter of attention's and of the MLP's output, each behind
its last projection and before the residual is added (Houlsby et al. 2019, figure 2). The blocks'
norms train with them, as in section 2.1 there; Hu et al.'s counts on GPT-3 are without.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from .beside import BottleneckMethod


class HoulsbyMethod(BottleneckMethod):
    """Houlsby's adapters (adapter^H of Hu et al. 2021): behind attention and behind the MLP."""

    kind: Literal["houlsby"]
    places: ClassVar[tuple[Literal["attention", "mlp", "block"], ...]] = ("attention", "mlp")
    shades: ClassVar[tuple[str, str]] = ("#c5e17a", "#4a6b0a")

    activation: Literal["relu", "gelu", "silu", "tanh"] = "gelu"
    train_norms: bool = Field(True, description="Whether the norms of adapted blocks train too.")
