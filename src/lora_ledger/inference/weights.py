"""Loads what a cell is evaluated with: the base, a trained model, or an adapter merged into it.

In: the model folder and, for a trained cell or somebody else's model, its folder with `model/` or
`adapter/`. Out: a transformers model in evaluation mode and its tokenizer. Adapters are merged
into fp32 weights before any cast, so that every arm runs the same kernels. It trains and writes
nothing.
"""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

    from lora_ledger.methods import MethodBase

Precision = Literal["fp32", "bf16"]

# mallopt(3): parameters, and the size in bytes up to which memory is kept.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT = 2**30


def load_cell(
    model_dir: Path,
    cell_dir: Path | None,
    precision: Precision,
    device: str | torch.device,
    method: MethodBase | None = None,
) -> tuple[Any, Any]:
    """(model, tokenizer) of a cell; `cell_dir` None is the untouched base.

    `method` is that of a cell of the study; without one an adapter is somebody else's LoRA.

    The tokenizer is the base's unless the cell's `model` has one of its own, as somebody else's
    may. Raises FileNotFoundError when the cell's folder holds neither `model` nor `adapter`.
    """
    if str(device) == "cpu":
        keep_memory()
    source, adapter = parts_of(model_dir, cell_dir)
    model = load_weights(source)
    if adapter is not None and method is not None:
        model = method.load(model, adapter)
    elif adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    own = (source / "tokenizer.json").is_file()
    return placed(model, precision, device), load_tokenizer(source if own else model_dir)


def placed(model: Any, precision: Precision, device: str | torch.device) -> Any:
    """The model where it answers, cast, in evaluation mode."""
    import torch

    model = model.to(device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    model.requires_grad_(False)
    return model.eval()


def keep_memory() -> None:
    """Have the C library keep what is freed, where it is glibc: activations come again at once.

    By default it gives each large tensor back to the kernel, and touching new pages costs more than
    many of the operations that write them.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
        library.mallopt(parameter, LARGEST_KEPT)


def parts_of(model_dir: Path, cell_dir: Path | None) -> tuple[Path, Path | None]:
    """The folder of weights that a cell stands on, and its adapter's, if it has one.

    Raises FileNotFoundError when the cell's folder holds neither `model` nor `adapter`.
    """
    if cell_dir is None:
        return model_dir, None
    if (cell_dir / "model").is_dir():
        return cell_dir / "model", None
    if (cell_dir / "adapter").is_dir():
        return model_dir, cell_dir / "adapter"
    found = sorted(path.name for path in cell_dir.glob("*"))
    raise FileNotFoundError(
        f"{cell_dir}: found {', '.join(found) or 'nothing'}, expected model/ or adapter/; "
        "run the train stage for this cell"
    )


def load_weights(folder: Path) -> Any:
    """The causal language model of a folder in fp32.

    Raises ValueError for a folder without all weights that its config.json asks for: transformers
    would draw the rest at random.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=torch.float32, local_files_only=True, output_loading_info=True
    )
    lacking = sorted({*map(str, info["missing_keys"]), *map(str, info["mismatched_keys"])})
    if lacking:
        raise ValueError(
            f"{folder}: found no fitting tensor {lacking[0]} ({len(lacking)} in all), expected "
            "every weight of config.json; save the model again with save_pretrained"
        )
    return model


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer.json as it stands; a class chosen by model type rebuilds parts."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
