"""How many jobs a study has, counted without the paths that the workflow asks for."""

from __future__ import annotations

from lora_ledger.study import cells, rates, sources
from lora_ledger.study.schema import Study


def jobs(study: Study) -> dict[str, int]:
    """How many jobs each stage has."""
    runs = list(cells.scored(study))
    grids = rates.all_tuned(study)
    return {
        "fetch": len(study.model_names) + len(sources.corpora(study)) + len(study.others),
        "contaminate": len(cells.pairs(study)),
        "gate": len(study.settings),
        "prepare": len(cells.packed(study)),
        "tune": sum(len(study.rates_of(*pair)) for pair in grids),
        "select": len(grids),
        "train": len(cells.index(study).cells),
        "trunk": sum(cell.parent is not None for cell in cells.index(study).cells),
        "generate": len(runs),
        "score": len(runs),
        "retain": len(cells.labels(study)) * len(cells.retained(study)),
        "spectrum": len(cells.labels(study)) if study.evaluation.spectrum else 0,
        "subspaces": len(cells.subspaces(study)),
        "diversity": sum(study.evaluation.generate[run].diversity for run, _ in runs),
        "tabulate": 1,
        "figures": 1,
        "decide": int(bool(study.decisions)),
    }
