"""tabulate: all records of a study, as tables.

In: a study and the paths of its train, retain, score, diversity, select and contaminate records.
Out: `learning`, `forgetting`, `diversity` and `cost` as CSV, Markdown and LaTeX, and `record.json`,
which holds the formatted tables for `ledger show` and the points of the figures.
It evaluates nothing and draws no verdict.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lora_ledger.records.atomic import write_text_atomic
from lora_ledger.scheduling.stage import Stage, every_method, of_the_whole
from lora_ledger.study.schema import Study
from lora_ledger.tables.cost import cost
from lora_ledger.tables.diversity import diversity
from lora_ledger.tables.document import Table, as_csv, as_json, as_latex, as_markdown
from lora_ledger.tables.evidence import Evidence, gather
from lora_ledger.tables.learning import forgetting, learning
from lora_ledger.tables.measures import Measure, Series, change, resampling, validation
from lora_ledger.tables.points import dots
from lora_ledger.tables.retention import texts

WRITERS = {".csv": as_csv, ".md": as_markdown, ".tex": as_latex}
KINDS = ("train", "retain", "score", "diversity", "select", "contaminate")


STAGE = Stage("tabulate", ("the first",), of_the_whole, modules=every_method)


def header(study: Study) -> tuple[str, ...]:
    """What every table says first: study, model, seeds, and what the intervals can mean."""
    entry = study.model_entry()
    notes = [
        f"study: {study.name} ({study.title}); model: {study.model}, base: {entry.base}, "
        f"weights: {entry.weights}"
    ]
    if entry.stand_in:
        notes.append(
            f"stand-in: {entry.title} stands in for the model of the papers; these "
            "numbers are not theirs"
        )
    seeds = len(study.seeds)
    listed = ", ".join(map(str, study.seeds))
    interval = (
        f"{_percent(study)} percentile bootstrap, {study.evaluation.bootstrap:,} resamples; shares "
        "of right answers in single samples: Wilson"
    )
    if seeds == 1:
        notes.append(
            f"seeds: 1 ({listed}); interval: {interval}; sampling error of the evaluation only"
        )
    else:
        notes.append(
            f"seeds: {seeds} ({listed}); interval: {interval}; rows of one seed: sampling "
            "error of the evaluation only; rows of a mean: units and seeds crossed"
        )
        if seeds < 3:
            notes.append("below 3 seeds nothing generalises over training")
    return tuple(notes)


def _percent(study: Study) -> str:
    return f"{100 * study.evaluation.confidence:g} %"


def tables(evidence: Evidence) -> list[Table]:
    """The four tables, in the order in which they are read."""
    notes, interval = header(evidence.study), _percent(evidence.study)
    return [
        learning(evidence, notes, interval),
        forgetting(evidence, notes, interval),
        diversity(evidence, notes, interval),
        cost(evidence, notes),
    ]


def points(evidence: Evidence) -> list[dict[str, Any]]:
    """For each complete cell: change of target loss, and of each general text, in bits per byte."""
    measured = texts(evidence)
    found = []
    for setting, facts in evidence.study.settings.items():
        target = validation(evidence, setting)
        for cell in evidence.of_setting(setting):
            series = target.after.get(cell.label) if target else None
            if target is None or series is None:
                continue
            before = target.before_of(cell.label)
            sides = {
                m.run: _change(evidence, m, s, m.base)
                for m in measured
                if (s := m.after.get(cell.label)) and m.base
            }
            found.append(
                {
                    "setting": setting,
                    "role": facts.role,
                    "method": cell.method,
                    "budget": cell.budget,
                    "seed": cell.seed,
                    "target": _change(evidence, target, series, before),
                    "texts": sides,
                }
            )
    return found


def diverged(evidence: Evidence) -> dict[str, list[str]]:
    """By setting, the cells that diverged, as `method budget s<seed>`."""
    found: dict[str, list[str]] = {}
    for cell in evidence.cells:
        if evidence.diverged(cell.label):
            name = f"{cell.method} {cell.budget} s{cell.seed}"
            found.setdefault(cell.setting, []).append(name)
    return found


def _change(
    evidence: Evidence, measure: Measure, after: Series, before: Series | None
) -> list[float]:
    """[estimate, low, high]."""
    assert before is not None
    found = change(measure, [after], [before], resampling(evidence, measure.units))
    assert not isinstance(found, str), "a loss has an interval"
    return [found.estimate, found.low, found.high]


def run(evidence: Evidence, out: Path) -> list[Table]:
    """Write all tables and the record into the folder `out`."""
    made = tables(evidence)
    for table in made:
        for suffix, writer in WRITERS.items():
            write_text_atomic(out / f"{table.name}{suffix}", writer(table))
    study = evidence.study
    shown = {table.name: as_json(table) for table in made}
    costs = shown.pop("cost")
    STAGE.record(
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
            "points": points(evidence),
            "dots": dots(evidence),
            "diverged": diverged(evidence),
        },
        # Times differ from run to run, and the record's id must not.
        run={"cost": costs},
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tabulate", description=__doc__)
    parser.add_argument("--study", required=True)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", nargs="*", type=Path, default=[], metavar="RECORD")
    parser.add_argument("--out", required=True, type=Path, help="folder of the tables")
    args = parser.parse_args(argv)
    from lora_ledger.study.file import StudyError, load

    try:
        paths = {kind: getattr(args, kind) for kind in KINDS}
        run(gather(load(args.study), **paths), args.out)
    except (StudyError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())


__all__ = ["header", "main", "points", "run", "tables"]
