"""What all jobs together may use of this machine: memory and GPUs. Read by profiles/default.

In: the machine's memory, the control groups that this process is in, the GPUs that are visible.
Out: numbers for Snakemake's `--resources`. What a single job needs is in `resources`.
"""

from __future__ import annotations

import os
from pathlib import Path

from lora_ledger.common.devices import listed_devices, visible_devices

SHARE = 0.85
"""Of the memory; the rest is for the system and for Snakemake."""
GROUP_FILES = (("", "memory.max"), ("", "memory.high"), ("memory", "memory.limit_in_bytes"))
"""Controller and file of version 2, whose lines name no controller, and of version 1."""


def memory_mb() -> int:
    """MB that all jobs together may hold: a share of the lowest limit on this process."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    lowest = min([physical, *group_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])
    return int(lowest * SHARE / 2**20)


def group_limits(own: Path, mounted: Path) -> list[int]:
    """Bytes, of each memory limit of the process's control groups and of those above them.

    `own` lists the groups of a process (cgroups(7)), `mounted` holds the file systems. A container
    may see its own group at the top: folders that are not there are passed over.
    """
    if not own.is_file():
        return []
    found = []
    for line in own.read_text("utf-8").splitlines():
        controllers, _, group = line.partition(":")[2].partition(":")
        for controller, name in GROUP_FILES:
            if controller not in controllers.split(","):
                continue
            tops = [mounted / controller] if controller else [mounted, mounted / "unified"]
            parts = [part for part in group.split("/") if part not in ("", "..")]
            for top in tops:
                for depth in range(len(parts) + 1):
                    file = top.joinpath(*parts[:depth], name)
                    text = file.read_text("utf-8").strip() if file.is_file() else "max"
                    found += [int(text)] if text.isdecimal() else []
    return found


def gpus() -> int:
    """GPUs that CUDA shows to this process."""
    return len(visible_devices(os.environ, listed_devices()))
