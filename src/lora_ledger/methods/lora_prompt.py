"""LoRA beside a prompt of trainable vectors: LoRA+PE and LoRA+PL of Hu et al. 2021, appendix E.

In: a model. Out: the same model with a LoRA and `prompt_tokens` positions in front of every text.
`embeddings` trains what stands there before the first block; `layers` replaces what stands there
before every block. No position of the text moves with padding, and none of the prompt is predicted.
LoRA is merged when a trained cell is loaded; the prompt stays, and takes its positions from the
model's window. There are no tokens within or behind the text, as the paper's infixes are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MethodType
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt

from lora_ledger.common.errors import KeyProblem
from lora_ledger.common.seeds import stream
from lora_ledger.models import architecture

from .base import MethodBase
from .beside import BesideMethod, shaded
from .lora import LoraMethod


class LoraPromptMethod(BesideMethod):
    """LoRA, and trainable vectors in front of every text."""

    kind: Literal["lora-prompt"]
    rank: PositiveInt
    alpha: PositiveFloat | None = Field(None, description="Default: twice the rank.")
    target_modules: Literal["attention", "mlp", "all"] | tuple[str, ...] = "all"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    prompt_tokens: PositiveInt = Field(description="Positions in front of every text.")
    prompt_at: Literal["embeddings", "layers"] = Field(
        "embeddings", description="Whether the positions train once, or before every block."
    )

    @property
    def engine(self) -> Literal["fast", "plain"]:
        """Positions that no batch holds are transformers' own forward's matter."""
        return "plain"

    @property
    def starts_from_base(self) -> bool:
        """The vectors are seen from the first step on."""
        return False

    @property
    def virtual_tokens(self) -> int:
        """The prompt's."""
        return self.prompt_tokens

    def computed(self) -> dict[str, Any]:
        """Alpha: twice the rank, unless the study says otherwise."""
        return {"alpha": 2.0 * self.rank if self.alpha is None else self.alpha}

    def distance(self, other: MethodBase) -> float:
        """The ratio of the ranks, as the absolute value of its logarithm."""
        if not isinstance(other, LoraPromptMethod):
            return math.inf
        return abs(math.log(self.rank / other.rank))

    @classmethod
    def colours(cls, methods: Sequence[Self]) -> list[str]:
        """Shades of magenta, darker with rank."""
        return shaded(("#f1a7d8", "#8e0f6b"), [method.rank for method in methods])

    def check(self, config: Mapping[str, object], where: str = "") -> None:
        """LoRA fits the model, and the prompt leaves the text a place in its window."""
        self._lora().check(config, where)
        window = config.get("max_position_embeddings")
        if isinstance(window, int) and self.prompt_tokens >= window:
            expected = f"{window - 1} at most, less than the model's max_position_embeddings"
            raise KeyProblem(f"{where}prompt_tokens", self.prompt_tokens, expected)

    def apply(self, model: Any, seed: int) -> Any:
        """A peft model with LoRA, whose decoder has the prompt; it starts as random tokens do."""
        import torch

        self.check(model.config.to_dict())
        adapted = self._lora().apply(model, seed)
        decoder = model.get_decoder()
        table = decoder.embed_tokens.weight
        sets = len(decoder.layers) if self.prompt_at == "layers" else 1
        draw = torch.Generator().manual_seed(stream(seed, "prompt"))
        drawn = torch.randint(len(table), (sets, self.prompt_tokens), generator=draw)
        decoder.prompt = torch.nn.Parameter(table.detach()[drawn.to(table.device)].clone())
        decoder.forward = MethodType(_forward(decoder.forward), decoder)
        for i in range(1, sets):
            decoder.layers[i].register_forward_pre_hook(_replace(decoder, i), with_kwargs=True)
        return adapted

    def finished(self, model: Any) -> Any:
        """LoRA merged, and a window that has room for the prompt in front of every text."""
        merged = model.merge_and_unload(safe_merge=True)
        merged.config.max_position_embeddings -= self.prompt_tokens
        return merged

    def trainable_parameters(self, config: Mapping[str, object]) -> int:
        """r (in + out) a module, and d a position, in each block with `layers`."""
        base = architecture.read(config)
        sets = base.layers if self.prompt_at == "layers" else 1
        prompt = sets * self.prompt_tokens * base.hidden
        return self._lora().trainable_parameters(config) + prompt

    def flops_per_token(self, config: Mapping[str, object], sequence_length: int) -> float:
        """LoRA's for a sequence that is longer by the prompt, over the tokens of the text; the
        head, forward and backward, is for the text alone."""
        base = architecture.read(config)
        longer = sequence_length + self.prompt_tokens
        whole = self._lora().flops_per_token(config, longer) * longer
        head = 4.0 * base.vocab * base.hidden * self.prompt_tokens
        return (whole - head) / sequence_length

    def _lora(self) -> LoraMethod:
        return LoraMethod(
            kind="lora",
            rank=self.rank,
            alpha=self.alpha,
            target_modules=self.target_modules,
            dropout=self.dropout,
            learning_rates=self.learning_rates,
            at=self.at,
        )


def _forward(original: Any) -> Any:
    """A decoder's forward with the prompt in front of what a cache does not hold yet.

    Who calls it, `generate` too, counts tokens, positions and mask of the text alone.
    """
    import torch

    def forward(
        self: Any,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        inputs_embeds: Any = None,
        **others: Any,
    ) -> Any:
        embedded = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        first = past_key_values is None or past_key_values.get_seq_length() == 0
        rows, tokens = len(embedded), self.prompt.shape[1]
        if first:
            embedded = torch.cat([_rows(self.prompt[0], embedded), embedded], dim=1)
        if attention_mask is not None:
            if attention_mask.dim() != 2:
                raise ValueError(
                    f"attention_mask: found {attention_mask.dim()} dimensions, expected 2 before "
                    "a prompt is put in front; take the default cache"
                )
            ones = attention_mask.new_ones(rows, tokens)
            attention_mask = torch.cat([ones, attention_mask], dim=1)
        if position_ids is not None:
            position_ids = position_ids + tokens
            if first:
                before = torch.arange(tokens, device=position_ids.device)
                before = before.expand(len(position_ids), -1)
                position_ids = torch.cat([before, position_ids], dim=1)
        result = original(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=embedded,
            **others,
        )
        if first:
            result.last_hidden_state = result.last_hidden_state[:, tokens:]
        return result

    return forward


def _replace(decoder: Any, block: int) -> Any:
    """A hook that puts the block's own vectors where the prompt stands, as long as it is there."""
    import torch

    def hook(module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        cache = named.get("past_key_values")
        if cache is not None and cache.get_seq_length(block):
            return None
        hidden, *more = inputs
        own = decoder.prompt[block]
        hidden = torch.cat([_rows(own, hidden), hidden[:, len(own) :]], dim=1)
        return (hidden, *more), named

    return hook


def _rows(vectors: Any, like: Any) -> Any:
    return vectors.to(like.dtype).expand(len(like), -1, -1)
