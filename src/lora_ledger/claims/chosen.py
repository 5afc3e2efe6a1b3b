"""What a rule compares: its arms and comparators in each setting, as arrays over blocks.

In: a study, a rule, what was observed. Out: a `Comparison` for each setting, or what is missing for
one. In a setting whose grid of rates is reported an arm stands at its best rate, which is chosen on
the other blocks: the least of several losses would be too low by what chance gave it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lora_ledger.study import decided
from lora_ledger.study.decisions import Decision, Methods
from lora_ledger.study.schema import Study

from .observed import Observed, Run, key

Array = npt.NDArray[np.float64]


class Missing(ValueError):
    """What a claim lacks to be decided, in words; the claim is then not run."""


@dataclass(frozen=True)
class Comparison:
    """One setting: the runs that may be used, blocks and budgets in order, and the arms' names.

    `others` are the setting's arms that the rule does not name: their scatter is in the residual.
    """

    setting: str
    budgets: tuple[str, ...]
    blocks: tuple[str, ...]
    arms: tuple[str, ...]
    against: tuple[str, ...]
    others: tuple[str, ...]
    runs: tuple[Run, ...]

    def of(self, method: str, budget: str, block: str) -> list[Run]:
        """The runs at one point, by rising rate; diverged ones are left out."""
        found = [
            run
            for run in self.runs
            if (run.method, run.budget, run.block) == (method, budget, block) and not run.diverged
        ]
        return sorted(found, key=lambda run: run.rate or 0.0)

    def at_best(self, observed: Observed, method: str, budget: str, block: str) -> Run | None:
        """The run at the rate of least target loss on the other blocks; the only one of one."""
        found = self.of(method, budget, block)
        if not found or found[0].rate is None:
            return found[0] if found else None
        losses: dict[float, list[float]] = {}
        for other in self.blocks:
            if other != block:
                for run in self.of(method, budget, other):
                    loss = observed.value(run.label, "target-loss")
                    losses.setdefault(run.rate or 0.0, []).append(loss)
        most = max(map(len, losses.values()), default=0)
        whole = {rate: sum(each) for rate, each in losses.items() if len(each) == most}
        best = min(whole, key=lambda rate: whole[rate], default=None)
        return next((run for run in found if run.rate == best), None)

    def matrix(
        self, observed: Observed, metric: str, methods: Sequence[str], budgets: Sequence[str]
    ) -> Array:
        """[blocks, methods]: each the mean over the budgets; nan where a run is lost."""
        found = np.full((len(self.blocks), len(methods)), math.nan)
        for row, block in enumerate(self.blocks):
            for column, method in enumerate(methods):
                runs = [self.at_best(observed, method, budget, block) for budget in budgets]
                values = [observed.value(run.label, metric) for run in runs if run]
                if len(values) == len(budgets):
                    found[row, column] = sum(values) / len(values)
        return found

    def labels(self, methods: Sequence[str]) -> list[str]:
        return [run.label for run in self.runs if run.method in methods]

    def lost(self) -> list[str]:
        return [run.label for run in self.runs if run.diverged]


def comparisons(
    study: Study, rule: Decision, observed: Observed, config: Mapping[str, Any]
) -> list[Comparison]:
    """The settings in which the rule finds what it compares; raises Missing, which names what is
    not there."""
    assert rule.cells
    named = decided.settings(study, rule.where)
    if not named:
        raise Missing(f"no setting is {_said_where(rule)}")
    found, lacking = [], []
    for setting in named:
        methods = study.methods_of(setting)
        arms = tuple(m for m in methods if decided.means(rule.cells, study.methods[m], config))
        against: tuple[str, ...] = ()
        if isinstance(rule.against, Methods):
            chosen = rule.against
            against = tuple(m for m in methods if decided.means(chosen, study.methods[m], config))
        if not arms:
            lacking.append(f"{setting} has no {_said(rule.cells)}")
        elif isinstance(rule.against, Methods) and not against:
            lacking.append(f"{setting} has no {_said(rule.against)} to compare with")
        elif set(arms) & set(against):
            both = ", ".join(sorted(set(arms) & set(against)))
            lacking.append(f"{setting}: {both} would be compared with itself")
        else:
            made = _of(study, rule, observed, setting, arms, against)
            metric = key(rule.metric, rule) if rule.metric else "target-loss"
            if any(math.isfinite(observed.value(run.label, metric)) for run in made.runs):
                found.append(made)
            else:
                lacking.append(f"{setting} measures no {metric}")
    if not found:
        raise Missing("; ".join(lacking))
    return found


def _of(
    study: Study,
    rule: Decision,
    observed: Observed,
    setting: str,
    arms: tuple[str, ...],
    against: tuple[str, ...],
) -> Comparison:
    runs = tuple(run for run in observed.runs if run.setting == setting)
    length: dict[str, float] = {}
    for run in runs:
        if not run.diverged:
            length[run.budget] = max(run.tokens, length.get(run.budget, 0.0))
    budgets = sorted(length, key=lambda name: length[name])
    if rule.where.budget != "all" and rule.test != "matched":
        budgets = budgets[-1:] if rule.where.budget == "longest" else budgets[:1]
    blocks = tuple(dict.fromkeys(run.block for run in runs))
    others = tuple(m for m in study.methods_of(setting) if m not in (*arms, *against))
    if not budgets:
        raise Missing(f"{setting}: every run diverged" if runs else f"{setting}: no run is there")
    return Comparison(setting, tuple(budgets), blocks, arms, against, others, runs)


def _said(chosen: Methods) -> str:
    """A choice of methods in words."""
    said = chosen.model_dump(mode="json", exclude_defaults=True)
    kind = " or ".join(chosen.kinds)
    rest = ", ".join(f"{key} {_plain(value)}" for key, value in said.items() if key != "kind")
    return f"{kind} ({rest})" if rest else kind


def _said_where(rule: Decision) -> str:
    said = rule.where.model_dump(mode="json", exclude={"budget"}, exclude_none=True)
    return ", ".join(f"{key} {_plain(value)}" for key, value in said.items())


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return " and ".join(f"{key} {part}" for key, part in value.items() if part is not None)
    return " or ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
