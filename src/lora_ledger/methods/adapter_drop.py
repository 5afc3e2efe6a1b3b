"""AdapterDrop: Pfeiffer's adapters without those of the first blocks; all else is frozen.

In: a model. Out: the same model with an adapter at the end of each block but the first `dropped`
(Rücklé et al. 2021, section 3). The blocks below the first adapter need no backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from lora_ledger.common.errors import KeyProblem
from lora_ledger.models import architecture

from .beside import BottleneckMethod


class AdapterDropMethod(BottleneckMethod):
    """AdapterDrop (adapter^D of Hu et al. 2021): the first blocks have no adapter."""

    kind: Literal["adapter-drop"]
    shades: ClassVar[tuple[str, str]] = ("#e8c66a", "#7a5c00")

    dropped: PositiveInt = Field(description="How many blocks, from the first, have no adapter.")

    def blocks(self, layers: int) -> range:
        """The blocks above those without."""
        return range(self.dropped, layers)

    def check(self, config: Mapping[str, object], where: str = "") -> None:
        """At least one block keeps its adapter."""
        super().check(config, where)
        layers = architecture.read(config).layers
        if self.dropped >= layers:
            expected = f"{layers - 1} at most, one less than the model's num_hidden_layers"
            raise KeyProblem(f"{where}dropped", self.dropped, expected)
