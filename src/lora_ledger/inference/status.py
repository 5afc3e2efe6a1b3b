"""What an evaluation computes on: a trained cell's status, the device, the precision.

In: a cell's folder, and the study's `compute`. Out: the status in its record; device and precision
as resolved. It imports torch only where a device is resolved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lora_ledger.common.startup import loading
from lora_ledger.records.record import read_record
from lora_ledger.study.schema import Compute


def status(trained: Path | None) -> Literal["complete", "diverged"]:
    """The status in the cell's training record; the base, and a folder without record, complete."""
    if trained is None or not (trained / "record.json").is_file():
        return "complete"
    return read_record(trained / "record.json").status


def settle(compute: Compute) -> dict[str, str]:
    """Device and precision as `precision.resolve` has them, with torch's thread count set."""
    with loading():
        import torch

    from lora_ledger.compute.device import resolve

    torch.set_num_threads(compute.threads)
    return resolve(compute)
