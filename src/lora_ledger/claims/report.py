"""Verdicts as they are written down: the results of a record each, and the table `claims`.

In: `Decided`s and the study. Out: plain values, and a `Table`. It decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lora_ledger.analysis.statistics import Interval
from lora_ledger.catalogue import ModelEntry
from lora_ledger.study.decisions import Decision
from lora_ledger.study.measured import MEASURED
from lora_ledger.study.schema import Study
from lora_ledger.tables.document import Column, Section, Table, Value

from .deciding import Decided


def results(one: Decided, study: Study) -> dict[str, Any]:
    """All that stands behind a verdict; numbers that are not there are null."""
    found = one.tested
    since = one.committed
    return {
        "verdict": one.verdict,
        "reasons": list(one.reasons),
        "rule": rule_in_words(one.rule),
        "digest": one.rule.digest,
        "version": one.rule.version,
        "primary": one.rule.primary,
        "test": found.test if found else one.rule.test,
        "metric": one.rule.metric,
        "unit": MEASURED[one.rule.metric].unit if one.rule.metric else None,
        "estimate": found.estimate if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "margin": found.margin if found else None,
        "df": found.df if found else None,
        "n": found.n if found else None,
        "units": found.unit if found else None,
        "p": one.p,
        "adjusted": one.adjusted,
        "word": one.word,
        "needed": found.needed if found else None,
        "lost": list(one.lost),
        "scope": scope(one, study),
        "committed": None
        if since is None
        else {"when": since.when, "commit": since.commit, "reason": since.reason},
    }


def scope(one: Decided, study: Study) -> str:
    """Of what the verdict is: models, settings with their regimes, seeds."""
    if one.rule.test == "exact":
        return "arithmetic in fp64, whatever the study's model"
    titles = [f"{name} ({_kind(study.model_entry(name))})" for name in study.model_names]
    settings = [f"{name} ({study.settings[name].regime})" for name in one.settings]
    return "; ".join(
        filter(None, [", ".join(titles), ", ".join(settings), f"{len(study.seeds)} seeds"])
    )


def _kind(entry: ModelEntry) -> str:
    return f"{entry.base}, {entry.weights}" + (", a stand-in" if entry.stand_in else "")


def rule_in_words(rule: Decision) -> str:
    """Supported by which word of the test, and contradicted by which."""
    margin = f", margin {rule.margin}" if rule.limit[0] else ""
    if rule.range:
        margin = f", within {rule.range[0]:g} to {rule.range[1]:g}"
    about = f" of {rule.metric}" if rule.metric else ""
    along = f" along {rule.along}" if rule.along else ""
    said = "; ".join(f"{verdict}: {' or '.join(words)}" for verdict, words in rule.said.items())
    return f"{rule.test}{about}{along}{margin}; {said}"


COLUMNS = (
    Column("decision", "decision"),
    Column("verdict", "verdict"),
    Column("rank", "primary"),
    Column("test", "test"),
    Column("estimate", "estimate [95 %]", digits=4, signed=True, right=True),
    Column("margin", "margin", digits=4, right=True),
    Column("df", "df", digits=1, right=True),
    Column("n", "n", right=True),
    Column("p", "p", digits=4, right=True),
    Column("adjusted", "adjusted p", digits=4, right=True),
    Column("why", "what it found, or lacks"),
    Column("rule", "digest of the rule"),
)


def table(found: Sequence[Decided], statements: Mapping[str, str], notes: Sequence[str]) -> Table:
    """One section for each claim, with its statement; rows are the rules that decide it."""
    by_claim: dict[str, list[Decided]] = {}
    for one in found:
        by_claim.setdefault(one.rule.claim, []).append(one)
    sections = tuple(
        Section({"claim": claim, "statement": statements[claim]}, tuple(map(_row, rules)))
        for claim, rules in by_claim.items()
    )
    said = (
        *notes,
        "estimate: of the test, with the interval that decides before any correction; adjusted p: "
        "Holm's over the primary rules, a false-discovery rate over the others",
        "a word (lower, higher, within) is found where its p, twice the one-sided one, is at most "
        "0.05 after correction; the rule says what the word means for the claim",
    )
    return Table("claims", "What was decided", said, COLUMNS, sections)


def _row(one: Decided) -> Mapping[str, Value]:
    found = one.tested
    row: dict[str, Value] = {
        "decision": one.name,
        "verdict": one.verdict,
        "rank": "primary" if one.rule.primary else "secondary",
        "test": rule_in_words(one.rule),
        "why": "; ".join(filter(None, [one.word, *one.reasons])),
        "rule": one.rule.digest,
    }
    if found is None:
        return row
    interval = Interval(found.estimate, found.low, found.high, found.n, found.unit, 0.95)
    estimate: Value = interval if math.isfinite(found.low) else found.estimate
    return row | {
        "estimate": estimate,
        "margin": found.margin,
        "df": found.df if math.isfinite(found.df) else None,
        "n": found.n,
        "p": one.p,
        "adjusted": one.adjusted,
    }
