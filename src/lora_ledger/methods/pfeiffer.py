"""Pfeiffer's adapters: one bottleneck in each block, behind its MLP; all else is frozen.

In: a model. Out: the same model with an adapter of each block's output, y = h + U σ(D h + b) + c.
In a block whose norms stand before attention and MLP, the place after both and their residuals,
where Pfeiffer et al. 2021 (AdapterFusion, section 3.1) put it, is the end of the block.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from .beside import BottleneckMethod


class PfeifferMethod(BottleneckMethod):
    """Pfeiffer's adapters (adapter^P of Hu et al. 2021): one in each block, behind the MLP."""

    kind: Literal["pfeiffer"]
    shades: ClassVar[tuple[str, str]] = ("#8fd9e8", "#0b5a6e")
