"""Lin's adapters: one bottleneck behind each block, with a norm of its own; all else is frozen.

In: a model. Out: the same model with an adapter of each block's output, y = h + U σ(D norm(h) + b)
+ c (Lin et al. 2020, section 3). The norm is new, of the model's own kind, and 1 at the start.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from .beside import BottleneckMethod


class LinMethod(BottleneckMethod):
    """Lin's adapters (adapter^L of Hu et al. 2021): behind each block, after a norm that trains."""

    kind: Literal["lin"]
    own_norm: ClassVar[bool] = True
    shades: ClassVar[tuple[str, str]] = ("#d9b38c", "#6b3d12")
