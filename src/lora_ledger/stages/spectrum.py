"""Stage `spectrum`: what a cell's training did to the spectra of the model's matrices.

In: the study, the model folder and the cell's folder (none for `base`). Out: a record with, for
each matrix of the blocks, ranks, norms, intruder dimensions and amplification; a table of singular
values; the leading directions of ΔW as safetensors, by which `subspaces` compares cells. What is
measured how is `inference.spectrum`; a cell without ΔW says why. It evaluates no text.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.common.errors import KeyProblem
from lora_ledger.inference.subject import Subject
from lora_ledger.records.atomic import csv_gz, new_file, write_bytes_atomic
from lora_ledger.records.record import Record, identity
from lora_ledger.scheduling.stage import Names, Stage, lean
from lora_ledger.study import cells
from lora_ledger.study.evaluation import Spectrum
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study

from ._main import flag, place
from ._main import run as run_stage

if TYPE_CHECKING:
    from lora_ledger.inference.spectrum import Measured


def asked(study: Study) -> Spectrum:
    """What the study asks of spectra; KeyProblem where it asks nothing."""
    found = study.evaluation.spectrum
    if found is None:
        raise KeyProblem("evaluation.spectrum", None, "a section, which may be empty: {}")
    return found


def reads(study: Study, names: Names) -> dict[str, Any]:
    """The options, and the seed of the random update."""
    found = cells.cell(study, names["cell"])
    return {"spectrum": lean(asked(study)), "seed": found.seed if found else study.seeds[0]}


def machine(study: Study, names: Names) -> dict[str, Any]:
    """Threads, by which sums round."""
    return {"threads": study.compute.threads}


def modules(study: Study, names: Names) -> tuple[str, ...]:
    """The file of the cell's method, which says what it adds to the base."""
    found = cells.cell(study, names["cell"])
    return (study.methods[found.method].module(),) if found else ()


STAGE = Stage("spectrum", ("the first",), reads, machine, modules=modules, torch=True)


def spectrum(
    study: Study,
    cell: str,
    model_dir: Path,
    trained: Path | None,
    out: Path,
    table: Path,
    vectors: Path,
    work: Path | None = None,
) -> Record:
    """Write the record `out`, the table of singular values and the leading directions.

    `work` keeps the base's decompositions for the study's other cells.
    """
    options, subject = asked(study), Subject(study, cell, model_dir, trained)
    inputs = {
        "model": identity(model_dir),
        **({"train": identity(trained)} if trained else {}),
    }
    settings = {**options.model_dump(mode="json"), "seed": subject.seed}
    measured: Measured | None = None
    results: dict[str, Any] = {}
    if not subject.diverged:
        measured, results = measure(subject, options, work)
    write_bytes_atomic(table, csv_gz(_columns(measured), measured.rows if measured else []))
    _write_vectors(vectors, measured.vectors if measured else {})
    return STAGE.record(
        out,
        study,
        {"cell": cell},
        cell,
        inputs=inputs,
        settings=settings,
        results=results,
        status="diverged" if subject.diverged else "complete",
    )


def measure(
    subject: Subject, options: Spectrum, work: Path | None
) -> tuple[Measured | None, dict[str, Any]]:
    """What was measured, and the results of the record; nothing and a reason without a ΔW."""
    from lora_ledger.inference import spectrum as of
    from lora_ledger.inference.updates import NoUpdate, left_out, matrices
    from lora_ledger.models.pretrained import read_json

    known = cells.cell(subject.study, subject.cell)
    method = subject.study.methods[known.method] if known else None
    found = matrices(subject.model_dir, subject.trained, method, options.layers)
    try:
        if subject.trained is None:
            measured = of.of_base(found, work)
        else:
            measured = of.of_cell(found, options, subject.seed, work)
    except NoUpdate as why:
        return None, {"of": None, "why": str(why)}
    return measured, {
        "of": "update" if subject.trained else "base",
        "left_out": left_out(read_json(subject.model_dir / "config.json")),
        "unchanged": measured.unchanged,
        "matrices": measured.columns,
        "curves": measured.curves,
        "values": measured.values,
    }


def _columns(measured: Measured | None) -> list[str]:
    most = max((row for row in measured.rows), key=len, default={}) if measured else {}
    return list(most) or ["block", "module", "of"]


def _write_vectors(path: Path, vectors: Mapping[str, Any]) -> None:
    from safetensors.numpy import save_file

    with new_file(path) as temporary:
        save_file(dict(vectors), temporary)


FLAGS = (
    flag("study"),
    flag("cell", "the label in the record"),
    place("model", "model folder"),
    place("trained", "the cell's folder; none for base", required=False),
    place("out", "FILE.json"),
    place("table", "FILE.csv.gz: singular values"),
    place("vectors", "FILE.safetensors: leading directions"),
    place("work", "folder that keeps the base's decompositions", required=False),
)


def main(args: argparse.Namespace) -> str:
    """Measure one cell and say of how many matrices."""
    results = spectrum(
        load(args.study),
        args.cell,
        args.model,
        args.trained,
        args.out,
        args.table,
        args.vectors,
        args.work,
    ).results
    if not results.get("of"):
        return f"{args.cell}: {results.get('why', 'diverged')}"
    number = len(results["matrices"].get("block", ()))
    return f"{args.cell}: {number} matrices, {results['unchanged']} more that training left"


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main))
