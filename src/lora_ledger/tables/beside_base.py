"""What `retain` measured of cells beside their base: divergences of the next token, and CSD.

In: `Evidence` with retain records of texts and prompts that ask for it.
Out: `Measure`s, at which the base is 0, and notes of what they are and of whom they are not.
It formats no table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .evidence import Evidence
from .measures import Measure, Series, against_base, clusters

DIGITS = 5
QUANTITIES = (
    ("divergence", "base_cell", "KL(base ‖ cell), nats per token"),
    ("divergence", "cell_base", "KL(cell ‖ base), nats per token"),
    ("csd", "absolute", "CSD, ‖ΔW h‖² per token"),
    ("csd", "relative", "CSD, ‖ΔW h‖² over ‖W₀ h‖²"),
)


def beside_base(evidence: Evidence) -> Iterator[Measure]:
    """Each quantity that a text or prompts ask for, a mean over positions."""
    for name, found in _asked(evidence):
        first = next(iter(found.values()))
        units = "documents" if "documents" in first else "prompts"
        groups = clusters(first)
        for part, key, heading in QUANTITIES:
            series = {
                label: _per_token(one, one[part][key])
                for label, one in found.items()
                if key in one.get(part, ())
            }
            if series:
                measure = against_base(
                    evidence,
                    f"{name}, {heading}",
                    f"groups of {units}" if groups else units,
                    series,
                    groups,
                    run=name,
                )
                yield replace(measure, digits=DIGITS)


def beside_base_notes(evidence: Evidence) -> list[str]:
    """What the quantities are, and the cells that have none."""
    notes, why = [], []
    parts = {part for _, found in _asked(evidence) for one in found.values() for part in one}
    if "divergence" in parts:
        notes.append(
            "KL: of the next token, over the whole vocabulary, a mean over the positions of the "
            "text or the prompts; each cell against its own base"
        )
    if "csd" in parts:
        notes.append(
            "CSD: the mean over positions and over the matrices of the blocks, h being what the "
            "matrix gets in the base"
        )
    for name, found in _asked(evidence):
        for label, one in found.items():
            for part in ("divergence", "csd"):
                reason = one.get(part, {}).get("why")
                if reason:
                    why.append(f"no {part} of {label} on {name}: {reason}")
    return [*notes, *why]


def _asked(evidence: Evidence) -> Iterator[tuple[str, dict[str, Mapping[str, Any]]]]:
    """By text and prompts, the base first, the results of cells that were held against it."""
    evaluation = evidence.study.evaluation
    for name in (*evaluation.texts, *evaluation.prompts):
        found: dict[str, Mapping[str, Any]] = {
            label: record.results
            for label, record in evidence.of_run("retain", name).items()
            if {"divergence", "csd"} & set(record.results)
        }
        if found:
            yield name, found


def _per_token(one: Mapping[str, Any], sums: list[float]) -> Series:
    ids = one["documents"] if "documents" in one else one["items"]
    numer, denom = (np.asarray(values, dtype=np.float64) for values in (sums, one["tokens"]))
    return Series(tuple(map(str, ids)), numer, denom)
