"""Verdicts: each of a study's rules applied to what was observed, corrected for one another.

In: a study, what was observed, since when each rule stands, and which tests hold at which numbers
of seeds. Out: a `Decided` for each rule: *supported*, *contradicted*, *undecided* with what would
decide, or *not run* with what is missing. It reads no file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lora_ledger.analysis.multiplicity import corrected
from lora_ledger.analysis.student import PRIMARY_DF
from lora_ledger.study.decisions import Decision
from lora_ledger.study.schema import Study

from .chosen import Comparison, Missing, comparisons
from .committed import Commitment
from .curves import TESTS
from .exact import EXPERIMENTS
from .observed import Observed, base_of, key
from .verdicts import NOT_RUN
from .words import Tested

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
LEVEL = 0.05
MayDecide = Callable[[str, int, int], bool]
"""Whether a test, by the name that `analysis.coverage` has for it, holds at these seeds, items."""
ON_ITS_OWN = "forgetting is not told on its own here: training on any text repairs part of {why}"


@dataclass(frozen=True)
class Decided:
    """A verdict with what stands behind it. `word`: what the test found, at the corrected level;
    `records`: ids of those read; `lost`: diverged cells that a mean is without."""

    name: str
    rule: Decision
    verdict: str
    reasons: tuple[str, ...] = ()
    tested: Tested | None = None
    p: float = math.nan
    adjusted: float = math.nan
    word: str = ""
    settings: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    committed: Commitment | None = None


@dataclass
class _Case:
    """One rule on its way to a verdict."""

    name: str
    rule: Decision
    tested: Tested | None = None
    missing: str = ""
    settings: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    holds: bool | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def p(self) -> float:
        """The smallest p among the words that decide something."""
        words = [word for said in self.rule.said.values() for word in said]
        return self.tested.least(words) if self.tested else math.nan


def decide(
    study: Study,
    observed: Observed,
    config: Mapping[str, Any],
    committed: Mapping[str, Commitment],
    may_decide: MayDecide | None = None,
) -> list[Decided]:
    """The verdicts, in the order of the rules. `config` is config.json of the study's model."""
    cases = [_case(study, name, rule, observed, config) for name, rule in study.decisions.items()]
    of_tests = {case.name: case.p for case in cases if case.rule.test != "exact"}
    primary = [case.name for case in cases if case.rule.primary and case.name in of_tests]
    adjusted = corrected(of_tests, primary) if of_tests else {}
    return [
        _verdict(case, adjusted.get(case.name, math.nan), committed.get(case.name), may_decide)
        for case in cases
    ]


def _case(
    study: Study, name: str, rule: Decision, observed: Observed, config: Mapping[str, Any]
) -> _Case:
    case = _Case(name, rule)
    if rule.test == "exact":
        assert rule.experiment
        found = EXPERIMENTS[rule.experiment]()
        case.holds = found.holds
        case.notes.append(f"{found.figure}; held to: {found.rule}")
        return case
    try:
        if _on_its_own(rule):
            _refuse_repaired(study)
        chosen = comparisons(study, rule, observed, config)
        case.settings = tuple(one.setting for one in chosen)
        case.lost = tuple(label for one in chosen for label in one.lost())
        case.records = tuple(_read(rule, observed, chosen))
        case.tested = TESTS[rule.test](rule, observed, chosen)
    except Missing as missing:
        case.missing = str(missing)
    return case


def _on_its_own(rule: Decision) -> bool:
    """Whether it says of one arm what training did to the base, not how two arms differ."""
    general = rule.metric in ("forgetting", "general-loss", "recall", "recall-lost")
    alone = rule.against == "base" or (rule.against is None and rule.along == "budget")
    return general and alone


def _refuse_repaired(study: Study) -> None:
    for entry in map(study.model_entry, study.model_names):
        if entry.weights.startswith("dequantised"):
            raise Missing(
                "another model: " + ON_ITS_OWN.format(why=f"its quantisation ({entry.weights})")
            )
        if entry.base == "instruct":
            raise Missing("another model: " + ON_ITS_OWN.format(why="its tuning to chat"))


def _read(rule: Decision, observed: Observed, chosen: list[Comparison]) -> list[str]:
    """Ids of the records behind the values of all arms that take part, and of the base's."""
    names = [key(metric, rule) for metric in (rule.metric, rule.other) if metric]
    if rule.test in ("matched", "optimum") or any(r.rate for one in chosen for r in one.runs):
        names.append("target-loss")
    if rule.limit[1] in ("gain", "forgetting"):
        names.append(rule.limit[1])
    found: dict[str, None] = {}
    for one in chosen:
        labels = one.labels([*one.arms, *one.against, *one.others])
        if rule.against == "base":
            labels += [base_of(block) for block in one.blocks]
        for name in names:
            found |= dict.fromkeys(observed.read(labels, name))
    return list(found)


def _verdict(
    case: _Case, adjusted: float, since: Commitment | None, may_decide: MayDecide | None
) -> Decided:
    rule, tested = case.rule, case.tested
    made = Decided(
        case.name, rule, UNDECIDED, tuple(case.notes), tested, case.p, adjusted,
        settings=case.settings, records=case.records, lost=case.lost, committed=since,
    )  # fmt: skip
    if case.missing:
        return replace(made, verdict=NOT_RUN, reasons=(f"missing: {case.missing}",))
    if case.holds is not None:
        word = "holds" if case.holds else "fails"
        return replace(made, verdict=_of_word(rule, word), word=word, committed=None)
    assert tested
    reasons = [*case.notes, *tested.notes]
    words = [word for said in rule.said.values() for word in said]
    found = tested.word(words) if adjusted <= LEVEL else ""
    verdict = _of_word(rule, found)
    stops = [*_stops(rule, tested), *(_post_hoc(since, verdict) if found else ())]
    if found and not stops and may_decide and tested.measured:
        holds = may_decide(tested.measured, tested.seeds, tested.items)
        if not holds:
            at = f"{tested.seeds} seeds" + (f" and {tested.items} items" if tested.items else "")
            stops.append(f"the measured coverage of the {tested.measured} is too low at {at}")
    if stops:
        return replace(made, reasons=(*stops, *reasons), word=found)
    if since is not None and since.when == "unknown" and found:
        reasons.append(f"whether the rule stood before the records is not known: {since.reason}")
    if verdict == UNDECIDED and tested.needed:
        reasons.insert(0, f"needed: {tested.needed}")
    return replace(made, verdict=verdict, reasons=tuple(reasons), word=found)


def _stops(rule: Decision, tested: Tested) -> list[str]:
    """What keeps a test from deciding, whatever it found."""
    if math.isnan(tested.least(tuple(tested.p))):
        what = f"needed: {tested.needed}" if tested.needed else "needed: more blocks"
        return [f"{tested.n} {tested.unit} give no p; {what}"]
    if rule.primary and tested.df < PRIMARY_DF:
        return [
            f"{tested.df:.3g} residual degrees of freedom, and a primary test needs {PRIMARY_DF}"
            + (f"; needed: {tested.needed}" if tested.needed else "")
        ]
    return []


def _post_hoc(since: Commitment | None, verdict: str) -> list[str]:
    if since is None or since.when != "post hoc":
        return []
    return [f"post hoc, which decides nothing ({since.reason}); it would be {verdict}"]


def _of_word(rule: Decision, word: str) -> str:
    for verdict, words in rule.said.items():
        if word in words:
            return verdict
    return UNDECIDED
