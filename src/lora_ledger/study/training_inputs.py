"""What of a study decides a trained cell's weights: the one list that all who ask read.

In: a study, a cell by its four names, and its learning rate. Out: the values that decide, resolved,
as plain JSON. A training record, a checkpoint's fingerprint and the stage digest all take it from
here, so that no two of them can differ over a key.
Model and packed data are inputs and enter by their digests; where it is computed (device, threads,
precision) is the caller's to add.
"""

from __future__ import annotations

from typing import Any

from .branches import trunk_of
from .schema import Study

DECIDES = frozenset(
    {
        "regime",
        "sequence_length",
        "batch_size",
        "micro_batch_size",
        "optimiser",
        "schedule",
        "max_grad_norm",
        "validation_examples",
        "validation_points",
    }
)
DECIDES_NOT = frozenset(
    {
        # Enters as packed data.
        "corpus",
        # Enters as the model's record.
        "model",
        # Enters as the learning rate.
        "learning_rates",
        "tuning_budget",
        # Says which cells there are.
        "methods",
        "budgets",
        # Refuses, and changes nothing.
        "dropped_allowed",
        # Says at which rates there are cells.
        "report",
        # Read after training.
        "role",
        "domain",
        "tasks",
    }
)


def decides(
    study: Study,
    setting: str,
    method: str,
    budget: str,
    seed: int,
    rate: float | None,
    *,
    defaults: bool = False,
) -> dict[str, Any]:
    """What decides the weights of a cell: `setting`, `method`, `budget`, `seed`, `learning_rate`.

    Values are resolved: a LoRA's alpha is there whether it was given or not, and what a method says
    for itself stands where the setting would have said it. Keys at their default
    are left out, so that a later release with more keys says the same; with `defaults` they are
    there too. `rate` is None where it is not known yet, and then it is left out.
    """
    said = study.recipe_of(setting, method).model_dump(
        mode="json", include=set(DECIDES), exclude_defaults=not defaults
    )
    found: dict[str, Any] = {
        "setting": said,
        "method": study.methods[method].resolved(defaults=defaults),
        "budget": _budget(study, setting, method, budget),
        "seed": seed,
    }
    return found if rate is None else {**found, "learning_rate": rate}


def _budget(study: Study, setting: str, method: str, budget: str) -> dict[str, Any]:
    """A budget without names. Of a branch's trunk only the length decides anything, and that where
    its warm-up is a share: the branch has it too."""
    said = study.budgets[budget].model_dump(mode="json", exclude_defaults=True, exclude={"trunk"})
    trunk, schedule = trunk_of(study, budget), study.recipe_of(setting, method).schedule
    if trunk is None or schedule.warmup_steps is not None or not schedule.warmup:
        return said
    return {**said, "from": trunk.model_dump(mode="json", exclude_defaults=True)}
