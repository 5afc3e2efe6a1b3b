"""Instruction fine-tuning: a prompt that bears no loss, and the response that is learnt.

In: prompts with their responses. Out: one row for each: prompt ids, response ids and the
end-of-response token. A pair over the sequence length is dropped and counted, never cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from lora_ledger.catalogue import TokenRoles
from lora_ledger.models.tokens import begin_ids, token_id
from lora_ledger.study.regimes import REGIMES, Facts
from lora_ledger.training.packing import Row, counted, pairs

from .base import Regime

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class InstructionFineTuning(Regime):
    """Pairs as the evaluation sends and expects them."""

    facts: ClassVar[Facts] = REGIMES["ift"]

    def pack(
        self,
        examples: Sequence[Mapping[str, Any]],
        tokenizer: Tokenizer,
        tokens: TokenRoles,
        length: int,
    ) -> tuple[list[Row], dict[str, int]]:
        """One row for each pair of at most `length` tokens."""
        vocabulary = tokenizer.get_vocab()
        end = token_id(vocabulary, "end_of_response", tokens.end_of_response)
        begin = begin_ids(vocabulary, tokens)
        return counted(pairs(tokenizer, end, examples, length, begin), len(examples))


REGIME = InstructionFineTuning()
