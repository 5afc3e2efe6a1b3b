"""figures: what was learned against what was forgotten, and accuracies beside chance.

In: `record.json` of `tabulate`, and the study for the order of its methods.
Out: SVG and PNG. `learning-forgetting`: one panel for each setting, a point for each cell with its
intervals, the base at the origin. `forgetting-gauntlet` and `benchmarks`: see `dotplots`. The same
input gives the same bytes.
It computes no number; diverged cells have no point and are named in their panel.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.methods import colours
from lora_ledger.records.atomic import write_bytes_atomic
from lora_ledger.records.record import Record, read_record
from lora_ledger.report.figures import intervals
from lora_ledger.scheduling.stage import Stage, every_method, of_the_whole
from lora_ledger.study import cells
from lora_ledger.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vPX*"
NAME = "learning-forgetting"
GAUNTLET = "forgetting-gauntlet"
BENCHMARKS = "benchmarks"
STYLE = {
    "svg.hashsalt": "lora-ledger",
    "svg.fonttype": "none",
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
}


STAGE = Stage("figures", ("the first",), of_the_whole, modules=every_method)


def draw(
    study: Study,
    points: Sequence[Mapping[str, Any]],
    text: str,
    diverged: Mapping[str, Sequence[str]],
) -> Figure:
    """The figure for one general text; each point is an entry of `tables.points.plane`.

    `diverged` names, by setting, the cells that have no point.
    """
    from matplotlib.figure import Figure

    settings = [
        name
        for name in study.settings
        if name in diverged or any(p["setting"] == name for p in points)
    ]
    width = 2 if len(settings) > 1 else 1
    height = -(-max(1, len(settings)) // width)
    figure = Figure(figsize=(8, 1.5 + 2.7 * height), layout="constrained")
    grid = figure.subplots(height, width, squeeze=False, sharey=True)
    axes = list(grid.flat)
    for i, name in enumerate(settings):
        mine = [p for p in points if p["setting"] == name]
        _panel(axes[i], study, name, mine, MARKERS[i % len(MARKERS)], text)
        if name in diverged:
            axes[i].text(
                0.02,
                0.03,
                f"diverged: {', '.join(diverged[name])}",
                fontsize=8,
                color="#a00000",
                transform=axes[i].transAxes,
                zorder=5,
            )
        _controls(axes[i], study, points, name, text)
    for unused in axes[len(settings) :]:
        unused.set_axis_off()
    figure.supxlabel(
        "change in target loss, bits per byte of validation  (left: learned more)", fontsize=10
    )
    figure.supylabel(f"change in text “{text}”, bits per byte  (up: forgot more)", fontsize=10)
    _legend(figure, study, points)
    return figure


def _panel(
    axes: Axes,
    study: Study,
    setting: str,
    points: Sequence[Mapping[str, Any]],
    marker: str,
    text: str,
) -> None:
    known = colours(study.methods)
    control = study.settings[setting].role == "control"
    axes.axhline(0, color="#888888", linewidth=0.8, zorder=1)
    axes.axvline(0, color="#888888", linewidth=0.8, zorder=1)
    axes.plot(0, 0, marker="+", color="black", markersize=11, markeredgewidth=1.8, zorder=4)
    budgets = list(study.budgets)
    for point in points:
        if text not in point["texts"]:
            continue
        (x, x_low, x_high), (y, y_low, y_high) = point["target"], point["texts"][text]
        colour = known[point["method"]]
        axes.errorbar(
            x,
            y,
            xerr=[[x - x_low], [x_high - x]],
            yerr=[[y - y_low], [y_high - y]],
            fmt=marker,
            color=colour,
            markersize=6.5 + 2 * budgets.index(point["budget"]),
            markerfacecolor="white" if control else colour,
            markeredgewidth=1.4,
            markeredgecolor=colour if control else "#333333",
            elinewidth=1.2,
            capsize=2,
            zorder=3,
        )
    axes.set_title(setting + (" (repair control)" if control else ""), loc="left")
    axes.margins(0.12)
    axes.locator_params(nbins=5)


def _controls(
    axes: Axes, study: Study, points: Sequence[Mapping[str, Any]], setting: str, text: str
) -> None:
    """In a target's panel, the level that the repair control reached, by method and budget."""
    if study.settings[setting].role == "control":
        return
    known = colours(study.methods)
    levels: dict[tuple[str, str], list[float]] = {}
    for point in points:
        if point["role"] == "control" and text in point["texts"]:
            arm = (point["method"], point["budget"])
            levels.setdefault(arm, []).append(point["texts"][text][0])
    for (method, _), found in levels.items():
        axes.axhline(
            sum(found) / len(found),
            color=known[method],
            linewidth=1.1,
            linestyle=(0, (4, 3)),
            zorder=2,
        )


