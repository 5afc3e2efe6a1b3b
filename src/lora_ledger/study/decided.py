"""What the rules of a study's `decisions` choose in it, and which of them it cannot decide by.

In: a study. Out: settings, and whether a method is one that a rule means; a KeyProblem for a rule
that no outcome of the study could satisfy. That no cell fits is no mistake: the claim is then not
run, and the stage `decide` says what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping

from lora_ledger.common.errors import KeyProblem, require
from lora_ledger.methods import MethodBase, kinds
from lora_ledger.models import architecture

from .decisions import Bounds, Decision, Methods, Where
from .measured import MEASURED, Source
from .schema import Study

MOST_PRIMARY = 12
"""Claims that a study may call primary; Holm's correction is over them."""
SPOKEN_OF = {"kind", "rank", "alpha", "target_modules", "at"}
"""Keys of a method that `Methods` has words of its own for."""
NO_DIFFERENCE = {"title", "learning_rates", "dropout"}
"""Keys that make no other kind of method."""


def check(study: Study) -> None:
    """Refuse rules that cannot work in this study, whatever its cells give."""
    primary = [name for name, rule in study.decisions.items() if rule.primary]
    if len(primary) > MOST_PRIMARY:
        expected = f"at most {MOST_PRIMARY} that are primary; call the others secondary"
        raise KeyProblem("decisions", len(primary), expected)
    known = kinds()
    for name, rule in study.decisions.items():
        for key, chosen in (("cells", rule.cells), ("against", rule.against)):
            if isinstance(chosen, Methods):
                for kind in chosen.kinds:
                    require(f"decisions.{name}.{key}.kind", kind, known, "a kind of method")
        for key, metric in (("metric", rule.metric), ("other", rule.other)):
            if metric is not None:
                _check_source(study, f"decisions.{name}.{key}", metric)
        _check_where(study, f"decisions.{name}.where", rule)


def _check_source(study: Study, key: str, metric: str) -> None:
    """The study evaluates what the metric is measured on."""
    evaluation, needs = study.evaluation, MEASURED[metric].source
    there: dict[Source, object] = {
        "training": True,
        "texts": evaluation.texts,
        "likelihood": evaluation.likelihood,
        "tasks": evaluation.generate,
        "samples": any(run.samples > 1 for run in evaluation.generate.values()),
        "diversity": any(run.diversity for run in evaluation.generate.values()),
        "spectrum": getattr(evaluation, "spectrum", None) is not None,
        "grid": any(setting.report == "grid" for setting in study.settings.values()),
    }
    if not there[needs]:
        can = [name for name, what in MEASURED.items() if there[what.source]]
        raise KeyProblem(key, metric, f"what this study measures: {', '.join(can)}")


def _check_where(study: Study, key: str, rule: Decision) -> None:
    """Settings and budgets that the test can work with; that none fits is no mistake."""
    chosen = settings(study, rule.where)
    if rule.test == "trend" and rule.along == "budget":
        few = [name for name in chosen if len(study.budgets_of(name)) < 2]
        if chosen and len(few) == len(chosen):
            raise KeyProblem(key, few, "settings with two budgets or more, for a trend along them")
    if rule.test == "optimum":
        flat = [name for name in chosen if study.settings[name].report != "grid"]
        if chosen and len(flat) == len(chosen):
            raise KeyProblem(key, flat, "settings with `report: grid`, for optima of rates")


def settings(study: Study, where: Where) -> list[str]:
    """The settings that are meant, in the study's order."""
    return [
        name
        for name, setting in study.settings.items()
        if setting.role == where.role
        and among(setting.regime, where.regime)
        and among(setting.domain, where.domain)
    ]


def among(value: object, wanted: object) -> bool:
    """Whether a value is one of those wanted, the one, or within bounds; None wants nothing."""
    if wanted is None:
        return True
    if isinstance(wanted, Bounds):
        return isinstance(value, int | float) and wanted.hold(value)
    return value in wanted if isinstance(wanted, tuple | list) else value == wanted


def means(chosen: Methods, method: MethodBase, config: Mapping[str, object]) -> bool:
    """Whether a method of the study is one of those that a rule chooses, as the model is shaped."""
    held = {**method.resolved(), "at": method.at}
    rank, alpha, times = held.get("rank"), held.get("alpha"), method.reference()
    if chosen.share is not None:
        part = method.trainable_parameters(config) / architecture.total_parameters(config)
        if not among(part, chosen.share):
            return False
    return (
        method.kind in chosen.kinds
        and among(rank, chosen.rank)
        and among(alpha / rank if rank and alpha else None, chosen.alpha_over_rank)
        and among(_modules(held), _modules({"target_modules": chosen.modules}))
        and (times[0] if times else None) == chosen.times
        and _keys(method) == dict(chosen.keys)
    )


def _modules(held: Mapping[str, object]) -> object:
    """Names of modules in one order."""
    found = held.get("target_modules")
    return [sorted(found)] if isinstance(found, list | tuple) else found


def _keys(method: MethodBase) -> dict[str, object]:
    """What a method says that no property speaks of, keys at their default left out."""
    found = method.model_dump(mode="json", exclude_defaults=True)
    return {key: value for key, value in found.items() if key not in SPOKEN_OF | NO_DIFFERENCE}
