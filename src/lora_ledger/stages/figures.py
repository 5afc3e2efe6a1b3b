"""Stage `figures`: what was learned against what was forgotten, and accuracies beside chance.

In: `record.json` of `tabulate`, and the study for its methods. Out: SVG and PNG of the figures
that the study has (`cells.figures`), and a record; the same input gives the same bytes. How they
are drawn is `report.figures`; no number is computed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.records.record import Record, read_record
from lora_ledger.report.figures.intervals import benchmarks, gauntlet
from lora_ledger.report.figures.plane import plane
from lora_ledger.report.figures.spectra import spectra
from lora_ledger.report.figures.style import STYLE, save
from lora_ledger.scheduling.stage import Stage, every_method, of_the_whole
from lora_ledger.study import cells
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study

from ._main import flag, place
from ._main import run as run_stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "learning-forgetting"
SPECTRA = "spectra-"
OF_INTERVALS = {"forgetting-gauntlet": gauntlet, "benchmarks": benchmarks}

STAGE = Stage("figures", ("the first",), of_the_whole, modules=every_method)


def figure_of(study: Study, results: Mapping[str, Any], name: str) -> Figure:
    """The figure of that name, one of `cells.figures`, from the results of `tabulate`.

    Raises ValueError when they have no points for it.
    """
    if name in OF_INTERVALS:
        measures = results["intervals"].get(name)
        if measures is None:
            raise ValueError(
                f"{name}: found no points in the tables, expected some; tabulate again"
            )
        return OF_INTERVALS[name](study, measures)
    if name.startswith(SPECTRA):
        return spectra(study, results["spectra"], name.removeprefix(SPECTRA))
    texts = list(study.evaluation.texts) or [""]
    text = texts[0] if name == NAME else name.removeprefix(f"{NAME}-")
    return plane(study, results["plane"], text, results["diverged"])


def figures(study: Study, tables: Path, out: Path) -> Record:
    """Draw the study's figures and write the record."""
    import matplotlib

    source = read_record(tables / "record.json")
    names = cells.figures(study)
    with matplotlib.rc_context(STYLE):
        for name in names:
            save(figure_of(study, source.results, name), out, name)
    return STAGE.record(
        out / "record.json",
        study,
        {},
        "all",
        inputs={"tables": source.input},
        settings={"study": study.name},
        results={"figures": sorted(f"{n}.{s}" for n in names for s in ("svg", "png"))},
    )


FLAGS = (
    flag("study"),
    place("tables", "folder that tabulate wrote"),
    place("out", "folder of the figures"),
)


def main(args: argparse.Namespace) -> None:
    """Draw the figures."""
    figures(load(args.study), args.tables, args.out)


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main))
