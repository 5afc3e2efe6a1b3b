"""What a benchmark ran on: processor, threads, versions, matrix-product peak; a process's memory.

In: a number of threads. Out: plain values for a report. It runs no benchmark.
"""

from __future__ import annotations

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


def describe(threads: int) -> dict[str, Any]:
    """Processor, threads, versions, and GFLOP/s of square products in bf16 and fp32."""
    import torch

    torch.set_num_threads(threads)
    return {
        "processor": _processor(),
        "threads": threads,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "peak_gflops": {name: peak_gflops(name) for name in ("bfloat16", "float32")},
    }


def peak_gflops(dtype: str, repeats: int = 7) -> float:
    """Median GFLOP/s of a product of two matrices of SIZE x SIZE."""
    import torch

    left, right = (torch.randn(SIZE, SIZE).to(getattr(torch, dtype)) for _ in range(2))
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
