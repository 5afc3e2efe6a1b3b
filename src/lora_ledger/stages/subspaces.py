"""Stage `subspaces`: how alike the changes of two cells of a setting are.

In: the records of `spectrum`, with the leading directions that stand beside each. Out: a record
with φ between pairs of cells that differ in seed or in method alone (Hu et al. 2021, section 7.2),
by module and on each side, beside that of random subspaces. It loads no model.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_ledger.records.record import Record, read_record
from lora_ledger.scheduling.stage import Names, Stage
from lora_ledger.study import cells
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study

from ._main import flag, place
from ._main import run as run_stage


def reads(study: Study, names: Names) -> dict[str, Any]:
    """Which cells are compared."""
    return {"pairs": [list(pair) for pair in cells.compared(study, names["setting"])]}


STAGE = Stage("subspaces", ("the first",), reads)


def subspaces(study: Study, setting: str, records: Sequence[Path], out: Path) -> Record:
    """Compare each pair and write the record; a cell that diverged, or has no ΔW, has no pair."""
    found = {record.cell: (record, path) for path in records for record in [read_record(path)]}
    vectors = {
        cell: _vectors(path.with_suffix(".safetensors"))
        for cell, (record, path) in found.items()
        if record.results.get("of") == "update"
    }
    asked = cells.compared(study, setting)
    pairs = [
        {"first": one, "second": two, "modules": compare(vectors[one], vectors[two])}
        for one, two in asked
        if one in vectors and two in vectors
    ]
    return STAGE.record(
        out,
        study,
        {"setting": setting},
        setting,
        inputs={f"spectrum/{cell}": record.input for cell, (record, _) in found.items()},
        settings={"pairs": [list(pair) for pair in asked]},
        results={"pairs": pairs},
    )


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By module and side, means over the matrices that both changed: `phi` of the leading i and j
    directions at [i-1][j-1], as far as all of them have as many; `top`: φ(1, 1) of each matrix;
    `dimension`, from which a random pair has φ(i, j) = max(i, j) / dimension."""
    import numpy as np

    from lora_ledger.analysis.subspaces import overlap

    each: dict[tuple[str, str], list[Any]] = defaultdict(list)
    dimensions: dict[tuple[str, str], int] = {}
    for key in sorted(first.keys() & second.keys()):
        name, _, side = key.rpartition(".")
        module = name.removesuffix(".weight").rpartition(".")[2]
        if min(first[key].shape[1], second[key].shape[1]):
            each[module, side].append(overlap(first[key], second[key]))
            dimensions[module, side] = int(first[key].shape[0])
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for (module, side), every in each.items():
        i, j = (min(one.shape[axis] for one in every) for axis in (0, 1))
        mean = np.mean([one[:i, :j] for one in every], axis=0)
        found[module][side] = {
            "dimension": dimensions[module, side],
            "phi": [[round(float(value), 6) for value in row] for row in mean],
            "top": [round(float(one[0, 0]), 6) for one in every],
        }
    return dict(found)


def _vectors(path: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return {name: vectors.astype("float32") for name, vectors in load_file(path).items()}


FLAGS = (
    flag("study"),
    flag("setting"),
    flag("records", "FILE.json ... of spectrum", type=Path, nargs="+"),
    place("out", "record"),
)


def main(args: argparse.Namespace) -> str:
    """Compare the cells of one setting."""
    results = subspaces(load(args.study), args.setting, args.records, args.out).results
    return f"{args.setting}: {len(results['pairs'])} pairs of cells"


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main))
