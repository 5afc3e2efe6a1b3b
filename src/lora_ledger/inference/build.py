"""The language model that a cell is evaluated with, by the back-end that the study names.

In: the study, a cell's label, the model folder and, for a trained cell or somebody else's model,
its folder. Out: a language model for lm-eval's tasks, and what it computes on. It answers nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.common.startup import loading
from lora_ledger.models.tokens import begin_ids, token_id
from lora_ledger.study import cells
from lora_ledger.study.schema import Compute, Study

from .weights import load_cell, load_tokenizer, parts_of

if TYPE_CHECKING:
    from .language_model import LedgerModel


def language_model(
    study: Study,
    cell: str,
    model_dir: Path,
    trained: Path | None,
    *,
    batch_size: int,
    seed: int = 0,
    ends: tuple[str, ...] = (),
) -> tuple[LedgerModel, dict[str, str]]:
    """(language model, {"device", "precision", "backend"}) of a cell; `trained` None is the base.

    `ends` are roles of the tokens that end a text. Raises ValueError for a device or a back-end
    that is not there, FileNotFoundError for a cell without weights.
    """
    resolved = _settle(study.compute)
    where = {
        "device": resolved["device"],
        "precision": resolved["evaluate"],
        "backend": study.compute.backend,
    }
    source, adapter = parts_of(model_dir, trained)
    with loading():
        tokenizer = load_tokenizer(source if (source / "tokenizer.json").is_file() else model_dir)
    roles, vocabulary = cells.tokens(study, cell), tokenizer.get_vocab()
    settings: dict[str, Any] = {
        "prefix_id": token_id(vocabulary, "prefix", roles.prefix),
        "end_ids": [token_id(vocabulary, role, getattr(roles, role)) for role in ends],
        "begin_ids": begin_ids(vocabulary, roles),
        "batch_size": batch_size,
        "seed": seed,
    }
    if where["backend"] == "vllm":
        from lora_ledger.inference.backends.vllm import VllmModel, engine

        model: Any = engine(source, model_dir, adapter, where)
        return VllmModel(model, tokenizer, **settings), where
    # Not around vLLM, whose engine may be a fork of this process and would never collect.
    with loading():
        answers: Any
        if where["backend"] == "plain":
            from lora_ledger.inference.backends.plain import PlainModel as answers
        else:
            from lora_ledger.inference.backends.fast import FastModel as answers

        precision: Any = where["precision"]
        model, tokenizer = load_cell(model_dir, trained, precision, where["device"])
    return answers(model, tokenizer, **settings), where


def _settle(compute: Compute) -> dict[str, str]:
    """Device and precision, resolved, with torch's thread count set."""
    with loading():
        import torch

    from lora_ledger.compute.device import resolve

    torch.set_num_threads(compute.threads)
    return resolve(compute)
