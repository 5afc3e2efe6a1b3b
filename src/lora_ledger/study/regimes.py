"""What a study has to know of each regime before anything is trained.

In: nothing. Out: `REGIMES`, the facts of each regime by its name: the corpus it trains on, the
units that a budget of it may have, what its validation measures and which way is better. What a
regime does with examples and a model stands on these, in `training/regimes/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

UNITS = ("tokens", "epochs", "examples", "steps", "episodes")
"""What a budget may be counted in."""
OF_A_CORPUS = frozenset({"tokens", "epochs", "examples", "steps"})


@dataclass(frozen=True)
class Facts:
    """A regime as the study file, the tables and the selection of rates see it."""

    name: str
    content: Literal["text", "pairs"]
    """What the training corpus has to hold."""
    resampled: str
    """What an interval of the validation resamples, in the plural."""
    budgets: frozenset[str] = OF_A_CORPUS
    """The units among `UNITS` that a budget of it may have."""
    measure: str = "cross-entropy"
    unit: str = "nats"
    """Of the measure, summed over an example."""
    better: Literal["lower", "higher"] = "lower"
    cools: bool = False
    """Whether a duration may be a longer run that is left and cooled down, as in Biderman et al."""


def _by_name(found: Iterable[Facts]) -> dict[str, Facts]:
    return {facts.name: facts for facts in found}


REGIMES = _by_name(
    (
        Facts("cpt", content="text", resampled="blocks", cools=True),
        Facts("ift", content="pairs", resampled="examples"),
    )
)

if TYPE_CHECKING:
    RegimeName = str
else:
    RegimeName = Literal[tuple(REGIMES)]
