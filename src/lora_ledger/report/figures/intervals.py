"""Accuracies with their intervals: forgetting on the Gauntlet's tasks, benchmarks of a base model.

In: the points of `tables.points.intervals` and a study. Out: matplotlib figures, each accuracy with
its interval and the value of guessing beside it.
It computes no number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from lora_ledger.study.schema import Study

from .style import BASE, EDGE, Look, legend, looks, looks_of_others, mark, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Measures = Sequence[Mapping[str, Any]]
Key = tuple[str, str, str, str]

CHANCE = "#a00000"
BAND = "#ececec"
ROW = 0.25
PANELS = 5
# What a panel of 2.1 inches holds of its title.
LETTERS = 28


def gauntlet(study: Study, measures: Measures) -> Figure:
    """A panel for each measure, a row for each arm; arms stand below the name of their setting.

    A grey band is the base's interval, where there is one base. An arm that diverged says so.
    """
    from matplotlib.figure import Figure

    places, labels = _places(measures)
    high = -(-max(1, len(measures)) // PANELS)
    wide = -(-max(1, len(measures)) // high)
    size = (2.4 + 2.1 * wide, 1.5 + high * (0.9 + ROW * max(4, len(labels))))
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(high, wide, squeeze=False, sharey=True).flat)
    known = {"cell": looks(study.methods), "other": looks_of_others(_others(measures))}
    for panel, measure in zip(axes, measures, strict=False):
        _panel(panel, measure, places, known)
        _names(panel, labels)
    for unused in axes[len(measures) :]:
        unused.set_axis_off()
    title(figure, study, mean=len(study.seeds) > 1)
    axis = "share of items answered right, by loss per token"
    _legend(figure, [], axis, band=not study.several, chance="--")
    return figure


def _others(measures: Measures) -> list[str]:
    """Somebody else's models among the rows, each once."""
    every = (row for measure in measures for row in measure["rows"])
    return list(dict.fromkeys(row["method"] for row in every if row["kind"] == "other"))


def _places(measures: Measures) -> tuple[dict[Key, int], list[tuple[str, bool]]]:
    """The row of each arm, and the rows' labels from the top with whether each is a heading."""
    arms = dict.fromkeys(_key(row) for measure in measures for row in measure["rows"])
    several = len({key[2] for key in arms if key[2]}) > 1
    models = len({key[3] for key in arms if key[3]}) > 1
    places: dict[Key, int] = {}
    labels: list[tuple[str, bool]] = []
    above = ""
    for key in arms:
        setting, method, budget, model = key
        if setting and setting != above:
            labels.append((setting, True))
            above = setting
        places[key] = len(labels)
        parts = [method, budget if several else "", model if models else ""]
        labels.append(("  ".join(filter(None, parts)), False))
    return places, labels


def _key(row: Mapping[str, Any]) -> Key:
    return (
        row.get("setting", ""), row["method"], row.get("budget") or "", row.get("model") or "",
    )  # fmt: skip


def _panel(
    axes: Axes,
    measure: Mapping[str, Any],
    places: Mapping[Key, int],
    known: Mapping[str, Mapping[str, Look]],
) -> None:
    bases = sum(row["kind"] == "base" for row in measure["rows"])
    for row in measure["rows"]:
        place, found = places[_key(row)], row["value"]
        if found is None:
            axes.text(
                0.5, place, "diverged", color=CHANCE, fontsize=8, ha="center", va="center",
                transform=axes.get_yaxis_transform(),
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5}, zorder=4,
            )  # fmt: skip
            continue
        if row["kind"] == "base":
            if bases == 1:
                axes.axvspan(found[1], found[2], color=BAND, zorder=0)
                axes.axvline(found[0], color="#888888", linewidth=0.8, zorder=1)
            _dot(axes, found, place, BASE, "o")
        else:
            look = known[row["kind"]][row["method"]]
            hollow = row.get("setting", "").endswith("(control)")
            _dot(axes, found, place, look.colour, look.marker, hollow=hollow)
    if measure["chance"] is not None:
        axes.axvline(measure["chance"], color=CHANCE, linewidth=1.1, linestyle="--", zorder=1)
    name = measure["what"].replace(" without ", "\nwithout ") if measure["mean"] else measure["run"]
    below = "" if measure["mean"] else measure["note"].replace("; ", "\n")
    told = f"{name}{' (at chance)' if measure['at_chance'] else ''}\n{below}"
    lines = [part for line in told.splitlines() for part in wrap(line, LETTERS)]
    axes.set_title("\n".join(lines), loc="left", fontsize=9)
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=4)


