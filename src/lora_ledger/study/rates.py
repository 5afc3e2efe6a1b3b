"""Which learning rates are chosen, and from where a cell has its own.

In: a validated `Study`. Out: the grids to tune, the selection that a cell waits for, and how a rate
is written in a path. Choosing is the stage `select`'s.
"""

from __future__ import annotations

from decimal import Decimal

from .schema import Study


def written(rate: float) -> str:
    """A rate as it stands in a path: `1e-4`, `3e-3`, `1.5e-4`, `2e0`."""
    _, digits, exponent = Decimal(repr(rate)).normalize().as_tuple()
    assert isinstance(exponent, int)
    first, *rest = map(str, digits)
    return f"{first}{'.' if rest else ''}{''.join(rest)}e{exponent + len(rest)}"


def tuned(study: Study) -> list[tuple[str, str]]:
    """(setting, method) pairs that have a grid of rates to choose from."""
    return [
        (setting, method)
        for setting in study.settings
        if study.settings[setting].report == "selected"
        for method in study.methods_of(setting)
        if len(study.rates_of(setting, method)) > 1
    ]


def selection(study: Study, setting: str, method: str) -> tuple[str, str] | None:
    """The (setting, method) whose selected rate a cell needs, or None when its rate is given."""
    if study.settings[setting].report == "grid":
        return None
    own = method in study.settings[setting].learning_rates
    reference = study.methods[method].reference()
    chosen = (setting, reference[1] if reference and not own else method)
    return chosen if len(study.rates_of(*chosen)) > 1 else None


def all_tuned(study: Study) -> list[tuple[str, str]]:
    """The pairs to tune: those with a grid of their own, and those that others refer to."""
    wanted = dict.fromkeys(tuned(study))
    for setting in study.settings:
        for method in study.methods_of(setting):
            chosen = selection(study, setting, method)
            if chosen:
                wanted[chosen] = None
    return list(wanted)


def grid(study: Study, setting: str, method: str) -> tuple[float, ...]:
    """The rates that a method may have in a setting: its own, or another's times the factor."""
    own = study.rates_of(setting, method)
    factor, other = study.methods[method].reference() or (1.0, method)
    return own or tuple(factor * rate for rate in study.rates_of(setting, other))


def reported(study: Study, setting: str, method: str) -> tuple[float | None, ...]:
    """The rates that cells are named by: all of a grid that is reported, else None alone."""
    every = study.settings[setting].report == "grid"
    return grid(study, setting, method) if every else (None,)


def given_rate(study: Study, setting: str, method: str) -> float | None:
    """The one rate that the study gives, times the factor of `at`; None where there are several."""
    found = grid(study, setting, method)
    return found[0] if len(found) == 1 else None


def selected_rate(study: Study, setting: str, method: str, selected: float) -> float:
    """A method's rate where this one was selected: the same, or another's times the factor."""
    reference = study.methods[method].reference()
    follows = reference is not None and not study.rates_of(setting, method)
    return selected * reference[0] if reference is not None and follows else selected
