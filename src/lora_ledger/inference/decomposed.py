"""Decompositions of the base's matrices, made once for all cells of a study.

In: a matrix and a folder. Out: its singular values and vectors in fp32, read where a file of that
folder has them, else computed and written there. A file is named by the hash of the matrix, so it
never has to be thrown away, and appears whole or not at all: a job that was killed, and two at
once, do no harm. What is there may be deleted at any time.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from lora_ledger.analysis.decomposition import Decomposition, dense
from lora_ledger.records.atomic import new_file


def decomposed(matrix: Any, folder: Path | None) -> Decomposition:
    """The decomposition of a matrix in fp32; `folder` None keeps nothing."""
    import numpy as np

    if folder is None:
        return _single(dense(matrix))
    path = folder / f"{_key(matrix)}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as held:
            return Decomposition(held["left"], held["values"], held["right"])
    found = _single(dense(matrix))
    with new_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, left=found.left, values=found.values, right=found.right)
    return found


def _single(found: Decomposition) -> Decomposition:
    return Decomposition(*(part.astype("float32") for part in vars(found).values()))


def _key(matrix: Any) -> str:
    """Of shape and bytes."""
    digest = hashlib.sha256(repr((matrix.shape, str(matrix.dtype))).encode())
    digest.update(memoryview(matrix).cast("B") if matrix.flags.c_contiguous else matrix.tobytes())
    return digest.hexdigest()[:32]
