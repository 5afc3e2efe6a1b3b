"""The language model that a cell is evaluated with, by the back-end that the study names.

In: the study, a cell's label, the model folder and, for a trained cell or somebody else's model,
its folder. Out: its weights in memory, what they compute on, and language models for lm-eval's
tasks over them. It answers nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.catalogue import TokenRoles
from lora_ledger.common.startup import loading
from lora_ledger.models.tokens import begin_ids, token_id
from lora_ledger.study import cells
from lora_ledger.study.schema import Compute, Study

from .weights import load_cell, load_tokenizer, parts_of, placed

if TYPE_CHECKING:
    from .language_model import LedgerModel


@dataclass(frozen=True)
class Held:
    """A cell's weights in memory; `where` is {"device", "precision", "backend"}, `made` what of
    other weights they were made of, and how."""

    roles: TokenRoles
    where: dict[str, str]
    tokenizer: Any
    model: Any
    answers: Callable[..., LedgerModel]
    made: dict[str, Any] | None = None

    def language_model(
        self, *, batch_size: int, seed: int = 0, ends: tuple[str, ...] = ()
    ) -> LedgerModel:
        """A language model over the weights; `ends` are roles of the tokens that end a text.

        Several of them may be used one after another: none leaves anything to the next.
        """
        vocabulary = self.tokenizer.get_vocab()
        return self.answers(
            self.model,
            self.tokenizer,
            prefix_id=token_id(vocabulary, "prefix", self.roles.prefix),
            end_ids=[token_id(vocabulary, role, getattr(self.roles, role)) for role in ends],
            begin_ids=begin_ids(vocabulary, self.roles),
            batch_size=batch_size,
            seed=seed,
        )


def hold(study: Study, cell: str, model_dir: Path, trained: Path | None) -> Held:
    """Load what a cell is evaluated with; `trained` None is the base.

    Raises ValueError for a device or a back-end that is not there, FileNotFoundError for a cell
    without weights.
    """
    resolved = _settle(study.compute)
    known, how = cells.weights_of(study, cell), cells.derived(study, cell)
    method = study.methods[known.method] if known else None
    source, adapter = parts_of(model_dir, trained)
    backend: str = study.compute.backend
    if method is not None and not method.merges:
        # What trained beside the weights is evaluated as it is, by transformers' own forward.
        backend = "plain"
    elif backend == "vllm" and (how or (adapter and not _is_lora(adapter))):
        # It loads no other adapters, and none but folders.
        backend = "fast"
    where = {
        "device": resolved["device"],
        "precision": resolved["evaluate"],
        "backend": backend,
    }
    roles = cells.tokens(study, cell)
    answers: Any
    if where["backend"] == "vllm":
        from lora_ledger.inference.backends.vllm import VllmModel as answers
        from lora_ledger.inference.backends.vllm import engine

        with loading():
            own = (source / "tokenizer.json").is_file()
            tokenizer = load_tokenizer(source if own else model_dir)
        # Not while loading: the engine may be a fork of this process, and would never collect.
        return Held(roles, where, tokenizer, engine(source, model_dir, adapter, where), answers)
    with loading():
        if where["backend"] == "plain":
            from lora_ledger.inference.backends.plain import PlainModel as answers
        else:
            from lora_ledger.inference.backends.fast import FastModel as answers

        precision: Any = where["precision"]
        made: dict[str, Any] | None = None
        if how is None:
            model, tokenizer = load_cell(model_dir, trained, precision, where["device"], method)
        else:
            from .derived import make

            assert trained is not None
            assert method is not None
            model, tokenizer, done = make(model_dir, trained, method, how)
            model, made = placed(model, precision, where["device"]), {**how.asked, **done}
    return Held(roles, where, tokenizer, model, answers, made)


def beside(model_dir: Path, where: Mapping[str, str]) -> Any:
    """The untouched base beside a cell, in its precision and on its device and back-end."""
    precision: Any = where["precision"]
    with loading():
        from .layers import install

        model, _ = load_cell(model_dir, None, precision, where["device"])
        if where["backend"] == "fast":
            install(model)
    return model


def _is_lora(adapter: Path) -> bool:
    """Whether a folder holds a LoRA of peft's, as a file without a type does too."""
    config = adapter / "adapter_config.json"
    if not config.is_file():
        return False
    return bool(json.loads(config.read_text("utf-8")).get("peft_type", "LORA") == "LORA")


def _settle(compute: Compute) -> dict[str, str]:
    """Device and precision, resolved, with torch's thread count set."""
    with loading():
        import torch

    from lora_ledger.compute.device import resolve

    torch.set_num_threads(compute.threads)
    return resolve(compute)
