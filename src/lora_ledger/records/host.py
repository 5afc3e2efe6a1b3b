"""Where and how a job ran: what a record's `run` holds of machine, code and process.

In: nothing. Out: processor, its instruction sets, commit, versions, times and memory, as plain JSON
values. None of it enters a hash that is cited. It measures no stage.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lora_ledger.common.surroundings import remaining

CPUINFO = Path("/proc/cpuinfo")
TELLING = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "sve", "bf16", "asimd")
"""Instruction sets by which arithmetic differs between processors, in the kernel's words."""
PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "liger-kernel",
    "lm-eval",
    "evaluate",
    "datasets",
    "tokenizers",
    "numpy",
    "scipy",
    "pydantic",
)


def environment() -> dict[str, Any]:
    """What is known of host, code and process without being told."""
    import psutil

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "code": commit(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "wall_seconds": round(time.time() - psutil.Process().create_time(), 2),
        "process_seconds": round(time.process_time(), 2),
        "peak_memory_bytes": peak_memory_bytes(),
        "versions": _versions(),
        "environment": {name: _text(value) for name, value in remaining(os.environ).items()},
        "command": [_text(one) for one in (Path(sys.argv[0]).name, *sys.argv[1:])],
    }


def _text(given: str) -> str:
    """What the system gave as bytes, such as a path: bytes that are not UTF-8 as \\xff."""
    return os.fsencode(given).decode("utf-8", "backslashreplace")


def processor(cpuinfo: Path = CPUINFO) -> dict[str, Any]:
    """Vendor, family, model and telling instruction sets; torch's CPU capability where it runs."""
    found: dict[str, Any] = {"model": platform.processor() or platform.machine()}
    if cpuinfo.is_file():
        first = cpuinfo.read_text("utf-8", errors="replace").split("\n\n")[0]
        pairs = (line.partition(":") for line in first.splitlines())
        keys = {key.strip(): value.strip() for key, _, value in pairs}
        named = {"vendor": "vendor_id", "family": "cpu family", "model": "model name"}
        found |= {name: keys[key] for name, key in named.items() if key in keys}
        flags = set((keys.get("flags") or keys.get("Features") or "").split())
        found["instructions"] = [name for name in TELLING if name in flags]
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = torch.backends.cpu.get_cpu_capability()
        found["threads"] = torch.get_num_threads()
    return found


@cache
def commit() -> dict[str, Any]:
    """{"commit", "clean"} of the checkout that this package runs from; without one, no commit."""
    here = Path(__file__).parent
    try:
        head, changed = (
            subprocess.run(
                ["git", "-C", str(here), *command],
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            ).stdout
            for command in (
                ["rev-parse", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no"],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "clean": None}
    return {"commit": head.strip(), "clean": not changed.strip()}


def peak_memory_bytes() -> int:
    """The largest resident size this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@cache
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