def _legend(figure: Figure, study: Study, points: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.lines import Line2D

    used = [name for name in study.methods if any(p["method"] == name for p in points)]
    known = colours(study.methods)
    handles = [
        Line2D(
            [],
            [],
            marker="+",
            color="black",
            linestyle="",
            markersize=10,
            markeredgewidth=1.8,
            label="base",
        )
    ]
    handles += [
        Line2D(
            [],
            [],
            marker="o",
            color=known[name],
            linestyle="",
            markersize=7,
            markeredgecolor="#333333",
            label=study.methods[name].title or name,
        )
        for name in used
    ]
    if any(p["role"] == "control" for p in points):
        handles.append(
            Line2D(
                [],
                [],
                marker="o",
                color="#555555",
                markerfacecolor="white",
                linestyle="--",
                label="repair control, its level",
            )
        )
    budgets = list(dict.fromkeys(p["budget"] for p in points))
    if len(budgets) > 1:
        ordered = [name for name in study.budgets if name in budgets]
        handles += [
            Line2D(
                [],
                [],
                marker="o",
                color="#bbbbbb",
                linestyle="",
                label=f"budget {name}",
                markersize=6.5 + 2 * list(study.budgets).index(name),
            )
            for name in ordered
        ]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=min(6, len(handles)),
        frameon=False,
        columnspacing=1.2,
        handlelength=2.6,
        handletextpad=0.4,
        fontsize=9,
        title=_title(study),
        title_fontsize=9,
    )


def _title(study: Study, *, mean: bool = False) -> str:
    entry = study.model_entry()
    stand_in = ", a stand-in" if entry.stand_in else ""
    share = f"{100 * study.evaluation.confidence:g} %"
    sampling = "sampling error of the evaluation only"
    return (
        f"{study.name}: {study.model}{stand_in} (base: {entry.base}, weights: {entry.weights})\n"
        f"bars: {share} intervals, "
        + ("mean of the seeds, units and seeds crossed" if mean else sampling)
    )


def save(figure: Figure, out: Path, name: str) -> list[Path]:
    """SVG and PNG with neither date nor version inside."""
    import matplotlib

    paths = []
    with matplotlib.rc_context(STYLE):
        for suffix, metadata in (
            ("svg", {"Date": None, "Creator": None}),
            ("png", {"Software": None}),
        ):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, dpi=150, metadata=metadata)
            paths.append(out / f"{name}.{suffix}")
            write_bytes_atomic(paths[-1], buffer.getvalue())
    return paths


def figure_of(study: Study, results: Mapping[str, Any], name: str) -> Figure:
    """The figure of that name, one of `plan.figures`, from the results of `tabulate`.

    Raises ValueError when they have no points for it.
    """
    if name in (GAUNTLET, BENCHMARKS):
        dots = results.get("intervals", {}).get(name)
        if dots is None:
            raise ValueError(
                f"{name}: found no points in the tables, expected some; tabulate again"
            )
        if name == BENCHMARKS:
            return intervals.benchmarks(dots, _title(study))
        return intervals.gauntlet(
            dots, colours(study.methods), _title(study, mean=len(study.seeds) > 1)
        )
    texts = list(study.evaluation.texts) or [""]
    text = texts[0] if name == NAME else name.removeprefix(f"{NAME}-")
    return draw(study, results["plane"], text, results["diverged"])


def run(study: Study, tables: Path, out: Path) -> Record:
    """Draw the study's figures (`plan.figures`) and write the record."""
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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="figures", description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--tables", required=True, type=Path, help="folder that tabulate wrote")
    parser.add_argument("--out", required=True, type=Path, help="folder of the figures")
    args = parser.parse_args(argv)
    from lora_ledger.study.file import StudyError, load

    try:
        run(load(args.study), args.tables, args.out)
    except (StudyError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