def _dot(
    axes: Axes,
    found: Sequence[float],
    place: float,
    colour: str,
    marker: str,
    *,
    hollow: bool = False,
) -> None:
    value, low, high = found
    axes.errorbar(
        value,
        place,
        xerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
        fmt=marker,
        color=colour,
        markersize=5.5,
        markerfacecolor="white" if hollow else colour,
        markeredgewidth=1.2,
        markeredgecolor=colour if hollow else EDGE,
        elinewidth=1.3,
        capsize=2,
        zorder=3,
    )


def _names(axes: Axes, labels: Sequence[tuple[str, bool]]) -> None:
    """Rows from the top; headings are bold and hold no point. Only the left panel shows them."""
    axes.set_yticks(range(len(labels)), [text for text, _ in labels], fontsize=9)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=9)
    for tick, (_, heading) in zip(axes.get_yticklabels(), labels, strict=False):
        if heading:
            tick.set_fontweight("bold")


def benchmarks(study: Study, measures: Measures) -> Figure:
    """One panel: a row for each accuracy below the name of its task, the base and others in it; of
    several bases from the top in the order of the study."""
    from matplotlib.figure import Figure

    labels: list[tuple[str, bool]] = []
    notes: dict[int, str] = {}
    places = []
    for i, measure in enumerate(measures):
        if i == 0 or measure["run"] != measures[i - 1]["run"]:
            notes[len(labels)] = "" if measure["mean"] else measure["note"]
            labels.append((measure["run"], True))
        places.append(len(labels))
        what = measure["what"].removeprefix(f"{measure['run']} ")
        what = "all its tasks" if what == measure["run"] else what
        labels.append((what + (" (at chance)" if measure["at_chance"] else ""), False))
    others = looks_of_others(_others(measures))
    bases = list(study.model_names) if study.several else [""]
    places_of = {("base", name): i for i, name in enumerate(bases)}
    places_of |= {("other", name): len(bases) + i for i, name in enumerate(others)}
    step = 0.8 / len(places_of)
    height = 1.6 + len(labels) * (ROW + 0.06 * (len(places_of) - 1))
    figure = Figure(figsize=(8, max(3.0, height)), layout="constrained")
    axes = figure.subplots()
    for place, measure in zip(places, measures, strict=True):
        top = place - step * (len(places_of) - 1) / 2
        for row in measure["rows"]:
            if row["kind"] == "base":
                i = places_of["base", row.get("model") or ""]
                _dot(axes, row["value"], top + step * i, BASE, "o")
            else:
                look, i = others[row["method"]], places_of["other", row["method"]]
                _dot(axes, row["value"], top + step * i, look.colour, look.marker)
        if measure["chance"] is not None:
            ends = [place - 0.42, place + 0.42]
            axes.plot([measure["chance"]] * 2, ends, color=CHANCE, linewidth=1.4, zorder=1)
    _names(axes, labels)
    for place, note in notes.items():
        axes.text(0.01, place, note, fontsize=8.5, color="#555555", va="center")
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of right answers")
    title(figure, study)
    marks = [mark(o.colour, o.marker, o.label) for o in others.values()]
    _legend(figure, marks, "", band=False, chance="-")
    return figure


def _legend(figure: Figure, others: Sequence[Any], axis: str, *, band: bool, chance: str) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries: list[Any] = [mark(BASE, "o", "base")]
    if band:
        entries.append(Patch(color=BAND, label="interval of the base"))
    entries += others
    entries.append(Line2D([], [], color=CHANCE, linestyle=chance, label="chance"))
    legend(figure, entries, axis, most=5)
