"""About how long a study takes here, from whole runs elsewhere and one product of matrices.

In: a study, and the speed of a product here. Out: bounds of processor seconds, or None where no run
of just these cells and tokens was measured. With runs at two speeds the time is `a + b / speed`:
what does not depend on the product (starts, files, the judge) and what does. With one it lies
between the measured time and that time scaled with the speed. It times nothing itself;
`compute.device.gflops` does.
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


RUNS = (Measured("quickstart", 18, 45_000, "fp32", gflops=86, seconds=4051),)
"""The one run was made beside other work, without spectra: docs/quickstart.md."""


def processor_seconds(
    study: str, cells: int, tokens: int, gflops: float, runs: tuple[Measured, ...] = RUNS
) -> tuple[float, float] | None:
    """(least, most) of all jobs, where a product reaches `gflops`; equal with two runs."""
    found = [run for run in runs if (run.study, run.cells, run.tokens) == (study, cells, tokens)]
    if not found:
        return None
    slow, fast = min(found, key=lambda run: run.gflops), max(found, key=lambda run: run.gflops)
    if slow.gflops == fast.gflops:
        scaled = slow.seconds * slow.gflops / gflops
        return min(scaled, slow.seconds), max(scaled, slow.seconds)
    per = (slow.seconds - fast.seconds) / (1 / slow.gflops - 1 / fast.gflops)
    found_seconds = slow.seconds + per * (1 / gflops - 1 / slow.gflops)
    return found_seconds, found_seconds
