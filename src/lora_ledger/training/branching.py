"""Where runs branch off a longer one, and how its state is handed over to them.

In: a study, a run's names and its training examples. Out: its course (order, schedule, the step at
which its rate begins to fall), and a `Trunk`, which says at which steps the state is left for
others, and in which folder. A branch is the run that its own schedule says, from the first step; up
to its cool-down it shares every bit with its trunk, whose checkpoint is therefore one of its own.
It trains nothing and writes links to checkpoints only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_ledger.common.errors import KeyProblem
from lora_ledger.methods.recipe import Schedule
from lora_ledger.study.branches import leaving, trunk_of
from lora_ledger.study.schema import Study

from . import checkpoints
from .batching import Example, Order, order_of
from .curves import CURVES, Curves, Point
from .schedules import as_branch, turn, warmup_steps
from .validation import between


@dataclass(frozen=True)
class Course:
    """What a run trains on, at which rates, and how far it is that of a longer one."""

    order: Order
    schedule: Schedule
    point: int
    """The steps before the cool-down; of a branch, which trains a step at least, not the last."""

    @property
    def steps(self) -> int:
        return len(self.order.steps)

    @property
    def warmup(self) -> int:
        return warmup_steps(self.schedule, self.steps)


@dataclass(frozen=True)
class Trunk:
    """What a run leaves for the runs that branch off the same trunk."""

    folder: Path
    fingerprint: str
    """Of all that decides the steps before a cool-down."""
    leave: frozenset[int]
    """The steps after which the state is left in `folder`."""
    measure: frozenset[int]
    """The steps after which the others' validation is due."""
    until: int | None = None
    """The step after which this run stops, where it is left and not trained to its end."""


def course(
    study: Study, setting: str, method: str, budget: str, seed: int, examples: Sequence[Example]
) -> Course:
    """The course of a run; KeyProblem for a branch that ends before its trunk has warmed up."""
    recipe, said, trunk = (
        study.recipe_of(setting, method),
        study.budgets[budget],
        trunk_of(study, budget),
    )
    drawn = study.methods[method].seeded(seed)
    sizes = (drawn, recipe.batch_size, recipe.micro_batch_size)
    order = order_of(examples, said, *sizes)
    total = len(order.steps)
    if trunk is None:
        return Course(order, recipe.schedule, turn(recipe.schedule, total))
    whole = len(order_of(examples, trunk, *sizes).steps)
    schedule = as_branch(recipe.schedule, whole, said.hot)
    warmup = warmup_steps(schedule, whole)
    if warmup >= total:
        raise KeyProblem(
            f"budgets.{budget}.{said.unit}",
            getattr(said, said.unit),
            f"more than the {warmup} steps of the warm-up of {said.trunk}; it comes to {total}",
        )
    return Course(order, schedule, min(turn(schedule, total), total - 1))


def trunk_for(
    own: Course, others: Sequence[Course], points: int, folder: Path, fingerprint: str, stop: bool
) -> Trunk:
    """What a run of course `own` leaves for branches of the courses `others`.

    `points`: measurements of each run's validation between start and end. `stop`: the run is left
    where its own rate would fall.
    """
    leave = {other.point for other in others if other.point <= own.point}
    if stop or any(other.point > own.point for other in others):
        leave.add(own.point)
    measure = {
        step
        for other in others
        for step in between(other.steps, points)
        if step <= min(other.point, own.point)
    }
    return Trunk(
        folder,
        fingerprint,
        frozenset(leave - {0, own.steps}),
        frozenset(measure - {own.steps}),
        own.point if stop else None,
    )


def budgets_beside(study: Study, setting: str, budget: str) -> list[str]:
    """The other budgets of a setting that branch off the same trunk as `budget`, or off its run."""
    trunk = study.budgets[budget].trunk or budget
    return [other for other in leaving(study, setting, trunk) if other != budget]


def take(
    trunk: Trunk,
    work: Path,
    fingerprint: str,
    wanted: frozenset[int],
    lost: Callable[[Sequence[Point]], bool],
) -> None:
    """Give a run that is to stop at a step the state furthest on that fits it, if that is further
    than its own.

    A state fits in which the validation was measured at the `wanted` steps, and of whose training
    losses none would have stopped this run, as `lost` says of a curve.
    """
    here = checkpoints.newest(work, fingerprint)
    own = checkpoints.step_of(here) if here else 0
    for path in checkpoints.whole(trunk.folder, trunk.fingerprint):
        step = checkpoints.step_of(path)
        if step <= own or trunk.until is None or step > trunk.until:
            continue
        curves = Curves()
        curves.load(path / CURVES)
        measured = {at for at, _, _ in curves.validation}
        if {at for at in wanted if at <= step} <= measured and not any(
            lost(curves.loss[:end]) for end in range(1, len(curves.loss) + 1)
        ):
            checkpoints.link(path, work, fingerprint)
            return
