"""Stage `tabulate`: all records of a study, as tables.

In: a study and the paths of its records, in any order. Out: `learning`, `forgetting`, `diversity`
and `cost`, and where they are asked for `spectra` and `subspaces`, as CSV, Markdown and LaTeX, and
`record.json`, which holds the formatted tables for `ledger show` and the points of the figures. It
evaluates nothing and draws no verdict.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lora_ledger.records.atomic import write_text_atomic
from lora_ledger.records.record import Record
from lora_ledger.scheduling.stage import Stage, every_method, of_the_whole
from lora_ledger.study.file import load

from ._main import flag, place
from ._main import run as run_stage
from ._records import paths_of

if TYPE_CHECKING:
    from lora_ledger.tables.document import Table
    from lora_ledger.tables.evidence import Evidence

STAGE = Stage("tabulate", ("the first",), of_the_whole, modules=every_method)


def tables(evidence: Evidence) -> list[Table]:
    """The tables, in the order in which they are read; of spectra where they are asked for."""
    from lora_ledger.tables.cost import cost
    from lora_ledger.tables.diversity import diversity
    from lora_ledger.tables.forgetting import forgetting
    from lora_ledger.tables.learning import learning
    from lora_ledger.tables.notes import header, percent
    from lora_ledger.tables.spectra import spectra, subspaces

    notes, interval = header(evidence), percent(evidence.study)
    of_spectra = [spectra(evidence, notes), subspaces(evidence, notes)]
    return [
        learning(evidence, notes, interval),
        forgetting(evidence, notes, interval),
        diversity(evidence, notes, interval),
        cost(evidence, notes),
        *(of_spectra if evidence.study.evaluation.spectrum else ()),
    ]


def tabulate(evidence: Evidence, out: Path) -> Record:
    """Write all tables and the record into the folder `out`."""
    from lora_ledger.tables.document import as_csv, as_json, as_latex, as_markdown
    from lora_ledger.tables.points import diverged, intervals, plane
    from lora_ledger.tables.spectra import points

    writers = {".csv": as_csv, ".md": as_markdown, ".tex": as_latex}
    made = tables(evidence)
    for table in made:
        for suffix, writer in writers.items():
            write_text_atomic(out / f"{table.name}{suffix}", writer(table))
    study = evidence.study
    shown = {table.name: as_json(table) for table in made}
    costs = shown.pop("cost")
    return STAGE.record(
        out / "record.json",
        study,
        {},
        "all",
        inputs=evidence.ids(),
        settings={
            "study": study.name,
            "title": study.title,
            "bootstrap": study.evaluation.bootstrap,
            "confidence": study.evaluation.confidence,
        },
        results={
            "tables": shown,
            "plane": plane(evidence),
            "intervals": intervals(evidence),
            "diverged": diverged(evidence),
            **({"spectra": points(evidence)} if study.evaluation.spectrum else {}),
        },
        # Times differ from run to run, and the record's id must not.
        run={"cost": costs},
    )


FLAGS = (
    flag("study"),
    flag("records", "FILE.json ..., or - to read their names from standard input", nargs="+"),
    place("out", "folder of the tables"),
)


def main(args: argparse.Namespace) -> None:
    """Make the tables."""
    from lora_ledger.tables.evidence import gather

    tabulate(gather(load(args.study), paths_of(args.records)), args.out)


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main))
