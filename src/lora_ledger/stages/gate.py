"""Stage `gate`: a setting is trained only when its corpus holds none of what its cells are asked.

In: the `contaminate` records of all pairs of the setting's corpus and a run that scores its cells.
Out: a small record; or, where a pair stops and the study does not permit it, a message that says
which, by how much, and what to do. It measures nothing and deletes no report.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lora_ledger.common.errors import KeyProblem
from lora_ledger.records.record import Record, read_record
from lora_ledger.scheduling.stage import Stage

from ._main import flag, place
from ._main import run as run_stage

STAGE = Stage("gate", ("the first",))


class Contaminated(ValueError):
    """A setting whose corpus holds items of a task; the message is for people."""


def gate(setting: str, reports: Sequence[Path], out: Path) -> Record:
    """Read the reports and write the record.

    Raises Contaminated when a pair stops that no permission names, KeyProblem for a file that is
    not a report or reports on two corpora.
    """
    records: dict[str, Record] = {}
    for path in reports:
        record = read_record(path)
        if record.stage != "contaminate":
            raise KeyProblem(str(path), f"a record of {record.stage}", "one of contaminate")
        records[record.cell] = record
    corpora = sorted({record.science.settings["corpus"] for record in records.values()})
    if len(corpora) > 1:
        raise KeyProblem("--reports", corpora, f"reports on one corpus, that of {setting}")
    stopped = [one for one in records.values() if one.results["stops"] and not permitted(one)]
    if stopped:
        raise Contaminated(message(setting, stopped))
    return STAGE.record(
        out,
        None,
        {"setting": setting},
        setting,
        inputs={cell: record.input for cell, record in records.items()},
        settings={"setting": setting},
        results={"pairs": {cell: _pair(record) for cell, record in records.items()}},
    )


def permitted(report: Record) -> str | None:
    """The reason for which the study lets a pair pass, whatever was measured."""
    reason: str | None = report.science.settings["permitted"]
    return reason


def _pair(report: Record) -> dict[str, Any]:
    measures = report.results["measures"]
    return {
        "shares": {name: one["share"] for name, one in measures.items()},
        "stops": [stop["measure"] for stop in report.results["stops"]],
        "permitted": permitted(report),
        "dirty": len(report.results["dirty"]),
    }


def message(setting: str, stopped: Sequence[Record]) -> str:
    """What was found in which pair, with some of the items, and what to do."""
    lines = [f"settings.{setting}: its corpus holds items of a task that its cells are scored on"]
    for report in stopped:
        corpus, run = (report.science.settings[key] for key in ("corpus", "run"))
        for stop in report.results["stops"]:
            measure = report.results["measures"][stop["measure"]]
            lines.append(
                f"  {corpus} -> {run}: {stop['measure']}: found {measure['hits']} of "
                f"{measure['measurable']} items, {stop['share']:.2%}; expected at most "
                f"{stop['limit']:.2%} ({stop['why']})"
            )
            lines += [f"    {item['id']}  {item['question']}" for item in stop["items"]]
    lines.append(
        "  Train on another corpus; or drop the task; or, where the overlap is known and wanted, "
        "name the pair with a reason in the study:"
    )
    lines.append("  contamination:")
    for report in stopped:
        corpus, run = (report.science.settings[key] for key in ("corpus", "run"))
        lines.append(f'    - {{corpus: {corpus}, task: {run}, reason: "…"}}')
    return "\n".join(lines)


FLAGS = (
    flag("setting"),
    place("out", "record to write"),
    place("reports", "records of contaminate", nargs="*"),
)


def main(args: argparse.Namespace) -> str:
    """Exit 2 where a pair stops."""
    record = gate(args.setting, args.reports, args.out)
    lines = []
    for pair, found in record.results["pairs"].items():
        if found["permitted"]:
            needed = "" if found["stops"] else " (nothing stops it: the permission can go)"
            lines.append(f"{pair}: permitted{needed}: {found['permitted']}")
    return "\n".join([*lines, f"{args.setting}: may be trained"])


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main))
