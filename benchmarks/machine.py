"""What a benchmark ran on: processor, threads, versions, matrix-product peak; a process's memory.

In: a number of threads, a precision. Out: plain values for a report. It runs no benchmark.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "peft", "lm-eval", "trl")
SIZE = 2048
DTYPES = {"bf16": "bfloat16", "fp32": "float32"}


def add_precision(parser: argparse.ArgumentParser, default: str = "auto") -> None:
    """The flag by which a benchmark is told its precision; `precision` resolves it."""
    parser.add_argument(
        "--precision",
        choices=["auto", *DTYPES],
        default=default,
        help=f"auto: bf16 where this processor multiplies it, else fp32; default: {default}",
    )


def precision(asked: str) -> str:
    """bf16 or fp32; auto is what `compute.precision: auto` stands for on this processor."""
    from lora_ledger.compute.device import multiplies_bf16

    if asked != "auto":
        return asked
    return "bf16" if multiplies_bf16("cpu") else "fp32"


def describe(threads: int, how: str) -> dict[str, Any]:
    """Processor, threads, versions, the precision, and GFLOP/s of square products in it and fp32.

    bf16 is multiplied only where it is the precision: emulated, one product takes minutes.
    """
    import torch

    torch.set_num_threads(threads)
    return {
        "processor": _processor(),
        "threads": threads,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "precision": how,
        "peak_gflops": {name: peak_gflops(name) for name in dict.fromkeys((how, "fp32"))},
    }


def peak_gflops(how: str, repeats: int = 7) -> float:
    """Median GFLOP/s of a product of two matrices of SIZE x SIZE in bf16 or fp32."""
    import torch

    dtype = getattr(torch, DTYPES[how])
    left, right = (torch.randn(SIZE, SIZE).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - started)
    return round(2 * SIZE**3 / statistics.median(seconds[1:]) / 1e9, 1)


def peak_memory_bytes() -> int:
    """The largest resident size that this process has had."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
