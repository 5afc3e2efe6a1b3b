"""The validation of a run: what is measured, when, and how it stands in the record.

In: a model in training, its regime, the validation's examples. Out: the measure of each example at
the start and at the end, a curve of means in between, and `results` for the record. It chooses
nothing; `select` reads what is here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_ledger.records.atomic import write_bytes_atomic

from .batching import Example, Order
from .curves import Curves
from .regimes import Regime


def between(total: int, times: int) -> frozenset[int]:
    """`times` steps, evenly between the first and the last of `total`; fewer in a short run."""
    found = {round(total * k / (times + 1)) for k in range(1, times + 1)}
    return frozenset(found - {0, total})


@dataclass(frozen=True)
class Validation:
    """What is measured of one run, and in which arithmetic."""

    regime: Regime
    examples: Sequence[Example]
    order: Order
    times: int
    """Measurements between start and end."""
    device: str
    precision: str
    nats: Callable[[Any, Sequence[Example], str, str], list[float]]
    """The summed nats of each example, of a model, on a device, in a precision."""
    start: Path | None = None
    """Where runs that begin from the same weights leave the first measurement to one another."""

    @property
    def tokens(self) -> int:
        return sum(example.loss_tokens for example in self.examples)

    def steps(self) -> frozenset[int]:
        """The steps after which is measured, evenly between start and end."""
        return between(len(self.order.steps), self.times)

    def measure(self, model: Any, curves: Curves, step: int) -> None:
        """Measure after `step` steps; a last mean that is not finite means divergence."""
        if not self.tokens:
            return
        known = self._known_start() if step == 0 else None
        values = known or self.regime.measure(
            self.examples, lambda some: self.nats(model, some, self.device, self.precision)
        )
        mean = math.fsum(values) / self.tokens
        curves.validation.append((step, self.order.cumulative(step), mean))
        if step == 0:
            curves.start = values
            if self.start and not known:
                write_bytes_atomic(self.start, json.dumps(values).encode())
        if step == len(self.order.steps):
            curves.end = values
            curves.diverged |= not math.isfinite(mean)

    def results(self, curves: Curves) -> dict[str, Any]:
        """As a record holds it: `start` and `end` of each example, summed over its `tokens`; the
        mean over all tokens at each step of `curve`, without what was measured for others."""
        facts, own = self.regime.facts, self.steps() | {0, len(self.order.steps)}
        return {
            "measure": facts.measure,
            "unit": facts.unit,
            "better": facts.better,
            "tokens": [example.loss_tokens for example in self.examples],
            "bytes": [example.bytes for example in self.examples],
            "start": curves.start,
            "end": curves.end,
            "curve": [point for point in curves.validation if point[0] in own],
        }

    def _known_start(self) -> list[float] | None:
        """What another run has measured of the same weights, where one has."""
        if self.start is None or not self.start.is_file():
            return None
        try:
            values = [float(value) for value in json.loads(self.start.read_bytes())]
        except (ValueError, TypeError):
            return None
        return values if len(values) == len(self.examples) else None
