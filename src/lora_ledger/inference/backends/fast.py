"""The back-end that is meant for use: packed prefill, a KV cache in slots, continuous batching.

In: a transformers model in memory, which from then on is good for evaluation alone. Out: what
`plain` answers, in a fraction of the time. Samples come from generators of their own and depend on
no other request.
"""

from __future__ import annotations

from typing import Any

from lm_eval.api.registry import register_model

from lora_ledger.inference import layers
from lora_ledger.inference.decoding import Completion, Prompt, generate
from lora_ledger.inference.language_model import LedgerModel, bar
from lora_ledger.inference.likelihood import score


@register_model("lora-ledger")
class FastModel(LedgerModel):
    """A causal model whose layers run without padding."""

    def __init__(
        self, model: Any, tokenizer: Any, *, max_length: int | None = None, **settings: Any
    ) -> None:
        length = max_length or int(model.config.max_position_embeddings)
        super().__init__(tokenizer, max_length=length, **settings)
        self.model = model
        layers.install(model)

    def _score(self, pairs: list[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        with bar(len(pairs), "likelihoods") as shown:
            return score(
                self.model,
                pairs,
                batch_size=self.batch_size,
                max_length=self.max_length,
                done=shown.update,
            )

    def _generate(self, prompts: list[Prompt]) -> tuple[list[list[Completion]], list[float]]:
        with bar(sum(len(prompt.draws) for prompt in prompts), "completions") as shown:
            return generate(
                self.model,
                self.tokenizer,
                prompts,
                end_ids=self.end_ids,
                batch_size=self.batch_size,
                done=shown.update,
            )
