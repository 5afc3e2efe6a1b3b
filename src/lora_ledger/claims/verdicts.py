"""What studies decided: records of the stage `decide`, by claim.

In: `results/<study>/claims/*.json`, each a record whose names have the claim and the decision and
whose results have `verdict` and `reasons`, lines in words. Out: `Verdict`s, and one word for the
several of a claim. It decides nothing; a claim for which there is none is *not run*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_ledger.common.errors import KeyProblem, require
from lora_ledger.records.record import read_record

NOT_RUN = "not run"
OUTCOMES = ("supported", "contradicted", "undecided", NOT_RUN)
DIFFERS = "differs"
"""Studies of other scopes came to other verdicts."""


@dataclass(frozen=True)
class Verdict:
    """One study's verdict on one claim, by one of its rules. `found`: the record's results;
    `inputs`: the ids of the records that it rests on, by their names."""

    study: str
    outcome: str
    reasons: tuple[str, ...]
    record: str
    decision: str = ""
    found: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


def read(results: Path, study: str | None, known: Sequence[str]) -> Mapping[str, list[Verdict]]:
    """Verdicts by claim, of one study or of all below `results`.

    Raises ValueError for a file that is no record of `decide`, an unknown claim or outcome.
    """
    found: dict[str, list[Verdict]] = {}
    for path in sorted(results.glob(f"{study or '*'}/claims/*.json")):
        record = read_record(path)
        if record.stage != "decide":
            raise KeyProblem(f"{path}: stage", record.stage, "decide")
        claim = record.names.get("claim", "")
        require(f"{path}: names.claim", claim, known, "a claim of claims.yaml")
        outcome = str(record.results.get("verdict"))
        require(f"{path}: results.verdict", outcome, OUTCOMES, "a verdict")
        verdict = Verdict(
            path.parent.parent.name,
            outcome,
            tuple(map(str, record.results.get("reasons", ()))),
            record.id,
            record.names.get("decision", path.stem),
            record.results,
            {name: one.id for name, one in record.science.inputs.items()},
        )
        found.setdefault(claim, []).append(verdict)
    return found


def together(outcomes: Iterable[str]) -> str:
    """One word for a study's several rules for one claim: supported where all say so, contradicted
    where any does, not run where all are, else undecided."""
    said = set(outcomes)
    if "contradicted" in said:
        return "contradicted"
    if len(said) > 1:
        return "undecided"
    return said.pop() if said else NOT_RUN


def outcome(found: Sequence[Verdict]) -> str:
    """One word for a claim: a study's, or that of several studies where they agree."""
    studies = dict.fromkeys(verdict.study for verdict in found)
    said = {together(v.outcome for v in found if v.study == name) for name in studies} - {NOT_RUN}
    if len(said) > 1:
        return DIFFERS
    return said.pop() if said else NOT_RUN
