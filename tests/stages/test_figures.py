"""The figure: its points are the records' numbers, its bytes are the same each time."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.figure import Figure

import factories
from lora_ledger.records.record import read_record
from lora_ledger.report.figures.intervals import benchmarks as draw_benchmarks
from lora_ledger.report.figures.intervals import gauntlet
from lora_ledger.report.figures.plane import plane
from lora_ledger.report.figures.style import STYLE, legend, looks, mark
from lora_ledger.stages import figures, tabulate
from lora_ledger.tables.evidence import gather
from made_study import made_up

NAMES = ("hellaswag", "winogrande")
LOST = "code-ift/lora-r32/short/s1"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("figures")
    plan = factories.study()
    paths = made_up(root, plan, (LOST,))
    tabulate.tabulate(gather(plan, paths), root / "tables")
    return root / "tables"


@pytest.mark.slow
def test_same_bytes_and_no_date(tables: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        figures.figures(factories.study(), tables, tmp_path / folder)
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
    points = record.results["plane"]
    figure = plane(factories.study(), points, "general", record.results["diverged"])
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


def test_nothing_to_draw_is_still_a_figure(tmp_path: Path) -> None:
    tabulate.tabulate(gather(factories.study(), []), tmp_path / "tables")
    figures.figures(factories.study(), tmp_path / "tables", tmp_path)
    assert (tmp_path / "learning-forgetting.png").stat().st_size > 1000


def benchmarks(root: Path, **changes: Any) -> dict[str, Any]:
    """What `tabulate` gives the dot plots: base 15 of 20 and 8 of 16 right, all others 10 and 8."""
    evaluation = factories.study().model_dump(mode="json")["evaluation"]
    evaluation["likelihood"] = {name: {"task": name, "corpus": "texts"} for name in NAMES}
    evaluation["gauntlet_mean"] = NAMES
    evaluation["generate"] = {}
    other = {"paper": {"source": {"kind": "local", "path": "adapter"}}}
    settings = {"code": {"corpus": "texts", "regime": "cpt"}}
    raw = {"settings": settings, "others": other, "evaluation": evaluation, **changes}
    plan = factories.study(**raw)
    train, retain = [], []
    for label in figures.cells.labels(plan):
        if label == "code/lora-r2/short/s1":
            train.append(root / "lost.json")
            factories.diverged(train[-1], "train", label)
            continue
        if label.startswith("code"):
            train.append(root / "train" / f"{label}.json")
            factories.train(train[-1], label, [1.0], [0.5], [4])
        right = 15 if label == "base" else 10
        tasks = {
            "hellaswag": factories.choices([1] * right + [0] * (20 - right), 4),
            "winogrande": factories.choices([1] * 8 + [0] * 8, 2),
        }
        retain += factories.answered(root, label, tasks, {"hellaswag": (10, "same rows")})
    tabulate.tabulate(gather(plan, [*train, *retain]), root / "tables")
    return {"plan": plan, "dots": read_record(root / "tables" / "record.json").results["intervals"]}


def test_forgetting_gauntlet_has_every_arm_at_its_numbers(tmp_path: Path) -> None:
    made = benchmarks(tmp_path)
    dots = made["dots"]["forgetting-gauntlet"]
    figure = gauntlet(made["plan"], dots)
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.axison}
    assert list(panels) == [
        "gauntlet_mean",
        "gauntlet_mean\nwithout winogrande",
        "hellaswag\n10-shot\nsame rows as upstream",
        "winogrande (at chance)",
    ]
    mean = panels["gauntlet_mean"]
    # The base, three cells and the other; lora-r2 diverged.
    assert [c[0].get_xdata()[0] for c in mean.containers] == [0.625, 0.5, 0.5, 0.5, 0.5]
    assert [text.get_text() for text in mean.texts] == ["diverged"]
    chance = [line.get_xdata()[0] for line in mean.lines if line.get_linestyle() == "--"]
    assert chance == [0.375]
    names = [label.get_text() for label in mean.get_yticklabels()]
    assert names == [
        "base", "code", "full", "lora-r2", "lora-r8", "lora-r32", "external", "paper",
    ]  # fmt: skip
    # Each stands on the row of its name; wilson's interval of 15 of 20 is 0.531 to 0.888.
    rows = [c[0].get_ydata()[0] for c in panels["winogrande (at chance)"].containers]
    assert [names[int(row)] for row in rows] == ["base", "full", "lora-r8", "lora-r32", "paper"]
    bar = panels["hellaswag\n10-shot\nsame rows as upstream"].containers[0][2][0]
    assert bar.get_segments()[0][:, 0] == pytest.approx([0.531, 0.888], abs=1e-3)


def test_benchmarks_of_the_base_and_of_others(tmp_path: Path) -> None:
    made = benchmarks(tmp_path, settings={}, methods={}, budgets={})
    axes = draw_benchmarks(made["plan"], made["dots"]["benchmarks"]).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [
        "hellaswag",
        "accuracy",
        "accuracy, by loss per token",
        "winogrande",
        "accuracy (at chance)",
        "accuracy, by loss per token (at chance)",
        "gauntlet_mean",
        "all its tasks",
        "without winogrande",
    ]
    found = [c[0].get_xdata()[0] for c in axes.containers]
    assert found == [0.75, 0.5] * 2 + [0.5, 0.5] * 2 + [0.625, 0.5, 0.75, 0.5]
    # The base and the other share a row, one above and one below its middle.
    assert [round(c[0].get_ydata()[0], 6) for c in axes.containers][:2] == [0.8, 1.2]


@pytest.mark.slow
def test_every_figure_of_a_study_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = benchmarks(tmp_path)["plan"]
    names = ["learning-forgetting", "forgetting-gauntlet"]
    monkeypatch.setattr(figures.cells, "figures", lambda study: names)
    for folder in ("one", "two"):
        figures.figures(plan, tmp_path / "tables", tmp_path / folder)
    svg = (tmp_path / "one" / "forgetting-gauntlet.svg").read_text("utf-8")
    assert "without winogrande" in svg
    assert "dc:date" not in svg
    for name in names:
        for form in ("svg", "png"):
            both = [(tmp_path / f / f"{name}.{form}").read_bytes() for f in ("one", "two")]
            assert both[0] == both[1]
    monkeypatch.setattr(figures.cells, "figures", lambda study: ["benchmarks"])
    with pytest.raises(ValueError, match="benchmarks: found no points in the tables"):
        figures.figures(plan, tmp_path / "tables", tmp_path)


VARIANTS = [
    {"rank": 2}, {"rank": 4}, {"rank": 16}, {"rank": 2, "dora": True}, {"rank": 2, "rslora": True},
    {"rank": 2, "init": "pissa"}, {"rank": 2, "init": "olora"}, {"rank": 4, "rslora": True},
    {"rank": 2, "target_modules": "mlp"}, {"rank": 4, "target_modules": "attention"},
]  # fmt: skip


@pytest.fixture
def twelve() -> dict[str, Any]:
    """Twelve arms, ten of them LoRAs, with names that are no shorter than real ones."""
    methods: dict[str, Any] = {
        "full-fine-tuning-of-all-weights": {"kind": "full", "learning_rates": [1e-4]},
        "full-fine-tuning-of-the-linear-layers": {"kind": "full-linear", "learning_rates": [1e-4]},
    }
    for i, keys in enumerate(VARIANTS):
        name = f"lora-number-{i}-" + "-".join(map(str, keys))
        methods[name.replace("_", "-")] = {"kind": "lora", "learning_rates": [1e-3], **keys}
    return methods


def test_twelve_arms_are_told_apart_by_marker_and_by_colour(twelve: dict[str, Any]) -> None:
    found = looks(factories.study(methods=twelve, settings={}).methods)
    assert len({look.marker for look in found.values()}) == 12
    assert len({look.colour for look in found.values()}) == 12


@pytest.mark.parametrize("name", ["W" * 105, "漢" * 80, r"a $\frac$ b", "from $1 to $2", "_hidden"])
def test_a_name_is_drawn_as_it_stands(name: str) -> None:
    """Of letters wider than others, between dollars, or with what hides a label elsewhere."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # The font has no Chinese, and draws a box of the same width.
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(9, 4))
        legend(figure, [mark("black", "o", name), mark("black", "s", "b")])
        figure.draw_without_rendering()
    (made,) = figure.legends
    assert made.get_window_extent().width <= figure.bbox.width
    assert "".join(made.get_texts()[0].get_text().split("\n")) == name


@pytest.mark.parametrize("longer", [1, 4])
def test_no_legend_is_wider_than_the_page(twelve: dict[str, Any], longer: int) -> None:
    methods = {"-".join([name] * longer): keys for name, keys in twelve.items()}
    code = {"corpus": "texts", "regime": "cpt"}
    plan = factories.study(methods=methods, settings={"code": code})
    points = [
        {
            "setting": "code", "role": "target", "method": name, "budget": "short", "seed": 1,
            "target": [-0.1 * i, -0.1 * i, -0.1 * i], "texts": {"general": [0.1, 0.0, 0.2]},
        }
        for i, name in enumerate(methods)
    ]  # fmt: skip
    figure = plane(plan, points, "general", {})
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    # Below the plots, which keep most of the page's width.
    panel = figure.axes[0].get_window_extent()
    assert box.y1 < panel.y0
    assert panel.width > 0.6 * figure.bbox.width
    assert panel.height > 100
    assert len(legend.get_texts()) == 13
