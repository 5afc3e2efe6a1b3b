"""What runs that share a trunk train, in tokens: the trunk once, a branch its own cool-down.

In: a study, and how many tokens that bear loss each of its cells comes to as a run of its own. Out:
how many each trains itself. Steps are taken to be of full sequences; the jobs know better.
"""

from __future__ import annotations

from collections.abc import Mapping

from lora_ledger.common.shares import exactly
from lora_ledger.study.cells import Cell, branches, cell
from lora_ledger.study.schema import Study


def trained(study: Study, label: str, whole: Mapping[str, int]) -> int:
    """The tokens that a cell trains itself, with what its run is led on beyond its own cool-down's
    beginning for branches that stay hot. `whole` has those of each cell that are known."""
    found = cell(study, label)
    assert found is not None
    if found.parent is not None:
        return min(whole[label], max(_cooled(study, found, whole[label]), _step(study, found)))
    hot = [
        whole[one.label]
        for one in branches(study).get(label, ())
        if study.budgets[one.budget].hot and one.label in whole
    ]
    stable = whole[label] - _cooled(study, found, whole[label])
    return whole[label] + max(0, max(hot, default=0) - stable)


def _cooled(study: Study, one: Cell, whole: int) -> int:
    """The tokens of a cell's cool-down."""
    schedule = study.recipe_of(one.setting, one.method).schedule
    if study.budgets[one.budget].hot or schedule.name == "cosine":
        return 0
    if schedule.cooldown_steps is not None:
        return min(whole, schedule.cooldown_steps * _step(study, one))
    return int(exactly(schedule.cooldown) * whole) if schedule.cools else 0


def _step(study: Study, one: Cell) -> int:
    setting = study.settings[one.setting]
    return setting.batch_size * setting.sequence_length
