"""Tables of a study of several bases: each cell is held against its own, by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import factories
from factories import METHODS, study
from lora_ledger.catalogue import entries
from lora_ledger.stages import tabulate
from lora_ledger.stages.figures import figures
from lora_ledger.study import cells
from lora_ledger.study.schema import Study
from lora_ledger.tables.evidence import Evidence, gather
from lora_ledger.tables.forgetting import control_of

from .test_tables import bits, numbers, rows

SIZE = [100, 300]
CODE = {"corpus": "texts", "regime": "cpt", "tasks": ["humaneval"]}
REPAIR = {"corpus": "texts", "regime": "cpt", "role": "control"}
# Bits per byte of the general text, and right answers of four problems.
LEVELS = {"one": 1.0, "two": 2.0}
PASSED = {"one": [0.0, 0.0, 0.0, 0.0], "two": [1.0, 0.0, 0.0, 0.0]}


def plan(seeds: list[int], of_seed: dict[int, str], **changes: Any) -> Study:
    """Code and its control, trained in full, on two bases."""
    entry = entries()["tiny-random-llama"].model_dump(mode="json")
    shared = study().catalogue
    return study(
        model=None,
        models=["one", "two"],
        seeds=seeds,
        model_of_seed=of_seed,
        catalogue={**shared, "one": entry, "two": entry},
        settings={"code": CODE, "repair": REPAIR},
        methods={"full": METHODS["full"]},
        **changes,
    )


def write(root: Path, wanted: Study, forgot: dict[str, float]) -> Evidence:
    """The records of bases and cells: `forgot` in bits per byte; code cells pass every problem but
    the first."""
    paths: list[Path] = []

    def put(stage: str, label: str) -> Path:
        paths.append(root / stage / f"{label}.json")
        return paths[-1]

    for label in cells.labels(wanted):
        level = LEVELS[cells.model_of(wanted, label)] + forgot.get(label, 0.0)
        nats = [nat * level for nat in bits(*SIZE)]
        acc = [1, 1, 1, 0] if label == "base/two" else [1, 0, 0, 0]
        paths += factories.retain(root, label, nats, SIZE, acc, [math.log(4)] * 4)
        cell = cells.cell(wanted, label)
        if cell:
            factories.train(put("train", label), label, bits(*SIZE), bits(50, 150), SIZE)
        if cell is None or cell.setting == "code":
            passed = [0.0, 1.0, 1.0, 1.0] if cell else PASSED[cells.model_of(wanted, label)]
            eight = bits(8, 8, 8, 8)
            factories.score(put("score", label), label, {"pass@1": passed}, eight, [4] * 4)
            kinds = [[1, 1]] * 2 if cell or label == "base/one" else [[2]] * 2
            classes = dict.fromkeys(("all", "passing", "failing"), kinds)
            factories.diversity(put("diversity", label), label, classes)
    found = gather(wanted, paths)
    tabulate.tabulate(found, root / "tables")
    return found


OWN = {
    "one/code/full/short/s1": 0.1,
    "two/code/full/short/s2": 0.3,
    "one/repair/full/short/s1": -0.05,
    "two/repair/full/short/s2": -0.1,
}


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    write(tmp_path, plan([1, 2], {1: "one", 2: "two"}), OWN)
    return tmp_path / "tables"


def test_forgetting_is_of_the_cells_own_base(tables: Path) -> None:
    one, two, *arms = rows(tables, "forgetting", measure="general, bits per byte")
    assert [(row["method"], row["model"]) for row in (one, two)] == [
        ("base", "one"),
        ("base", "two"),
    ]
    assert [float(row["value"]) for row in (one, two)] == [1.0, 2.0]
    first, second, mean = (row for row in arms if row["setting"] == "code")
    assert [row["model"] for row in (first, second, mean)] == ["one", "two", "2 bases"]
    assert numbers(first, "change") == pytest.approx([0.1] * 3)
    assert numbers(second, "change") == pytest.approx([0.3] * 3)
    # Bases are drawn whole: both the first, both the second, or one of each.
    assert numbers(mean, "value") == pytest.approx([1.7, 1.1, 2.3])
    assert numbers(mean, "change") == pytest.approx([0.2, 0.1, 0.3])
    assert mean["resampled"] == "documents x bases"
    # And so is what lies beyond the control of the same base: 0.1 + 0.05, 0.3 + 0.1.
    assert [float(row["beyond"]) for row in (first, second)] == pytest.approx([0.15, 0.4])
    assert numbers(mean, "beyond") == pytest.approx([0.275, 0.15, 0.4])


def test_a_base_at_chance_is_named(tables: Path) -> None:
    """One right of four is chance; three of four lies 2.3 errors above."""
    notes = {row["note"] for row in rows(tables, "forgetting", measure="facts, accuracy")}
    assert notes == {"base is at chance (base/one): 0.250"}


def test_scores_are_held_against_the_cells_own_base(tables: Path) -> None:
    *bases, first, second, mean = rows(tables, "learning", measure="humaneval, pass@1")
    assert [(row["model"], float(row["after"])) for row in bases] == [("one", 0.0), ("two", 0.25)]
    assert [float(row["change"]) for row in (first, second)] == [0.75, 0.5]
    assert float(mean["before"]) == 0.125
    assert float(mean["change"]) == pytest.approx(0.625)


def test_diversity_is_held_against_the_cells_own_base(tables: Path) -> None:
    """Two samples, both kinds distinct in the cells and the first base, one in the second."""
    *bases, first, second, mean = rows(tables, "diversity", **{"class": "all"})
    assert [(row["model"], float(row["exact_m"])) for row in bases] == [("one", 2.0), ("two", 1.0)]
    assert [float(row["change"]) for row in (first, second)] == [0.0, 1.0]
    assert numbers(mean, "change") == pytest.approx([0.5, 0.0, 1.0])


def test_the_notes_name_models_and_blocks(tables: Path) -> None:
    text = (tables / "learning.md").read_text("utf-8")
    assert "models: one, base: random, weights: random; two, base: random" in text
    assert "seeds and bases: 1 on one, 2 on two; each cell is held against its own base" in text
    assert "units and bases crossed" in text
    assert text.count("stand-in: ") == 1


def test_seeds_that_share_a_base_are_one_block(tmp_path: Path) -> None:
    """Changes of 0.1 and 0.2 on one base, 0.6 on the other: the mean of 0.15 and 0.6."""
    wanted = plan([1, 2, 3], {1: "one", 2: "one", 3: "two"})
    labels = [cell.label for cell in cells.cells(wanted) if cell.setting == "code"]
    write(tmp_path, wanted, dict(zip(labels, (0.1, 0.2, 0.6), strict=True)))
    found = rows(tmp_path / "tables", "forgetting", measure="general, bits per byte")
    (mean,) = (row for row in found if row["setting"] == "code" and row["seed"].startswith("mean"))
    assert numbers(mean, "change") == pytest.approx([0.375, 0.15, 0.6])


def test_models_of_a_study_without_pairs_have_means_of_their_own(tmp_path: Path) -> None:
    wanted = plan([1, 2], {})
    changes = {
        cell.label: 0.1 * cell.seed * (3 if cell.model == "two" else 1)
        for cell in cells.cells(wanted)
    }
    write(tmp_path, wanted, changes)
    found = rows(tmp_path / "tables", "forgetting", measure="general, bits per byte")
    means = {row["model"]: row for row in found if row["seed"].startswith("mean")}
    assert numbers(means["one"], "change") == pytest.approx([0.15, 0.1, 0.2])
    assert numbers(means["two"], "change") == pytest.approx([0.45, 0.3, 0.6])
    assert means["one"]["resampled"] == "documents x seeds"
    assert "models: each cell is held against its own base" in (
        tmp_path / "tables/learning.md"
    ).read_text("utf-8")


def test_a_control_is_of_the_same_model(tmp_path: Path) -> None:
    wanted = plan([1], {})
    evidence = write(tmp_path, wanted, {})
    for cell in (cell for cell in evidence.cells if cell.setting == "code"):
        control = control_of(evidence, cell)
        assert control is not None
        assert (control.setting, control.model) == ("repair", cell.model)


def test_figures_of_several_bases(tmp_path: Path) -> None:
    """Points are changes against the cell's own base, and each base has a row of its own."""
    evaluation = study().evaluation.model_dump(mode="json", exclude_unset=True)
    evaluation["likelihood"]["facts"] = {"task": "factbook-facts"}
    wanted = plan([1, 2], {1: "one", 2: "two"}, evaluation=evaluation)
    write(tmp_path, wanted, OWN)
    from lora_ledger.records.record import read_record

    results = read_record(tmp_path / "tables/record.json").results
    points = {(p["setting"], p["model"]): p["texts"]["general"][0] for p in results["plane"]}
    assert points == pytest.approx(
        {
            ("code", "one"): 0.1,
            ("code", "two"): 0.3,
            ("repair", "one"): -0.05,
            ("repair", "two"): -0.1,
        }
    )
    pytest.importorskip("matplotlib")
    figures(wanted, tmp_path / "tables", tmp_path / "figures")
    drawn = (tmp_path / "figures/learning-forgetting.svg").read_text("utf-8")
    assert "one, a stand-in (base: random, weights: random), two, a stand-in" in drawn


def test_bases_alone(tmp_path: Path) -> None:
    """A study without settings: each base has its row, and its dot in the figure."""
    wanted = plan([1], {}).model_copy(update={"settings": {}, "methods": {}, "budgets": {}})
    write(tmp_path, wanted, {})
    found = rows(tmp_path / "tables", "learning", measure="humaneval, pass@1")
    assert [(row["model"], float(row["after"])) for row in found] == [("one", 0.0), ("two", 0.25)]
    pytest.importorskip("matplotlib")
    figures(wanted, tmp_path / "tables", tmp_path / "figures")
    assert (tmp_path / "figures/benchmarks.png").stat().st_size > 5000
