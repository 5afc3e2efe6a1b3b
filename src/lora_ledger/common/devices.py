"""Which GPUs this process may use, and which of them is its own.

In: CUDA_VISIBLE_DEVICES and the devices that the driver lists.
Out: the names of the devices that CUDA would show; for a job, one of them that no other job on this
machine has claimed. A claim is a lock of the kernel: it ends with the process, however it ends.
It imports no torch, and has to be asked before torch is: CUDA reads its variable once.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 0.5
REMINDER_SECONDS = 60
LOCKS = Path("/tmp")
"""One folder for all jobs and users of a machine; a job's TMPDIR may be its own."""


@cache
def listed_devices() -> tuple[str, ...]:
    """UUIDs of the GPUs that `nvidia-smi` lists, or else the driver itself, in their order."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        texts = [file.read_text("utf-8", errors="replace") for file in files]
        return tuple("".join(re.findall(r"^GPU UUID:\s*(\S+)", text, re.M)) for text in texts)
    done = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    found = re.findall(r"^GPU \d+: .*?(?:\(UUID: ([^)]+)\))?$", done.stdout, re.MULTILINE)
    return tuple(found) if done.returncode == 0 else ()


def visible_devices(environ: Mapping[str, str], listed: tuple[str, ...]) -> list[str]:
    """The names of the devices that CUDA shows, as CUDA_VISIBLE_DEVICES would name them.

    CUDA reads its variable up to the first name that it does not know, such as -1, and shows
    nothing where a name is repeated.
    """
    asked = environ.get(VISIBLE)
    if asked is None:
        return [str(index) for index in range(len(listed))]
    names: list[str] = []
    for name in (part.strip() for part in asked.split(",")):
        number = re.match(r"\+?(\d+)", name)
        if number is not None:
            if int(number[1]) >= len(listed):
                break
            names.append(str(int(number[1])))
        elif name.startswith(("GPU-", "MIG-")) and listed:
            names.append(name)
        else:
            break
    return names if len(set(names)) == len(names) else []


def claim_device(device: str) -> str | None:
    """Take one of several visible GPUs for this process alone, until it ends; its name, or None.

    `device` is a study's `compute.device`. Nothing is done on a processor, and nothing where CUDA
    shows one device or none, as under a scheduler that gives each job its own. While other jobs
    hold all of them it waits, and says so on standard error.
    """
    if device not in ("auto", "cuda"):
        return None
    listed = listed_devices()
    visible = visible_devices(os.environ, listed)
    if len(visible) < 2:
        return None
    folder = LOCKS if os.access(LOCKS, os.W_OK) else Path(tempfile.gettempdir())
    told = 0.0
    while True:
        for name in visible:
            # One device has one lock, whether it is asked for by number or by UUID.
            number = next((str(i) for i, uuid in enumerate(listed) if uuid.startswith(name)), name)
            if _locked(folder / f"lora-ledger-gpu-{number}.lock"):
                os.environ[VISIBLE] = name
                return name
        if time.monotonic() - told > REMINDER_SECONDS or not told:
            told = time.monotonic()
            print(
                f"all {len(visible)} GPUs ({', '.join(visible)}) are taken by other jobs of "
                "lora-ledger; waiting for one",
                file=sys.stderr,
                flush=True,
            )
        time.sleep(POLL_SECONDS)


def _locked(path: Path) -> bool:
    """Whether this process got the lock; it keeps it, as the file stays open until it ends."""
    # Another user's file in a sticky folder may be opened, but not with O_CREAT.
    kind = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, kind)
    except FileNotFoundError:
        handle = os.open(path, kind | os.O_CREAT, 0o644)
        os.fchmod(handle, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return False
    return True
