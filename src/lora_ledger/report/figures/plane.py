"""The learning-forgetting plane: what was learned of the target against what was forgotten.

In: the points of `tables.points.plane` and a study. Out: a matplotlib figure with a panel for each
setting, a point for each cell with its intervals, and the base at the origin. A cell that diverged
has no point and is named in its panel. It computes no number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from lora_ledger.study.schema import Study

from .style import BASE, EDGE, Look, legend, looks, mark, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[Mapping[str, Any]]

WARNING = "#a00000"
# What half the page holds of the smaller letters.
LETTERS = 60


def plane(study: Study, points: Points, text: str, diverged: Mapping[str, Sequence[str]]) -> Figure:
    """The figure for one general text; `diverged` names, by setting, the cells without a point."""
    from matplotlib.figure import Figure

    settings = [
        name
        for name in study.settings
        if name in diverged or any(p["setting"] == name for p in points)
    ]
    width = 2 if len(settings) > 1 else 1
    height = -(-max(1, len(settings)) // width)
    used = {p["method"] for p in points}
    known = {name: look for name, look in looks(study.methods).items() if name in used}
    figure = Figure(figsize=(8, 1.1 + 2.7 * height), layout="constrained")
    axes = list(figure.subplots(height, width, squeeze=False, sharey=True).flat)
    for panel, name in zip(axes, settings, strict=False):
        mine = [p for p in points if p["setting"] == name and text in p["texts"]]
        _panel(panel, study, name, mine, text, known)
        if name in diverged:
            panel.text(
                0.02,
                0.03,
                fill(f"diverged: {', '.join(diverged[name])}", LETTERS),
                fontsize=8,
                color=WARNING,
                transform=panel.transAxes,
                zorder=5,
            )
        if study.settings[name].role != "control":
            _controls(panel, points, text, known)
    for unused in axes[len(settings) :]:
        unused.set_axis_off()
    figure.supylabel(f"change in text “{text}”, bits per byte  (up: forgot more)", fontsize=10)
    title(figure, study)
    axis = "change in target loss, bits per byte of validation  (left: learned more)"
    legend(figure, _entries(study, points, known), axis)
    return figure


def _panel(
    axes: Axes, study: Study, setting: str, points: Points, text: str, known: Mapping[str, Look]
) -> None:
    control = study.settings[setting].role == "control"
    axes.axhline(0, color="#888888", linewidth=0.8, zorder=1)
    axes.axvline(0, color="#888888", linewidth=0.8, zorder=1)
    axes.plot(0, 0, marker="+", color=BASE, markersize=11, markeredgewidth=1.8, zorder=4)
    for point in points:
        (x, x_low, x_high), (y, y_low, y_high) = point["target"], point["texts"][text]
        look = known[point["method"]]
        axes.errorbar(
            x,
            y,
            xerr=[[x - x_low], [x_high - x]],
            yerr=[[y - y_low], [y_high - y]],
            fmt=look.marker,
            color=look.colour,
            markersize=_size(study, point["budget"]) * look.scale,
            markerfacecolor="white" if control else look.colour,
            markeredgewidth=1.4 if control else 1.0,
            markeredgecolor=look.colour if control else EDGE,
            elinewidth=1.2,
            capsize=2,
            zorder=3,
        )
    axes.set_title(setting + (" (repair control)" if control else ""), loc="left")
    axes.margins(0.12)
    axes.locator_params(nbins=5)


def _controls(axes: Axes, points: Points, text: str, known: Mapping[str, Look]) -> None:
    """The level that the repair control reached, by method and budget."""
    levels: dict[tuple[str, str], list[float]] = {}
    for point in points:
        if point["role"] == "control" and text in point["texts"]:
            arm = (point["method"], point["budget"])
            levels.setdefault(arm, []).append(point["texts"][text][0])
    for (method, _), found in levels.items():
        axes.axhline(
            sum(found) / len(found),
            color=known[method].colour,
            linewidth=1.1,
            linestyle=(0, (4, 3)),
            zorder=2,
        )


def _size(study: Study, budget: str) -> float:
    """Points are larger for later budgets of the study."""
    return 6.5 + 2 * list(study.budgets).index(budget)


def _entries(study: Study, points: Points, known: Mapping[str, Look]) -> list[Any]:
    """The base, the methods, the control and, where there are several, the budgets."""
    entries = [mark(BASE, "+", "base", markersize=10, markeredgewidth=1.8, markeredgecolor=BASE)]
    entries += [
        mark(look.colour, look.marker, look.label, markersize=6.5 * look.scale)
        for look in known.values()
    ]
    if any(p["role"] == "control" for p in points):
        entries.append(
            mark(
                "#555555",
                "o",
                "repair control, its level",
                linestyle="--",
                markerfacecolor="white",
                markeredgecolor="#555555",
            )
        )
    budgets = {p["budget"] for p in points}
    if len(budgets) > 1:
        entries += [
            mark("#bbbbbb", "o", f"budget {name}", markersize=_size(study, name))
            for name in study.budgets
            if name in budgets
        ]
    return entries
