"""One trained cell: its place on the study's axes, and how it is named.

In: names of the axes. Out: a `Cell`, its label, and the label of the cell whose run it leaves.
Which cells a study has is `cells`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .rates import written
from .schema import Study


@dataclass(frozen=True)
class Cell:
    """One trained model: a point on the study's axes.

    `model` is None where the study has one, `rate` where one rate is reported, and `parent` (the
    label of another cell) where the cell does not branch off another's run.
    """

    setting: str
    method: str
    budget: str
    seed: int
    model: str | None = None
    rate: float | None = None
    parent: str | None = None

    @property
    def names(self) -> dict[str, str]:
        """What names the job that trains it: the four axes, the model where there are several, and
        the rate where it is reported."""
        found = {"setting": self.setting, "method": self.method, "budget": self.budget}
        model = {} if self.model is None else {"model": self.model}
        rate = {} if self.rate is None else {"rate": written(self.rate)}
        return {**model, **found, **rate, "seed": str(self.seed)}

    @property
    def label(self) -> str:
        on = "" if self.model is None else f"{self.model}/"
        rate = "" if self.rate is None else f"lr-{written(self.rate)}/"
        return f"{on}{self.setting}/{self.method}/{self.budget}/{rate}s{self.seed}"

    @property
    def packed(self) -> str:
        """The data that it is trained on, as a path below `packed/`."""
        return self.setting if self.model is None else f"{self.model}/{self.setting}"


def label_of(
    setting: str,
    method: str,
    budget: str,
    seed: str,
    model: str | None = None,
    rate: str | None = None,
) -> str:
    """The label of the cell that a training job's names are of."""
    return Cell(setting, method, budget, int(seed), model, float(rate) if rate else None).label


def cell_of(
    study: Study,
    setting: str,
    method: str,
    budget: str,
    seed: int,
    model: str | None,
    rate: float | None,
) -> Cell:
    """The cell at a point on the study's axes, with the cell whose run it branches off."""
    trunk = study.budgets[budget].trunk
    parent = Cell(setting, method, trunk, seed, model, rate).label if trunk else None
    return Cell(setting, method, budget, seed, model, rate, parent)
