"""A cell that is evaluated: where it lies, what it is made of, its weights once they are wanted.

In: the study, the cell's label, the model folder and, for a trained cell or somebody else's model,
its folder. Out: the hashes of what an evaluation reads, and language models over one set of weights
in memory, as many as there are evaluations. It answers nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.records.record import Input, identity, status_of
from lora_ledger.study import cells
from lora_ledger.study.schema import Study

if TYPE_CHECKING:
    from .build import Held
    from .language_model import LedgerModel


@dataclass(frozen=True)
class Subject:
    """`trained` is None for the untouched base."""

    study: Study
    cell: str
    model_dir: Path
    trained: Path | None = None

    @property
    def diverged(self) -> bool:
        """Whether the cell has no weights, because its training diverged."""
        return status_of(self.trained) == "diverged"

    @property
    def seed(self) -> int:
        """The seed of the cell's samples; of what is not trained here, the study's first."""
        found = cells.weights_of(self.study, self.cell)
        return found.seed if found else self.study.seeds[0]

    def inputs(self, data: Path) -> dict[str, Input]:
        """What an evaluation on the corpus in `data` reads; FileNotFoundError for what is not
        there."""
        return {
            "model": identity(self.model_dir),
            "data": identity(data),
            **({"train": identity(self.trained)} if self.trained else {}),
        }

    @cached_property
    def held(self) -> Held:
        """The weights in memory, loaded when they are first asked for."""
        from .build import hold

        return hold(self.study, self.cell, self.model_dir, self.trained)

    @cached_property
    def base_model(self) -> Any:
        """The untouched base's weights in memory beside the cell's, loaded when first asked for."""
        from .build import beside

        return beside(self.model_dir, self.held.where)

    @cached_property
    def companions(self) -> dict[tuple[str, str], float]:
        """Log-likelihoods of references that an evaluation has had: (prompt, reference) -> nats.

        Of the next run that asks the same they are no more computed; apart, it would round the last
        digits by the other sequences of its own batch.
        """
        return {}

    @property
    def resolved(self) -> dict[str, Any]:
        """Device, precision, back-end and token roles, as they are used; of a derived cell what was
        made of which weights."""
        made = {"derived": self.held.made} if self.held.made else {}
        return {**self.held.where, "tokens": self.held.roles.model_dump(), **made}

    def language_model(
        self, *, batch_size: int, seed: int = 0, ends: tuple[str, ...] = ()
    ) -> LedgerModel:
        """A language model over the weights; see `Held.language_model`."""
        return self.held.language_model(batch_size=batch_size, seed=seed, ends=ends)
