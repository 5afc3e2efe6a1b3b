"""Singular values of what training changed, beside those of noise of the same shape and norm.

In: the points of `tables.spectra.points` and a study. Out: a matplotlib figure with a panel for
each module, a line for each method, of its last budget and first seed, and a dashed one for noise.
It computes no number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lora_ledger.study.schema import Study

from .style import EDGE, legend, looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLOOR = 1e-4
"""Of the norm: what is below is rounding, or a rank that has ended."""
PANELS = 4


def spectra(study: Study, points: Sequence[Mapping[str, Any]], setting: str) -> Figure:
    """The figure of one setting; without a cell that has a ΔW it says so."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import StrMethodFormatter

    lines = _lines(points, setting)
    known = looks(study.methods)
    modules = list(dict.fromkeys(name for one in lines.values() for name in one["values"]))
    high = -(-max(1, len(modules)) // PANELS)
    wide = -(-max(1, len(modules)) // high)
    size = (max(4.5, 2.1 * wide + 0.6), 1.2 + 2.2 * high)
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(high, wide, squeeze=False, sharex=True, sharey=True).flat)
    for panel, module in zip(axes, modules, strict=False):
        noise = next(o["values"][module]["noise"] for o in lines.values() if module in o["values"])
        for method, one in lines.items():
            if module in one["values"]:
                values = one["values"][module]["update"]
                shown = [v if v > FLOOR else float("nan") for v in values]
                panel.plot(
                    _places(shown),
                    shown,
                    color=known[method].colour,
                    linewidth=1.4,
                    marker=".",
                    markersize=3,
                )
        panel.plot(_places(noise), noise, color=EDGE, linestyle="--", linewidth=1.1)
        panel.set_yscale("log")
        # The labels of powers are formulas by default, which these figures do not parse.
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.set_title(module, loc="left", fontsize=9)
        panel.tick_params(labelsize=8)
    for unused in axes[len(modules) :]:
        unused.set_axis_off()
    if not modules:
        axes[0].text(0.5, 0.5, "no cell has a ΔW", ha="center", transform=axes[0].transAxes)
    figure.supylabel("singular value / norm of the change", fontsize=10)
    figure.suptitle(f"{study.name}: {setting}, mean over the blocks' matrices", fontsize=9)
    entries = [
        Line2D([], [], color=known[name].colour, label=f"{known[name].label} {one['budget']}")
        for name, one in lines.items()
    ]
    noise_line = Line2D(
        [], [], color=EDGE, linestyle="--", label="noise of the same shape and norm"
    )
    legend(figure, [*entries, noise_line], "place among the directions, from the largest (0) to 1")
    return figure


def _lines(points: Sequence[Mapping[str, Any]], setting: str) -> dict[str, Mapping[str, Any]]:
    """By method, the cell that is drawn: of its last budget and rate, and there the first seed."""
    found: dict[str, Mapping[str, Any]] = {}
    for point in points:
        held = found.get(point["method"])
        same = held and (held["budget"], held["rate"]) == (point["budget"], point["rate"])
        if point["setting"] == setting and not same:
            found[point["method"]] = point
    return found


def _places(values: Sequence[float]) -> list[float]:
    last = max(1, len(values) - 1)
    return [i / last for i in range(len(values))]
