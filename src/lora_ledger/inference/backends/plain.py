"""The back-end to check the others by: lm-eval's `HFLM` over the loaded model, as slow as it is.

In: a transformers model in memory, merged and cast as for `fast`. Out: log-likelihoods and greedy
texts that agree with `fast` but for roundings. Batches are padded, every logit is made, and texts
come from transformers' `generate`, with the same stop strings and the same ends. What is sampled is
another sample than `fast`'s: torch's one generator, seeded once, draws for a whole batch.
In bf16 lm-eval's log-softmax is in bf16 too, where `fast` computes it in fp32.
"""

from __future__ import annotations

import copy
import sys
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from tokenizers.processors import TemplateProcessing
from transformers import GenerationConfig

from lora_ledger.inference.decoding import Completion, finish_of
from lora_ledger.inference.language_model import LedgerModel
from lora_ledger.methods.pefts.facts import PROMPTS


class _Peer(HFLM):  # type: ignore[misc]
    """`HFLM` that keeps the token ids of its last completions, in the order that it made them."""

    kept: list[list[int]]

    def _model_generate(self, context: Any, *others: Any, **settings: Any) -> Any:
        rows = super()._model_generate(context, *others, **settings)
        self.kept += rows[:, context.shape[1] :].tolist()
        return rows


class _Order:
    """Stands where lm-eval's cache would: told of each answer, it keeps whose answer that was."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def add_partial(self, attribute: str, request: Any, answer: Any) -> None:
        if attribute == "generate_until":
            self.keys.append(repr(request))


@register_model("lora-ledger-plain")
class PlainModel(LedgerModel):
    """A causal model behind lm-eval's own class for transformers."""

    def __init__(
        self, model: Any, tokenizer: Any, *, max_length: int | None = None, **settings: Any
    ) -> None:
        own = model.active_peft_config if hasattr(model, "peft_config") else None
        self.alone = own is not None and own.peft_type in PROMPTS
        virtual = int(getattr(own, "num_virtual_tokens", None) or 0)
        length = max_length or int(model.config.max_position_embeddings) - virtual
        super().__init__(tokenizer, max_length=length, **settings)
        # The folder's own idea of an end, or of sampling, is not the study's. A model of peft's
        # that is not merged hands generation to the one inside, whose idea counts then.
        for one in (model, *([model.get_base_model()] if own else [])):
            one.generation_config = GenerationConfig(eos_token_id=sorted(self.end_ids) or None)
        self.peer = _Peer(
            pretrained=model,
            tokenizer=self._peers_tokenizer(),
            backend="causal",
            batch_size=self.batch_size,
            max_length=self.max_length,
            prefix_token_id=self.prefix_token_id,
            add_bos_token=bool(self.begin_ids),
        )

    def _peers_tokenizer(self) -> Any:
        """The tokenizer with the study's begin and end where `HFLM` looks for them."""
        own = copy.deepcopy(self.tokenizer)
        names = own.convert_ids_to_tokens(self.begin_ids)
        if names:
            own.backend_tokenizer.post_processor = TemplateProcessing(
                single=[*names, "$A"],
                special_tokens=list(zip(names, self.begin_ids, strict=True)),
            )
        if self.end_ids:
            own.eos_token = own.convert_ids_to_tokens(min(self.end_ids))
            own.pad_token = own.eos_token
        return own

    def _score(self, pairs: list[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        asked = [(("", ""), context, ids) for context, ids in pairs]
        found: list[tuple[float, bool]] = self.peer._loglikelihood_tokens(
            asked, disable_tqdm=not sys.stderr.isatty()
        )
        return found

    def complete_and_score(
        self, requests: Sequence[Instance], references: Sequence[Sequence[int]]
    ) -> tuple[list[Completion], list[float]]:
        """As `LedgerModel` has it; completions and references take passes of their own."""
        texts = self._texts(list(requests))
        asked = [
            (request.args[0], tuple(reference))
            for request, reference in zip(requests, references, strict=True)
        ]
        once = [pair for pair in dict.fromkeys(asked) if pair[1]]
        found = self.score([(self.tok_encode(context), list(ids)) for context, ids in once])
        nats = {pair: value for pair, (value, _) in zip(once, found, strict=True)}
        return texts, [nats.get(pair, 0.0) for pair in asked]

    def _texts(self, requests: list[Instance]) -> list[Completion]:
        order = _Order()
        self.peer.set_cache_hook(order)
        self.peer.kept = []
        torch.manual_seed(self.seed)
        # Padding would stand between a learnt prompt and a text that is shorter than the batch's
        # longest, and peft counts it among the positions.
        self.peer.batch_size_per_gpu = 1 if self.alone else self.batch_size
        texts = self.peer.generate_until(requests, disable_tqdm=not sys.stderr.isatty())
        self.peer.batch_size_per_gpu = self.batch_size
        rows: dict[str, deque[list[int]]] = defaultdict(deque)
        for key, row in zip(order.keys, self.peer.kept, strict=True):
            rows[key].append(row)
        return [
            self._completion(text, rows[repr(request.args)].popleft(), request)
            for text, request in zip(texts, requests, strict=True)
        ]

    def _completion(self, text: str, row: list[int], request: Instance) -> Completion:
        """`HFLM` gives the text alone, and its rows go on until all of a batch have ended."""
        settings = normalize_gen_kwargs(request.args[1])
        # `HFLM` ends at the name of its end token too.
        end = self.peer.tok_decode(self.peer.eot_token_id, skip_special_tokens=False)
        for count in range(1, len(row) + 1):
            finish = finish_of(
                self.tokenizer,
                row[:count],
                (*settings["until"], end),
                settings["max_gen_toks"],
                self.end_ids,
            )
            if finish is not None:
                return Completion(text=text, tokens=count, finish=finish)
        return Completion(text=text, tokens=len(row), finish="length")
