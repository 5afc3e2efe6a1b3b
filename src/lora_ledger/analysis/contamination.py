"""How many of a task's items a training text holds, whether that is too many, and how it is told.

In: items and training texts; or what was measured, of several pairs. Out: shares by three measures
(`overlap`), the same for the task's own training text, which is what two independent texts of one
kind share, and the measures that stop the pair, by the limits below; or the message that says what
was found and what to do. It reads no corpus and knows nothing of descent: that a corpus was made
from the task is refused when the study is read.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import islice
from typing import Any

from . import overlap
from .overlap import MEASURES, Measure, Overlap

GRAM_LIMIT = Fraction(1, 100)
"""Share of items with a 13-gram in the training text, above which a pair stops."""
NOISE_TIMES = 5
"""A template share above this many times the noise stops; above GRAM_LIMIT where it is 0."""
EXCERPTS = 20
SHOWN = 3
QUESTION = 80

Examples = Iterable[tuple[str, str]]
"""(id, text) of each training example."""


def limits() -> dict[str, float]:
    """What decides the measures and the verdict, for the record."""
    return {
        "gram": overlap.GRAM,
        "common": overlap.COMMON,
        "plain": overlap.PLAIN,
        "shortest": overlap.SHORTEST,
        "gram_limit": float(GRAM_LIMIT),
        "noise_times": NOISE_TIMES,
    }


def measure(
    ids: list[str], asked: list[str], training: Examples, own: Examples | None, *, same: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(results, times) of the items `ids`, which ask `asked`.

    `own` is what the task itself was published to train on, None where there is nothing; `same`
    says that it is what `training` is, and then it is not read.
    """
    started = time.perf_counter()
    found = look(ids, asked, training)
    seconds = time.perf_counter() - started
    noise = found if same else None if own is None else look(ids, asked, own)
    speed = round(found.words / seconds)
    return results(found, asked, noise), {
        "scan_seconds": round(seconds, 2),
        "words_per_second": speed,
    }


def look(ids: list[str], asked: list[str], training: Examples) -> Overlap:
    """The items, and where in the training examples they were found."""
    found = Overlap(ids, asked)
    for identifier, text in training:
        found.add(identifier, text)
    found.finish()
    return found


def share(measure: Measure) -> Fraction | None:
    """Items that were hit over items that can be measured; None when none can."""
    return Fraction(len(measure.hits), len(measure.measurable)) if measure.measurable else None


def summary(found: Overlap) -> dict[str, dict[str, Any]]:
    """Each measure's counts and share, and the ids of the items that were hit."""
    told = {}
    for name in MEASURES:
        measure = found.measures[name]
        value = share(measure)
        told[name] = {
            "measurable": len(measure.measurable),
            "too_short": measure.too_short,
            "common_only": measure.common_only,
            "hits": len(measure.hits),
            "share": None if value is None else float(value),
            "ids": [found.ids[i] for i in sorted(measure.hits)],
        }
    return told


def verdict(
    measured: Mapping[str, Fraction | None], noise_template: Fraction | None
) -> list[tuple[str, Fraction, Fraction, str]]:
    """(measure, share, limit, why that is the limit) of every measure that stops the pair.

    A share at its limit does not stop. The template measure is judged only where the noise is
    known.
    """
    limits: dict[str, tuple[Fraction, str]] = {
        "verbatim": (Fraction(0), "no question may stand whole in the training text"),
        "13-gram": (GRAM_LIMIT, "fixed"),
    }
    if noise_template == 0:
        limits["template"] = (GRAM_LIMIT, "fixed, as the noise is 0")
    elif noise_template is not None:
        limits["template"] = (
            NOISE_TIMES * noise_template,
            f"{NOISE_TIMES} times the noise of {float(noise_template):.2%}",
        )
    stops = []
    for name, (limit, why) in limits.items():
        value = measured[name]
        if value is not None and value > limit:
            stops.append((name, value, limit, why))
    return stops


def results(found: Overlap, asked: list[str], noise: Overlap | None) -> dict[str, Any]:
    """Counts, shares, hits and stops, as the record has them."""
    hits = {name: found.measures[name].hits for name in MEASURES}
    measured = {name: share(found.measures[name]) for name in MEASURES}
    background = None if noise is None else share(noise.measures["template"])
    dirty = sorted({*hits["verbatim"], *hits["13-gram"]})
    excerpts = (
        {
            "item": found.ids[i],
            "question": short(asked[i]),
            "measure": name,
            "example": hits[name][i].example,
            "words": hits[name][i].words,
        }
        for name in MEASURES
        for i in sorted(hits[name])
        if not any(i in hits[other] for other in MEASURES[: MEASURES.index(name)])
    )
    return {
        "items": len(found.ids),
        "training": {"examples": found.examples, "words": found.words},
        "measures": summary(found),
        "dirty": [found.ids[i] for i in dirty],
        "excerpts": list(islice(excerpts, EXCERPTS)),
        "noise": None
        if noise is None
        else {"examples": noise.examples, "words": noise.words, "measures": summary(noise)},
        "stops": [
            {
                "measure": name,
                "share": float(value),
                "limit": float(limit),
                "why": why,
                "items": [
                    {"id": found.ids[i], "question": short(asked[i])}
                    for i in sorted(hits[name])[:SHOWN]
                ],
            }
            for name, value, limit, why in verdict(measured, background)
        ],
    }


def short(question: str) -> str:
    """The first characters of a question, on one line."""
    return " ".join(question.split())[:QUESTION]


def refusal(setting: str, stopped: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """What was found in which pair (corpus, run), with some of the items, and what to do.

    `stopped` has the results of each pair that stops.
    """
    lines = [f"settings.{setting}: its corpus holds items of a task that its cells are scored on"]
    for (corpus, run), told in stopped.items():
        for stop in told["stops"]:
            one = told["measures"][stop["measure"]]
            lines.append(
                f"  {corpus} -> {run}: {stop['measure']}: found {one['hits']} of "
                f"{one['measurable']} items, {stop['share']:.2%}; expected at most "
                f"{stop['limit']:.2%} ({stop['why']})"
            )
            lines += [f"    {item['id']}  {item['question']}" for item in stop["items"]]
    lines.append(
        "  Train on another corpus; or drop the task; or, where the overlap is known and wanted, "
        "name the pair with a reason in the study:"
    )
    lines.append("  contamination:")
    lines += [f'    - {{corpus: {corpus}, task: {run}, reason: "…"}}' for corpus, run in stopped]
    return "\n".join(lines)
