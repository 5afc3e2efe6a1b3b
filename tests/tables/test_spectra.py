"""Means by module from made-up records, worked out by hand."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import factories
from factories import METHODS, study
from lora_ledger.records.record import read_record
from lora_ledger.report.figures.spectra import spectra as draw
from lora_ledger.stages import figures, tabulate
from lora_ledger.study.cells import BASE
from lora_ledger.study.schema import Study
from lora_ledger.tables.evidence import gather

CODE = {"corpus": "texts", "regime": "cpt"}
COLUMNS: dict[str, list[Any]] = {
    "block": [0, 0, 1, 1],
    "module": ["q_proj", "up_proj"] * 2,
    "rank90": [10, 40, 20, 80],
    "rank90_of_noise": [20, 80, 20, 80],
    "effective_rank": [10.0, 20.0, 30.0, 40.0],
    "effective_rank_of_noise": [10.0, 10.0, 10.0, 10.0],
    "stable_rank": [1.0, 2.0, 3.0, 4.0],
    "stable_rank_of_noise": [1.0, 1.0, 1.0, 1.0],
    "relative_frobenius": [0.1, 0.2, 0.3, 0.4],
    "relative_spectral": [0.1, 0.1, 0.1, 0.1],
    "intruders_left": [1, 0, 2, 1],
    "intruders_right": [0, 0, 0, 2],
    "change": [0.01] * 4,
    "change_of_random": [0.02] * 4,
    "amplified_directions": [2] * 4,
    "amplification": [4.0, 2.0, 6.0, 2.0],
    "projected_over_random": [1.5] * 4,
    "norm_of_a": [1.0, 1.0, 1.0, 1.0],
    "norm_of_b": [0.5, 2.0, 2.0, 2.0],
}
VALUES = {"q_proj": {"noise": [0.8, 0.6], "update": [1.0, 0.0]}}


def plan(**asked: Any) -> Study:
    evaluation = {"texts": {"general": {"corpus": "texts"}}, "spectrum": asked, "bootstrap": 50}
    return study(
        settings={"code": CODE},
        methods={name: METHODS[name] for name in ("full", "lora-r2", "lora-r8")},
        evaluation=evaluation,
    )


@pytest.fixture
def made(tmp_path: Path) -> Path:
    paths: list[Path] = []

    def put(stage: str, cell: str) -> Path:
        paths.append(tmp_path / stage / f"{len(paths)}.json")
        return paths[-1]

    of = {"of": "update", "left_out": ["norm"], "unchanged": 3, "values": VALUES}
    for method in ("full", "lora-r2", "lora-r8"):
        cell = f"code/{method}/short/s1"
        if method == "full":
            factories.diverged(put("train", cell), "train", cell)
            factories.diverged(put("spectrum", cell), "spectrum", cell)
            continue
        factories.train(put("train", cell), cell, [1.0], [0.9], [10])
        factories.write(put("spectrum", cell), "spectrum", cell, {**of, "matrices": COLUMNS})
    base = {
        key: COLUMNS[key] for key in COLUMNS if key.split("_")[0] in ("block", "module", "rank90")
    }
    base |= {key: COLUMNS[key] for key in COLUMNS if key.startswith(("effective", "stable"))}
    of_base = {**of, "of": "base", "unchanged": 0, "matrices": base}
    factories.write(put("spectrum", BASE), "spectrum", BASE, of_base)
    side = {"dimension": 50, "phi": [[0.5, 0.4], [0.3, 0.2]], "top": [0.5]}
    pair = {
        "first": "code/lora-r2/short/s1",
        "second": "code/lora-r8/short/s1",
        "modules": {"q_proj": {"left": side}},
    }
    path = put("subspaces", "code")
    factories.write(path, "subspaces", "code", {"pairs": [pair]}, names={"setting": "code"})
    tabulate.tabulate(gather(plan(layers=[0, 1]), paths), tmp_path / "tables")
    return tmp_path / "tables"


def rows(path: Path) -> list[dict[str, str]]:
    lines = path.read_text("utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def test_means_by_module(made: Path) -> None:
    found = [r for r in rows(made / "spectra.csv") if r["method"] == "lora-r8"]
    every, q, up = found
    assert [row["module"] for row in found] == ["all", "q_proj", "up_proj"]
    assert (every["n"], q["n"]) == ("4", "2")
    assert float(q["rank90"]) == 15
    assert float(q["rank90_over_noise"]) == 0.75
    assert float(up["rank90_over_noise"]) == 0.75
    assert float(every["effective_rank_over_noise"]) == 2.5
    assert float(q["intruders_left"]) == 1.5
    assert float(every["intruders_right"]) == 0.5
    assert float(q["amplification"]) == 5
    assert float(q["b_over_a"]) == 50
    assert float(every["b_over_a"]) == 75


def test_the_base_the_diverged_and_the_notes(made: Path) -> None:
    found = rows(made / "spectra.csv")
    assert [r["module"] for r in found if r["method"] == "full"] == ["diverged"]
    base = [r for r in found if r["method"] == BASE]
    assert [r["module"] for r in base] == ["all", "q_proj", "up_proj"]
    assert (base[0]["intruders_left"], base[1]["rank90"]) == ("", "15")
    text = (made / "spectra.md").read_text("utf-8")
    for said in (
        "of the blocks 0, 1 alone",
        "code/lora-r8/short/s1: 3 matrices were not changed",
        "of the 10 leading directions",
        "below 0.5",
        "left out, as no matrices of a block: norm",
    ):
        assert said in text


def test_pairs(made: Path) -> None:
    (row,) = rows(made / "subspaces.csv")
    assert (row["first"], row["second"]) == ("lora-r2 short s1", "lora-r8 short s1")
    assert [float(row[key]) for key in ("top", "random_top", "phi", "random")] == [
        0.5,
        0.02,
        0.2,
        0.04,
    ]
    assert row["directions"] == "2, 2"


@pytest.mark.slow
def test_the_figure_has_a_line_for_each_method_and_one_for_noise(
    made: Path, tmp_path: Path
) -> None:
    from matplotlib.figure import Figure

    record = read_record(made / "record.json")
    figure = draw(plan(), record.results["spectra"], "code")
    assert isinstance(figure, Figure)
    (panel,) = [axes for axes in figure.axes if axes.axison]
    drawn = [list(line.get_ydata()) for line in panel.get_lines()]
    assert drawn[-1] == [0.8, 0.6]
    assert [values[0] for values in drawn] == [1.0, 1.0, 0.8]
    figures.figures(plan(), made, tmp_path / "figures")
    assert (tmp_path / "figures/spectra-code.svg").is_file()
