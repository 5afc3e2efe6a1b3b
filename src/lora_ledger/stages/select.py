"""Choose the learning rate of a method in a setting: the best final validation.

In: the records of `tune`. Out: one record with the whole curve, the rate, and whether it lies on
the grid's edge, where it is not known to be an optimum. It trains nothing and needs no torch.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lora_ledger.common.errors import KeyProblem
from lora_ledger.records.record import Record, read_record
from lora_ledger.scheduling.stage import Names, Stage
from lora_ledger.study.schema import Study

from ._main import flag, place
from ._main import run as run_stage


def reads(study: Study, names: Names) -> dict[str, Any]:
    """The grid."""
    return {"rates": study.rates_of(names["setting"], names["method"])}


STAGE = Stage("select", ("the first",), reads)


def choose(
    tried: Sequence[tuple[float, float]], better: Literal["lower", "higher"] = "lower"
) -> dict[str, Any]:
    """The results of a select record from (rate, mean validation) pairs, ±∞ where it diverged.

    `better` says which way a validation is the better one. `learning_rate` is None when all
    diverged. The lower of two equally good rates is taken.
    """
    curve = sorted(tried)
    sign = 1 if better == "lower" else -1
    finite = [i for i, (_, value) in enumerate(curve) if math.isfinite(value)]
    best = min(finite, key=lambda i: sign * curve[i][1], default=None)
    return {
        "curve": [[rate, value if math.isfinite(value) else None] for rate, value in curve],
        "learning_rate": None if best is None else curve[best][0],
        "on_edge": best is None or best in (0, len(curve) - 1),
    }


def select(tuned: Sequence[Path], setting: str, method: str, out: Path) -> Record:
    """Read the tune records and write the select record.

    Raises KeyProblem for records of another setting, or of runs that differ in more than the rate.
    """
    records = [(path, read_record(path)) for path in tuned]
    for path, record in records:
        if record.stage != "tune" or not record.cell.startswith(f"{setting}/{method}/"):
            raise KeyProblem(
                str(path), f"{record.stage} of {record.cell}", f"tune of {setting}/{method}"
            )
    compared = [
        {key: value for key, value in record.science.settings.items() if key != "learning_rate"}
        for _, record in records
    ]
    for (path, _), settings in zip(records, compared, strict=True):
        if settings != compared[0]:
            raise KeyProblem(
                str(path), "other settings", f"those of {tuned[0]}; delete both and tune again"
            )
    ways = {record.results["validation"]["better"] for _, record in records}
    if len(ways) > 1:
        raise KeyProblem("--tuned", sorted(ways), "records whose validation has one better way")
    tried = [
        (
            float(record.science.settings["learning_rate"]),
            math.inf if record.status == "diverged" else per_token(record.results),
        )
        for _, record in records
    ]
    return STAGE.record(
        out,
        None,
        {"setting": setting, "method": method},
        f"{setting}/{method}",
        inputs={path.stem: record.input for path, record in records},
        settings={"setting": setting, "method": method},
        results=choose(tried, ways.pop()),
    )


def per_token(results: Mapping[str, Any]) -> float:
    """The final validation of a record's results; +∞ where it is missing or not finite."""
    validation = results.get("validation") or {}
    end, tokens = validation.get("end") or [], sum(validation.get("tokens") or [])
    if not end or not tokens or any(value is None for value in end):
        return math.inf
    return float(math.fsum(end) / tokens)


FLAGS = (
    flag("setting"),
    flag("method"),
    place("tuned", "records of tune", nargs="+"),
    place("out", "record to write"),
)


def main(args: argparse.Namespace) -> str:
    """Say the rate that was chosen."""
    record = select(args.tuned, args.setting, args.method, args.out)
    rate = record.results["learning_rate"]
    edge = ", on the grid's edge" if record.results["on_edge"] else ""
    return f"{record.cell}: " + (f"{rate:g}{edge}" if rate else "every rate diverged")


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main))
