"""What every regime is: how examples become rows, the loss, the validation, when it has diverged.

In: examples of a corpus, a tokenizer, a model. Out: rows to train on, nats, and whether a run is
lost. A subclass stands in a file of its own beside this one and says how it packs; what is not
next-token cross-entropy says the rest too.
A regime knows no schedule, no optimiser and no method, and the module level needs no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from lora_ledger.catalogue import TokenRoles
from lora_ledger.common.shares import exactly
from lora_ledger.study.regimes import Facts
from lora_ledger.study.schema import Setting
from lora_ledger.training import divergence
from lora_ledger.training.batching import Example
from lora_ledger.training.packing import Row

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Regime(ABC):
    """Next-token cross-entropy over the tokens that bear loss."""

    facts: ClassVar[Facts]

    @abstractmethod
    def pack(
        self,
        examples: Sequence[Mapping[str, Any]],
        tokenizer: Tokenizer,
        tokens: TokenRoles,
        length: int,
    ) -> tuple[list[Row], dict[str, int]]:
        """Rows of at most `length` token ids, and the counts of what was made and dropped.

        Raises ValueError for a token of `tokens` that the tokenizer lacks.
        """

    def splits(
        self,
        key: str,
        setting: Setting,
        examples: Mapping[str, Sequence[Mapping[str, Any]]],
        tokenizer: Tokenizer,
        tokens: TokenRoles,
    ) -> tuple[dict[str, list[Row]], dict[str, dict[str, int]]]:
        """Rows and counts of each split, the validation cut to what the setting asks for.

        `key` names the setting in the error: ValueError when a split has nothing to train on, or
        lost more of its examples than the setting allows.
        """
        rows, counts = {}, {}
        for split, found in examples.items():
            rows[split], counts[split] = self.pack(
                found, tokenizer, tokens, setting.sequence_length
            )
            if not rows[split]:
                raise ValueError(
                    f"{key}: found no {split} example of at most {setting.sequence_length} tokens "
                    f"in {setting.corpus}, expected some; raise sequence_length or choose another "
                    "corpus"
                )
            lost, every = counts[split]["dropped_over_length"], counts[split]["examples"]
            if lost > exactly(setting.dropped_allowed) * every:
                share = -(-100 * lost // every) / 100
                raise ValueError(
                    f"{key}.dropped_allowed: found {lost:,} of {every:,} {split} examples of "
                    f"{setting.corpus} over {setting.sequence_length} tokens, expected a share of "
                    f"at most {setting.dropped_allowed:g}; raise sequence_length, or say that it "
                    f"is meant: dropped_allowed: {share:g}"
                )
        if "validation" in rows:
            rows["validation"] = rows["validation"][: setting.validation_examples]
        return rows, counts

    def loss(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """The summed nats of a micro-batch, a scalar tensor; the caller divides."""
        return model(**batch).loss

    def measure(
        self,
        examples: Sequence[Example],
        nats: Callable[[Sequence[Example]], list[float]],
    ) -> list[float]:
        """The validation measure of each example, summed over its tokens, in the unit of `facts`.

        `nats` asks the model in training for the summed nats of examples, without gradients.
        """
        return nats(examples)

    def diverged(
        self,
        curve: Sequence[tuple[int, int, float]],
        budget: int,
        trained_on: Callable[[int], Hashable],
    ) -> bool:
        """Whether the run has been lost by the last step of `curve`: (step, tokens so far, loss).

        `budget` is the tokens of the whole run, `trained_on` a value that two steps share when they
        were trained on the same batch.
        """
        return (
            divergence.not_finite(curve)
            or divergence.stays_high(curve, budget)
            or divergence.collapsed(curve, budget, trained_on)
        )

    @classmethod
    def module(cls) -> str:
        """The file that the class stands in, below the package, such as `training.regimes.cpt`.

        No import statement leads to it, so a code digest has to be told.
        """
        return cls.__module__.partition(".")[2]
