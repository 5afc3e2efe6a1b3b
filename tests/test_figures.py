"""The figure: its points are the records' numbers, its bytes are the same each time."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.colors import rgb_to_hsv, to_rgb

import factories
from lora_ledger import figures, tabulate
from lora_ledger.records import read_record
from lora_ledger.tables.evidence import gather

LOST = "code-ift/lora-r32/short/s1"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("figures")
    plan = factories.study()
    paths = factories.made_up(root, plan, (LOST,))
    found = {stage: [Path(p) for p in listed] for stage, listed in paths.items()}
    tabulate.run(gather(plan, **found), root / "tables")
    return root / "tables"


def test_same_bytes_and_no_date(tables: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        figures.run(factories.study(), tables, tmp_path / folder)
    names = ["learning-forgetting.png", "learning-forgetting.svg"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    svg = (tmp_path / "one" / names[1]).read_text("utf-8")
    assert "dc:date" not in svg
    for text in ("code-cpt", "repair (repair control)", "diverged: lora-r32 short s1", "lora-r8"):
        assert text in svg
    assert read_record(tmp_path / "one" / "record.json").results["figures"] == names


def test_a_point_for_each_cell_at_its_numbers(tables: Path) -> None:
    record = read_record(tables / "record.json")
    points = record.results["points"]
    figure = figures.draw(factories.study(), points, "general", record.results["diverged"])
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.axison}
    assert list(panels) == [
        "code-cpt",
        "math-cpt",
        "code-ift",
        "math-ift",
        "repair (repair control)",
    ]
    counts = [len(axes.containers) for axes in panels.values()]
    assert counts == [4, 4, 3, 4, 2]
    first = next(p for p in points if (p["setting"], p["method"]) == ("code-cpt", "full"))
    drawn = panels["code-cpt"].containers[0][0]
    assert drawn.get_xdata()[0] == pytest.approx(first["target"][0])
    assert drawn.get_ydata()[0] == pytest.approx(first["texts"]["general"][0])
    hollow = panels["repair (repair control)"].containers[0][0]
    assert (hollow.get_markerfacecolor(), drawn.get_markerfacecolor()) == ("white", "#D55E00")
    assert figure.axes[0].get_xlim()[0] < first["target"][1]
    # The control's two levels stand in every target's panel, besides zero.
    level = next(p for p in points if (p["setting"], p["method"]) == ("repair", "lora-r8"))
    flat = [
        line.get_ydata()[0] for line in panels["math-ift"].lines if line.get_linestyle() == "--"
    ]
    assert pytest.approx(level["texts"]["general"][0]) in flat
    assert len(flat) == 2


def test_ranks_darken_in_order() -> None:
    found = figures.colours(factories.study())
    values = [rgb_to_hsv(to_rgb(found[name]))[2] for name in ("lora-r2", "lora-r8", "lora-r32")]
    assert values == sorted(values, reverse=True)
    assert len(set(found.values())) == 4


def test_nothing_to_draw_is_still_a_figure(tmp_path: Path) -> None:
    tabulate.run(gather(factories.study()), tmp_path / "tables")
    figures.run(factories.study(), tmp_path / "tables", tmp_path)
    assert (tmp_path / "learning-forgetting.png").stat().st_size > 1000
