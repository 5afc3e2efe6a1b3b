"""What all jobs together may use of this machine: memory, processors, GPUs; for profiles/default.

In: the machine's memory, the control groups that this process is in, the processors and GPUs that
it may run on. Out: numbers for Snakemake. What a single job needs is in `resources`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from lora_ledger.common.devices import listed_devices, visible_devices

SHARE = 0.85
"""Of the memory; the rest is for the system and for Snakemake."""
GROUP_FILES = (("", "memory.max"), ("", "memory.high"), ("memory", "memory.limit_in_bytes"))
"""Controller and file of version 2, whose lines name no controller, and of version 1."""
OWN, MOUNTED = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def memory_mb() -> int:
    """MB that all jobs together may hold: a share of the lowest limit on this process."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    lowest = min([physical, *group_limits(OWN, MOUNTED)])
    return int(lowest * SHARE / 2**20)


def cores() -> int:
    """Processors that all jobs together may keep busy: those that this process may run on, and no
    more than the lowest quota of its control groups has time for, at least one."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min([allowed, *(math.floor(one) for one in group_quotas(OWN, MOUNTED))]))


def group_limits(own: Path, mounted: Path) -> list[int]:
    """Bytes, of each memory limit of the process's control groups and of those above them.

    `own` lists the groups of a process (cgroups(7)), `mounted` holds the file systems. A container
    may see its own group at the top: folders that are not there are passed over.
    """
    found = []
    for controllers, folder in _groups(own, mounted, "memory"):
        for controller, name in GROUP_FILES:
            text = _text(folder / name) if controller in controllers else ""
            found += [int(text)] if text.isdecimal() else []
    return found


def group_quotas(own: Path, mounted: Path) -> list[float]:
    """Processors' worth of time, of each quota of the process's groups and of those above them."""
    found = []
    for controllers, folder in _groups(own, mounted, "cpu"):
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if "" in controllers:
            quota, _, period = _text(folder / "cpu.max").partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            found.append(int(quota) / int(period))
    return found


def _groups(own: Path, mounted: Path, controller: str) -> Iterator[tuple[list[str], Path]]:
    """(controllers, folder) of each group of version 2 or of the controller, and of those above."""
    for line in _text(own).splitlines():
        names, _, group = line.partition(":")[2].partition(":")
        controllers = names.split(",")
        if "" in controllers:
            tops = [mounted, mounted / "unified"]
        elif controller in controllers:
            tops = [mounted / controller]
        else:
            continue
        parts = [part for part in group.split("/") if part not in ("", "..")]
        for top in tops:
            for depth in range(len(parts) + 1):
                yield controllers, top.joinpath(*parts[:depth])


def _text(file: Path) -> str:
    """The file's text; of one that is not there or may not be read, none."""
    try:
        return file.read_text("utf-8").strip()
    except OSError:
        return ""


def gpus() -> int:
    """GPUs that CUDA shows to this process."""
    return len(visible_devices(os.environ, listed_devices()))
