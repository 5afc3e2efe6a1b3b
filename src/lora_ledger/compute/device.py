"""Which device and which arithmetic a study's `compute` key stands for on this machine.

In: what is asked for. Out: device and precision, resolved. The choice depends on the machine alone,
never on its load: where the processor lists its instructions, the list decides; only elsewhere are
matrix products timed, and then bf16 has to be faster by a wide margin.
It sets nothing; training and inference apply what it says.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Protocol

from lora_ledger.common.startup import loading

if TYPE_CHECKING:
    import torch

CPUINFO = Path("/proc/cpuinfo")
NATIVE_FLAGS = frozenset({"amx_bf16", "avx512_bf16", "bf16"})
CLEARLY_FASTER = 1.3


class Precision(Protocol):
    """auto, fp32 or bf16 for each part."""

    @property
    def train(self) -> str: ...

    @property
    def evaluate(self) -> str: ...


class Asked(Protocol):
    """A study's `compute`: `device` is auto, cpu, cuda or mps."""

    @property
    def device(self) -> str: ...

    @property
    def precision(self) -> Precision: ...


def resolve(compute: Asked) -> dict[str, str]:
    """{"device": cpu|cuda|mps, "train": fp32|bf16, "evaluate": fp32|bf16}.

    Raises ValueError when the device that is asked for is not there.
    """
    device = _device(compute.device)
    asked: dict[str, str] = {
        "train": compute.precision.train,
        "evaluate": compute.precision.evaluate,
    }
    if "auto" in asked.values():
        automatic = "bf16" if multiplies_bf16(device) else "fp32"
        asked = {part: automatic if how == "auto" else how for part, how in asked.items()}
    return {"device": device, **asked}


def multiplies_bf16(device: str, cpuinfo: Path = CPUINFO) -> bool:
    """Whether the device multiplies bf16 matrices natively."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "mps":
        return False
    flags = cpu_flags(cpuinfo)
    if flags is not None:
        return bool(flags & NATIVE_FLAGS)
    ratios = sorted(_seconds(torch.float32) / _seconds(torch.bfloat16) for _ in range(5))
    return median(ratios) > CLEARLY_FASTER


def cpu_flags(cpuinfo: Path) -> frozenset[str] | None:
    """The instructions that Linux lists for the first processor; None where it lists none."""
    if not cpuinfo.is_file():
        return None
    for line in cpuinfo.read_text("utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return None


def gflops(how: str, size: int = 2048, repeats: int = 5) -> float:
    """The best of several products of two square matrices in bf16 or fp32, in GFLOP a second of
    processor time on one thread, which a busy machine leaves nearly as it is."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        left = torch.ones(size, size, dtype=torch.bfloat16 if how == "bf16" else torch.float32)
        seconds = []
        for _ in range(repeats):
            start = time.process_time()
            left @ left
            seconds.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return 2 * size**3 / min(seconds) / 1e9


def _device(asked: str) -> str:
    with loading():
        import torch

    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if asked == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[asked]:
        raise ValueError(
            f"compute.device: found {asked!r}, which torch does not see on this machine; expected "
            f"one of auto, {', '.join(name for name, is_there in there.items() if is_there)}"
        )
    return asked


def _seconds(dtype: torch.dtype, size: int = 768) -> float:
    """Time of one square matrix product, the first of which warms up."""
    import torch

    left = torch.ones(size, size, dtype=dtype)
    left @ left
    start = time.perf_counter()
    left @ left
    return time.perf_counter() - start
