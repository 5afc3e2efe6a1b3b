"""What studies decided: records of the stage `decide`, by claim.

In: `results/<study>/claims/*.json`, each a record whose names have the claim and whose results
have `verdict` and `reasons`, lines in words. Out: `Verdict`s. It decides nothing; a claim for which
there is none is *not run*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_ledger.common.errors import KeyProblem, require
from lora_ledger.records.record import read_record

NOT_RUN = "not run"
OUTCOMES = ("supported", "contradicted", "undecided", NOT_RUN)


@dataclass(frozen=True)
class Verdict:
    """One study's verdict on one claim."""

    study: str
    outcome: str
    reasons: tuple[str, ...]
    record: str


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
        reasons = tuple(map(str, record.results.get("reasons", ())))
        verdict = Verdict(path.parent.parent.name, outcome, reasons, record.id)
        found.setdefault(claim, []).append(verdict)
    return found
