"""What all figures share: looks of arms, the legend, the title, and files with the same bytes.

In: a study's methods, names of others, a matplotlib figure. Out: a colour and a marker for each
arm, no two alike among twelve; a legend below the plots that is no wider than the page; SVG and
PNG with neither date nor version inside. It draws no data.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from lora_ledger.methods import MethodBase, colours
from lora_ledger.records.atomic import write_bytes_atomic
from lora_ledger.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

STYLE = {
    "svg.hashsalt": "lora-ledger",
    # A name is no formula, and what is between two dollars of it need not parse as one.
    "text.parse_math": False,
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
MARKERS = "osD^vPX*<>ph"
"""One for each arm, so that none is told from another by its colour alone."""
BASE = "black"
# Of Okabe and Ito's and of Tol's colours, those that the methods do not take.
OTHERS = ("#009E73", "#CC79A7", "#56B4E9", "#882255", "#999933", "#332288")
EDGE = "#333333"
LETTER = 0.085
"""Width in inches of a letter of the legend, rounded up: what a name may take of the page."""


@dataclass(frozen=True)
class Look:
    """How an arm's points are drawn, and what the legend calls it."""

    colour: str
    marker: str
    label: str

    @property
    def scale(self) -> float:
        """What makes a marker as large to the eye as a circle of the same size."""
        return 1.6 if self.marker == "*" else 1.0


def looks(methods: Mapping[str, MethodBase]) -> dict[str, Look]:
    """The look of each method: its own colour, and a marker by its place in the study."""
    known = colours(methods)
    return {
        name: Look(known[name], MARKERS[i % len(MARKERS)], method.title or name)
        for i, (name, method) in enumerate(methods.items())
    }


def looks_of_others(names: Iterable[str]) -> dict[str, Look]:
    """The look of each of somebody else's models; markers begin at the diamond."""
    return {
        name: Look(OTHERS[i % len(OTHERS)], MARKERS[(i + 2) % len(MARKERS)], name)
        for i, name in enumerate(names)
    }


def mark(colour: str, marker: str, label: str, **more: Any) -> Line2D:
    """An entry of the legend: one marker without a line, unless `more` says otherwise."""
    from matplotlib.lines import Line2D

    shown: dict[str, Any] = {"linestyle": "", "markersize": 6.5, "markeredgecolor": EDGE, **more}
    return Line2D([], [], marker=marker, color=colour, label=label, **shown)


def legend(figure: Figure, handles: Sequence[Any], axis: str = "", most: int = 6) -> None:
    """A legend below the plots, of as many columns as the page is wide, `most` at most; the page
    grows by its height. `axis` stands above it: what the horizontal axes of all plots are.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    # A name longer than the page takes several lines.
    letters = max(20, int(figure.get_figwidth() / LETTER) - 8)
    names = [str(handle.get_label()) for handle in handles]
    canvas = FigureCanvasAgg(figure)
    columns = min(most, len(handles))
    while columns:
        for handle, name in zip(handles, names, strict=True):
            handle.set_label(fill(name, letters))
        made = figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            columnspacing=1.2,
            handlelength=2.6,
            handletextpad=0.4,
            fontsize=9,
            title=axis or None,
            title_fontsize=10,
        )
        box = made.get_window_extent(canvas.get_renderer())
        if box.width <= figure.bbox.width or letters == 1:
            figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)
            return
        made.remove()
        if columns > 1:
            columns -= 1
        else:
            # Letters wider than LETTER, such as capitals.
            letters = max(1, int(letters * figure.bbox.width / box.width) - 1)


def title(figure: Figure, study: Study, *, mean: bool = False) -> None:
    """Study, model and what the bars are, above the plots; long names are wrapped."""
    models = []
    for name in study.model_names:
        entry = study.model_entry(name)
        stand_in = ", a stand-in" if entry.stand_in else ""
        models.append(f"{name}{stand_in} (base: {entry.base}, weights: {entry.weights})")
    share = f"{100 * study.evaluation.confidence:g} %"
    sampling = "sampling error of the evaluation only"
    crossed = "bases" if study.model_of_seed else "seeds"
    what = f"mean of the {crossed}, units and {crossed} crossed" if mean else sampling
    lines = (
        f"{study.name}: {', '.join(models)}",
        f"bars: {share} intervals, {what}",
    )
    letters = int(figure.get_figwidth() / LETTER)
    figure.suptitle("\n".join(fill(line, letters) for line in lines), fontsize=9)


def save(figure: Figure, out: Path, name: str) -> list[Path]:
    """SVG and PNG in the folder `out`."""
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
