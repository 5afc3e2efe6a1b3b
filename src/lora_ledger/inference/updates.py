"""What training changed of each matrix of a model's blocks: ΔW in fp32, or its thin factors.

In: a method's facts, the model folder and a cell's folder. Out: the matrices one by one, in the
order of the blocks, each with the base's weights. What merges is taken as the weights that merge;
embeddings, head and norms are no matrices of a block and are left out. It decomposes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.methods.partial import block_of
from lora_ledger.methods.products import Product, of_folder
from lora_ledger.models import architecture
from lora_ledger.models.pretrained import read_json
from lora_ledger.models.tensors import Tensors

from .weights import load_cell, parts_of

if TYPE_CHECKING:
    from lora_ledger.methods import MethodBase


class NoUpdate(ValueError):
    """Why a cell has no ΔW of the base's matrices."""


@dataclass(frozen=True)
class Matrix:
    """A matrix of a block: its name and place, the base's weights and what was added to them.

    One of `product` and `delta` says what was added; neither does of the untouched base.
    """

    name: str
    block: int
    module: str
    base: Any
    product: Product | None = None
    delta: Any = None


def names(config: Mapping[str, object], blocks: Sequence[int] | None = None) -> list[str]:
    """The weights of linear modules, block by block; `blocks` counts from 0, None is all."""
    every = (name for name in architecture.tensors(config) if name.endswith("_proj.weight"))
    return [name for name in every if blocks is None or block_of(name) in blocks]


def left_out(config: Mapping[str, object]) -> list[str]:
    """The tensors that are no matrices of a block, each kind once."""
    matrices = set(names(config))
    rest = (name for name in architecture.tensors(config) if name not in matrices)
    return sorted({name.removesuffix(".weight").rpartition(".")[2] for name in rest})


def matrices(
    model_dir: Path,
    trained: Path | None,
    method: MethodBase | None,
    blocks: Sequence[int] | None = None,
) -> Iterator[Matrix]:
    """Each matrix of the chosen blocks; of the base where `trained` is None.

    `method` is that of a cell of the study, None for somebody else's model. Raises NoUpdate where
    the cell has none: its method does not merge, or its model has other shapes.
    """
    base = Tensors(model_dir)
    chosen = names(read_json(model_dir / "config.json"), blocks)
    if trained is None:
        yield from (_of(name, base.read(name)) for name in chosen)
        return
    if method is not None and not method.merges:
        raise NoUpdate(f"no ΔW: {method.kind} does not merge")
    source, adapter = parts_of(model_dir, trained)
    if adapter is not None:
        products = method.products(adapter) if method else of_folder(adapter)
        if products is not None:
            for name in chosen:
                yield _of(name, base.read(name), products.get(name))
            return
        model, _ = load_cell(model_dir, trained, "fp32", "cpu", method)
        yield from of_model(model_dir, model, blocks)
        return
    tuned = Tensors(source)
    for name in chosen:
        if name not in tuned or tuned.shape(name) != base.shape(name):
            found = tuned.shape(name) if name in tuned else "nothing"
            raise NoUpdate(f"no ΔW: {name} is {found}, of the base {base.shape(name)}")
    for name in chosen:
        yield _difference(name, base.read(name), tuned.read(name))


def of_model(model_dir: Path, model: Any, blocks: Sequence[int] | None = None) -> Iterator[Matrix]:
    """Each matrix of the chosen blocks of a model in memory, in fp32 on the processor."""
    base = Tensors(model_dir)
    chosen = names(read_json(model_dir / "config.json"), blocks)
    merged = {name: weight for name, weight in model.named_parameters() if name in chosen}
    for name in chosen:
        yield _difference(name, base.read(name), merged[name].numpy())


def _of(name: str, base: Any, product: Product | None = None) -> Matrix:
    module = name.removesuffix(".weight").rpartition(".")[2]
    block = block_of(name)
    assert block is not None
    return Matrix(name, block, module, base, product)


def _difference(name: str, base: Any, tuned: Any) -> Matrix:
    plain = _of(name, base)
    return Matrix(name, plain.block, plain.module, base, delta=tuned - base)
