"""What is known so far of a run: its curves, which a checkpoint holds and a record ends with.

In: a file of a checkpoint, or nothing. Out: the curves, and the same file again. It measures
nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

CURVES = "curves.json"
"""Their file in a checkpoint."""
WEIGHTS = "weights.safetensors"
"""Beside it, those that train."""
Point = tuple[int, int, float]
"""Optimiser step, loss-bearing tokens so far, mean per token."""


@dataclass
class Curves:
    """The training loss of each step, the validation's means, and its first and last values."""

    loss: list[Point] = field(default_factory=list)
    validation: list[Point] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)
    diverged: bool = False

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), "utf-8")

    def load(self, path: Path) -> None:
        """Take over what a checkpoint holds."""
        found = json.loads(path.read_text("utf-8"))
        for key in ("loss", "validation"):
            setattr(self, key, [tuple(point) for point in found[key]])
        self.start, self.end, self.diverged = found["start"], found["end"], found["diverged"]
