"""What a record says of the folders and the machine that a stage computed with.

In: folders of models, cells and corpora, and the study's `compute`. Out: digests, the status of
a trained cell, resolved device and precision. It imports torch only where a device is resolved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lora_ledger.records import digest_file, digest_json, read_record
from lora_ledger.study import Compute


def identity(folder: Path) -> str:
    """The id of the folder's record; of a folder without one, a hash over its files."""
    if (folder / "record.json").is_file():
        return read_record(folder / "record.json").id
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: found nothing, expected the folder that a stage wrote")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest_json({str(path.relative_to(folder)): digest_file(path) for path in files})[:16]


def status(trained: Path | None) -> Literal["complete", "diverged"]:
    """The status in the cell's training record; the base, and a folder without record, complete."""
    if trained is None or not (trained / "record.json").is_file():
        return "complete"
    return read_record(trained / "record.json").status


def token_id(tokenizer: Any, role: str, token: str) -> int:
    """The id of a token that the catalogue names; ValueError when the tokenizer lacks it."""
    found = tokenizer.get_vocab().get(token)
    if found is None:
        raise ValueError(
            f"tokens.{role}: found {token!r}, expected a token of the model's tokenizer; "
            "correct the catalogue entry"
        )
    return int(found)


def settle(compute: Compute) -> dict[str, str]:
    """Device and precision as `precision.resolve` has them, with torch's thread count set."""
    import torch

    from lora_ledger.precision import resolve

    torch.set_num_threads(compute.threads)
    return resolve(compute)
