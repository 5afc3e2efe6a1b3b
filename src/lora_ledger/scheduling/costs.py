"""About how long a study takes here, from whole runs elsewhere and one product of matrices.

In: a study, and the speed of a product here. Out: processor seconds, or None where no run of just
these cells and tokens was measured. A time is `a + b / speed`: what does not depend on the product
(starts, files, the judge) and what does, by the slowest and the fastest measured machine. It times
nothing itself; `compute.device.gflops` does.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """One whole run: a study's cells and tokens that bear loss, the precision, GFLOP/s of a product
    of two matrices of 2,048 on one thread, and the processor seconds of all jobs."""

    study: str
    cells: int
    tokens: int
    precision: str
    gflops: float
    seconds: float


RUNS: tuple[Measured, ...] = ()


def processor_seconds(
    study: str, cells: int, tokens: int, gflops: float, runs: tuple[Measured, ...] = RUNS
) -> float | None:
    """Of all jobs, on a machine whose product reaches `gflops`; None without two measured runs."""
    found = [run for run in runs if (run.study, run.cells, run.tokens) == (study, cells, tokens)]
    if len(found) < 2:
        return None
    slow, fast = min(found, key=lambda run: run.gflops), max(found, key=lambda run: run.gflops)
    if slow.gflops == fast.gflops:
        return None
    per = (slow.seconds - fast.seconds) / (1 / slow.gflops - 1 / fast.gflops)
    return slow.seconds + per * (1 / gflops - 1 / slow.gflops)
