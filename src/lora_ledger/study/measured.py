"""What a decision may be about: each quantity by its name, and where a study gets it from.

In: nothing. Out: `MEASURED`, the facts of each metric that the stage `decide` can take from
records. How one is computed stands in `claims/observed.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Source = Literal[
    "training", "texts", "likelihood", "tasks", "samples", "diversity", "spectrum", "grid"
]


@dataclass(frozen=True)
class Facts:
    """`absolute`: on its own it says what training did to the base, which a base that training
    repairs cannot show; a difference between two arms can still be told there."""

    said: str
    unit: str
    source: Source
    absolute: bool = False


MEASURED = {
    "target-loss": Facts("loss on the validation split", "bits per byte", "training"),
    "gain": Facts("fall of the loss on the validation split", "bits per byte", "training"),
    "first-losses": Facts("mean training loss of the first steps", "nats per token", "training"),
    "general-loss": Facts("loss on held-out general text", "bits per byte", "texts"),
    "forgetting": Facts("rise of the loss on general text", "bits per byte", "texts", True),
    "recall": Facts("accuracy on the likelihood tasks", "share", "likelihood"),
    "recall-lost": Facts("fall of accuracy on them", "share", "likelihood", True),
    "accuracy": Facts("accuracy on the setting's greedy tasks", "share", "tasks"),
    "reference-loss": Facts("loss of the reference answers", "bits per byte", "tasks"),
    "pass-at-k": Facts("problems solved by one of k samples", "share", "samples"),
    "distinct": Facts("distinct completions among a problem's samples", "share", "diversity"),
    "intruders": Facts("intruder dimensions of a matrix", "count", "spectrum"),
    "rank90": Facts("rank at 90 % of ΔW over that of noise", "ratio", "spectrum"),
    "effective-rank": Facts("effective rank of ΔW", "rank", "spectrum"),
    "spectral-change": Facts("change of singular values over noise's", "ratio", "spectrum"),
    "b-over-a": Facts("spectral norm of B over that of A", "ratio", "spectrum"),
    "rates-near-best": Facts("rates within 10 % of the best gain", "count", "grid"),
}
