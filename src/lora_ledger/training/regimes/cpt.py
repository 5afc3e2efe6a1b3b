"""Continued pretraining: documents one after another, every token but a block's first bears loss.

In: documents. Out: blocks of exactly the sequence length; the tail is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from lora_ledger.catalogue import TokenRoles
from lora_ledger.models.tokens import token_id
from lora_ledger.study.regimes import REGIMES, Facts
from lora_ledger.training.packing import Row, blocks, counted

from .base import Regime

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class ContinuedPretraining(Regime):
    """Blocks of joined documents with the separator between them."""

    facts: ClassVar[Facts] = REGIMES["cpt"]

    def pack(
        self,
        examples: Sequence[Mapping[str, Any]],
        tokenizer: Tokenizer,
        tokens: TokenRoles,
        length: int,
    ) -> tuple[list[Row], dict[str, int]]:
        """Blocks of `length` tokens."""
        separator = token_id(tokenizer.get_vocab(), "separator", tokens.separator)
        texts = (example["text"] for example in examples)
        return counted(blocks(tokenizer, separator, texts, length), len(examples))


REGIME = ContinuedPretraining()
