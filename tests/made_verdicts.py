"""Records of verdicts, made by hand."""

from __future__ import annotations

from pathlib import Path

from lora_ledger.records.record import write_record


def planted(results: Path, study: str, claim: str, verdict: str, stage: str = "decide") -> None:
    """A record as the stage `decide` would write it."""
    path = results / study / "claims" / f"{claim}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record(
        path, stage=stage, version=1, cell="", names={"claim": claim}, inputs={}, asks={},
        settings={}, results={"verdict": verdict, "reasons": ["because"]}, run={},
    )  # fmt: skip
