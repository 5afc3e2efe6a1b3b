"""Records in their places, and what is refused with a word on what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

import factories
from factories import METHODS, study
from lora_ledger.stages import tabulate
from lora_ledger.study.cells import BASE
from lora_ledger.study.schema import Study
from lora_ledger.tables.evidence import EvidenceError, gather

CODE = {"corpus": "texts", "regime": "cpt", "tasks": ["humaneval"]}


def plan() -> Study:
    return study(settings={"code": CODE}, methods={"full": METHODS["full"]})


def test_a_foreign_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    factories.train(path, "code/ful/short/s1", [1.0], [1.0], [1])
    with pytest.raises(EvidenceError, match="did you mean 'code/full/short/s1'"):
        gather(plan(), [path])
    factories.write(path, "tune", "code/full", {})
    with pytest.raises(EvidenceError, match="a record of tune, expected one of train, prepare"):
        gather(plan(), [path])


def test_a_second_record_of_one_thing_is_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        factories.train(tmp_path / name, "code/full/short/s1", [1.0], [1.0], [1])
    with pytest.raises(EvidenceError, match=r"two: found a second record .* the first is .*one"):
        gather(plan(), [tmp_path / "one", tmp_path / "two"])


@pytest.mark.parametrize(
    ("chosen", "trained", "fits"),
    [(3e-4, 3e-3, True), (1e-4, 3e-3, False), (None, 3e-3, False), (None, None, True)],
)
def test_a_cell_trained_before_its_rate_was_chosen_anew_is_refused(
    tmp_path: Path, chosen: float | None, trained: float | None, fits: bool
) -> None:
    """`ten` takes ten times what `full` selects."""
    methods = {
        "full": {"kind": "full", "learning_rates": [1e-4, 3e-4, 1e-3]},
        "ten": {"kind": "lora", "rank": 2, "at": "10x full"},
    }
    grid = study(settings={"code": CODE}, methods=methods)
    paths = [tmp_path / "t.json", tmp_path / "s.json"]
    label = "code/ten/short/s1"
    if trained is None:
        factories.write(paths[0], "train", label, {"steps": 0}, status="diverged")
    else:
        factories.train(paths[0], label, [1.0], [1.0], [1], trained)
    factories.write(paths[1], "select", "code/full", {"learning_rate": chosen, "on_edge": False})
    if fits:
        gather(grid, paths)
        return
    with pytest.raises(EvidenceError, match=rf"found {label} trained at .* same command again"):
        gather(grid, paths)


def test_unpaired_units_are_refused(tmp_path: Path) -> None:
    paths = []
    for label, n in ((BASE, 2), ("code/full/short/s1", 3)):
        paths += factories.retain(tmp_path, label, [1.0] * n, [1] * n, [1], [1.0])
    with pytest.raises(EvidenceError, match="other units for code/full/short/s1 than for base"):
        tabulate.tabulate(gather(plan(), paths), tmp_path)
