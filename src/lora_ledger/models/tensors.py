"""The tensors of a model folder, one at a time, without the model.

In: a folder with safetensors. Out: single tensors as numpy arrays in fp32, bit for bit where they
were fp32, bf16 or fp16. It builds no module, so a folder of any size fits in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .pretrained import check_weights
from .skeletons import shapes


class Tensors:
    """What the weight files of a folder hold, by name.

    Raises SourceError for a folder without all of its weights as safetensors.
    """

    def __init__(self, folder: Path) -> None:
        self.files = {
            name: (path, tuple(shape))
            for path in check_weights(folder)
            for name, shape in shapes(path).items()
        }

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape, from the file's head."""
        return self.files[name][1]

    def read(self, name: str) -> Any:
        """The tensor in fp32."""
        return read(self.files[name][0], name)


def read(path: Path, name: str) -> Any:
    """One tensor of a safetensors file as a numpy array in fp32."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        if file.get_slice(name).get_dtype() != "BF16":
            return file.get_tensor(name).astype("float32", copy=False)
    # numpy has no bf16.
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name).float().numpy()
