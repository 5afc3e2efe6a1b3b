"""Budgets that branch off the run of a longer one, their trunk.

In: a validated `Study`. Out: which budgets of a setting leave which, and an error for a branch that
cannot be run. At which step a branch leaves is known once there is data (`training.branching`).
"""

from __future__ import annotations

from collections.abc import Iterator

from lora_ledger.common.errors import KeyProblem, require

from .budgets import Budget
from .regimes import REGIMES
from .schema import Study

STABLE = ("constant", "inverse-sqrt")
"""Schedules whose rate before the cool-down does not depend on the length of the run."""


def leaving(study: Study, setting: str, trunk: str) -> tuple[str, ...]:
    """The budgets of a setting that branch off `trunk`."""
    return tuple(b for b in study.budgets_of(setting) if study.budgets[b].trunk == trunk)


def trunk_of(study: Study, budget: str) -> Budget | None:
    """The longer budget that this one branches off; None where it is a run of its own."""
    trunk = study.budgets[budget].trunk
    return None if trunk is None else study.budgets[trunk]


def check(study: Study) -> None:
    """Refuse a branch whose trunk is none, and a setting that cannot branch. Raises KeyProblem."""
    for name, budget in study.budgets.items():
        if budget.trunk is not None:
            _check_budget(study, name, budget, budget.trunk)
    for setting, name, trunk in _branches(study):
        _check_setting(study, setting, name, trunk)


def _branches(study: Study) -> Iterator[tuple[str, str, str]]:
    """(setting, branch, trunk) of all that is trained, tuning runs too."""
    for name, setting in study.settings.items():
        tuning = [setting.tuning_budget] if setting.tuning_budget else []
        for budget in dict.fromkeys((*study.budgets_of(name), *tuning)):
            trunk = study.budgets[budget].trunk
            if trunk is not None:
                yield name, budget, trunk


def _check_budget(study: Study, name: str, budget: Budget, trunk: str) -> None:
    here = f"budgets.{name}"
    whole = [n for n, one in study.budgets.items() if one.trunk is None]
    require(f"{here}.from", trunk, [n for n in study.budgets if n != name], "a longer budget")
    found = study.budgets[trunk]
    if found.trunk is not None:
        raise KeyProblem(
            f"{here}.from",
            trunk,
            f"a budget that is no branch itself: {', '.join(whole) or 'none is there'}",
            found.trunk if found.trunk in whole else "",
        )
    if found.unit != budget.unit:
        raise KeyProblem(
            f"{here}.{budget.unit}",
            getattr(budget, budget.unit),
            f"a number of {found.unit}, as its trunk {trunk} counts them",
        )
    if budget.size > found.size or (budget.size == found.size and not budget.hot):
        most = "at most" if budget.hot else "fewer than"
        raise KeyProblem(
            f"{here}.{budget.unit}",
            getattr(budget, budget.unit),
            f"{most} the {getattr(found, found.unit)} of its trunk {trunk}",
        )


def _check_setting(study: Study, setting: str, name: str, trunk: str) -> None:
    """`name` branches off `trunk` in `setting`."""
    here, budget, budgets = f"settings.{setting}", study.budgets[name], study.budgets_of(setting)
    if name in budgets and trunk not in budgets:
        raise KeyProblem(
            f"{here}.budgets",
            list(budgets),
            f"{trunk} among them, as {name} branches off its run",
        )
    regime = study.settings[setting].regime
    if not budget.hot and not REGIMES[regime].cools:
        fitting = [one for one, facts in REGIMES.items() if facts.cools]
        raise KeyProblem(
            f"budgets.{name}.from",
            trunk,
            f"a budget of the regime {' or '.join(fitting)}, or `hot: true`, as {here} is of the "
            f"regime {regime}, where each duration is a run of its own",
        )
    for method in study.methods_of(setting):
        own, schedule = study.methods[method].schedule, study.recipe_of(setting, method).schedule
        said = f"methods.{method}" if own and "name" in own.model_fields_set else here
        if schedule.name not in STABLE:
            raise KeyProblem(
                f"{said}.schedule.name",
                schedule.name,
                f"{' or '.join(STABLE)}, as {name} branches off the run of {trunk}: the rate of a "
                "cosine depends on the length of the run from its first step",
            )
        if not (budget.hot or schedule.cools or schedule.cooldown_steps is not None):
            raise KeyProblem(
                f"{said}.schedule.cooldown",
                None,
                f"the share of its own steps over which {name} cools down, or `hot: true` in "
                f"budgets.{name}",
            )
        if study.methods[method].depends_on_length:
            raise KeyProblem(
                f"{here}.methods",
                method,
                f"a method that trains alike in runs of any length, as {name} branches off the run "
                f"of {trunk}",
            )
