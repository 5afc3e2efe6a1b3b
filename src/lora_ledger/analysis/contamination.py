"""How much of a task's questions stands in a training text, and whether that is too much.

In: the questions, and the training text example by example; the same of a text that is independent
of them, whose share is what two texts of one kind have in common. Out: counts and shares by three
measures (`overlap`), excerpts, and the reasons to stop, by the limits below.
It reads no file and stops nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import islice
from typing import Any

from .overlap import MEASURES, Measure, Overlap

GRAM_LIMIT = Fraction(1, 100)
"""Share of items with a 13-gram in the training text, above which a pair stops."""
NOISE_TIMES = 5
"""A template share above this many times the noise stops; above GRAM_LIMIT where it is 0."""
EXCERPTS = 20
SHOWN = 3
QUESTION = 80


def look(ids: list[str], asked: list[str], training: Iterable[tuple[str, str]]) -> Overlap:
    """The items, and where in the training examples, pairs of id and text, they were found."""
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
    """The record's results but for what names splits and permission."""
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
