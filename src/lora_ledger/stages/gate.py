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
    stopped = {
        (one.science.settings["corpus"], one.science.settings["run"]): one.results
        for one in records.values()
        if one.results["stops"] and not one.science.settings["permitted"]
    }
    if stopped:
        from lora_ledger.analysis.contamination import refusal

        raise Contaminated(refusal(setting, stopped))
    return STAGE.record(
        out,
        None,
        {"setting": setting},
        setting,
        inputs={cell: record.input for cell, record in records.items()},
        settings={"setting": setting},
        results={"pairs": {cell: _pair(record) for cell, record in records.items()}},
    )


def _pair(report: Record) -> dict[str, Any]:
    measures = report.results["measures"]
    return {
        "shares": {name: one["share"] for name, one in measures.items()},
        "stops": [stop["measure"] for stop in report.results["stops"]],
        "permitted": report.science.settings["permitted"],
        "dirty": len(report.results["dirty"]),
    }


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
