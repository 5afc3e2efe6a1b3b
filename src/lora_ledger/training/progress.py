"""How far a run is, for who waits: a line a minute in a log, a bar in a terminal.

In: the steps of a run as they end. Out: text on standard error. Nothing of it is recorded.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

EVERY = 60.0
"""Seconds between two lines of a log."""


class Progress:
    """Says step, loss, loss-bearing tokens a second, and the time that is left.

    `tokens` are those of each step of the whole run, of which `done` have been trained before. The
    first step also loads and compiles, so speed counts from its end where there is more.
    """

    def __init__(
        self,
        tokens: Sequence[int],
        done: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tokens = tokens
        self.done = done
        self.stream = sys.stderr if stream is None else stream
        self.clock = clock
        self.begun = self.first = self.said = clock()
        self.bar: Any = None
        if self.stream.isatty():
            from tqdm import tqdm

            self.bar = tqdm(
                total=len(tokens),
                initial=done,
                unit="step",
                dynamic_ncols=True,
                file=self.stream,
            )

    def step(self, number: int, loss: float) -> None:
        """Optimiser step `number`, counted from 1, has ended with this mean loss."""
        now = self.clock()
        opening = number == self.done + 1
        if opening:
            self.first = now
        since, start = (self.begun, self.done) if opening else (self.first, self.done + 1)
        speed = sum(self.tokens[start:number]) / max(now - since, 1e-9)
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {loss:.4f}, {speed:.0f} tokens/s", refresh=False)
            self.bar.update()
            return
        last = number == len(self.tokens)
        if opening or last or now - self.said >= EVERY:
            self.said = now
            left = "" if last else f", {spoken(sum(self.tokens[number:]) / max(speed, 1e-9))} left"
            print(
                f"step {number}/{len(self.tokens)}, loss {loss:.4f}, {speed:.0f} tokens/s{left}",
                file=self.stream,
                flush=True,
            )

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()


def spoken(seconds: float) -> str:
    """A time as people say it: 45 s, 12 min, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
