"""What `retain` measured: texts, several choices, one continuation, and the mean of the Gauntlet.

In: `Evidence` with retain records.
Out: `Measure`s paired with the base, each with a note of what its task is.
It formats no table and knows no corpus of a setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .beside_base import beside_base
from .evidence import Evidence, EvidenceError
from .measures import (
    ROWS,
    Measure,
    Series,
    against_base,
    at_chance,
    bits_per_byte,
    clusters,
    mean_of,
)

PER_TOKEN = "accuracy, by loss per token"
GAUNTLET = "gauntlet_mean"
CHOICES = (
    ("acc", "accuracy"),
    ("acc_norm", "accuracy, length-normalised"),
    ("acc_token", PER_TOKEN),
    ("cross_entropy", "cross-entropy in nats"),
)
NOT_PUBLISHED = ("rebuilt rows", "other text")


def retention(evidence: Evidence) -> list[Measure]:
    """All that `retain` measured: texts, then each task, the Gauntlet's mean, what was held against
    the base position by position, what was memorised."""
    tasks = [m for name in evidence.study.evaluation.likelihood for m in _task(evidence, name)]
    return [
        *texts(evidence),
        *tasks,
        *gauntlet(evidence),
        *beside_base(evidence),
        *memorised(evidence),
    ]


def texts(evidence: Evidence) -> list[Measure]:
    """Bits per byte of each held-out text; `run` is the text's name."""
    measures = []
    for name in evidence.study.evaluation.texts:
        found = _results(evidence, name)
        if not found:
            continue
        series = {
            label: bits_per_byte(t["documents"], t["nats"], t["bytes"])
            for label, t in found.items()
        }
        groups = clusters(next(iter(found.values())))
        units = "groups of documents" if groups else "documents"
        measures.append(
            against_base(evidence, f"{name}, bits per byte", units, series, groups, run=name)
        )
    return measures


def memorised(evidence: Evidence) -> list[Measure]:
    """Of training examples: the share that goes on verbatim, and the edit similarity."""
    measures = []
    for name in evidence.study.evaluation.memorised:
        found = _results(evidence, name)
        if not found:
            continue
        groups = clusters(next(iter(found.values())))
        units = "groups of examples" if groups else "examples"
        for key, heading, share in (
            ("verbatim", "verbatim continuation", True),
            ("similarity", "edit similarity of the continuation", False),
        ):
            series = {label: mean_of(one["items"], one[key]) for label, one in found.items()}
            of = f"{name}, {heading}"
            measures.append(
                against_base(evidence, of, units, series, groups, share=share, run=name)
            )
    return measures


def memorised_notes(evidence: Evidence) -> list[str]:
    """What was given and asked, and how often each run came by an example."""
    notes = []
    for name, asked in evidence.study.evaluation.memorised.items():
        if not _results(evidence, name):
            continue
        passes: dict[str, float] = {}
        for cell in evidence.of_corpus(asked.corpus):
            run, data = evidence.train.get(cell.label), evidence.prepare.get(cell.packed)
            if run and data and run.results.get("examples"):
                rows = data.results["counts"]["train"]["rows"]
                passes[f"{cell.setting}/{cell.budget}"] = run.results["examples"] / rows
        said = ", ".join(f"{key} {value:.2g}" for key, value in passes.items())
        notes.append(
            f"{name}: greedy continuations of examples of {asked.corpus} that training drew from, "
            f"{asked.words} words at most; passes over them: {said or 'unknown'}; below 1 that "
            "share of them was seen"
        )
    return notes


def _task(evidence: Evidence, name: str) -> list[Measure]:
    """The measures of one task, of whichever kind; none where no cell was asked it."""
    found = _results(evidence, name)
    if not found:
        return []
    first = next(iter(found.values()))
    groups = clusters(first)
    units = "groups of items" if groups else "items"
    note = told(evidence, name)
    if first.get("kind") == "continuation":
        series = {label: mean_of(c["items"], c["acc"]) for label, c in found.items()}
        size = {
            label: bits_per_byte(c["items"], c["nats"], c["bytes"]) for label, c in found.items()
        }
        return [
            against_base(
                evidence,
                f"{name}, accuracy (greedy)",
                units,
                series,
                groups,
                share=True,
                run=name,
                note=note,
            ),
            against_base(
                evidence,
                f"{name}, last word, bits per byte",
                units,
                size,
                groups,
                run=name,
                note=note,
            ),
        ]
    measures = []
    for key, heading in CHOICES:
        series = {label: mean_of(c["items"], c[key]) for label, c in found.items() if c.get(key)}
        if series:
            options = _options(first)
            share = key != "cross_entropy"
            chances = tuple(map(float, 1 / options if share else np.log(options)))
            measures.append(
                against_base(
                    evidence, f"{name}, {heading}", units, series, groups, chances,
                    share=share, run=name, note=note,
                )
            )  # fmt: skip
    return measures


def _options(choices: Mapping[str, Any]) -> np.typing.NDArray[np.float64]:
    """Choices of each item; without them in the record, as many as the golden answers show."""
    own = choices.get("options") or [max(choices["gold"], default=0) + 1] * len(choices["gold"])
    return np.asarray(own, dtype=np.float64)


def members(evidence: Evidence) -> list[Measure]:
    """The accuracy by loss per token of each task of `evaluation.gauntlet_mean`.

    Raises EvidenceError when a cell that was asked one of them was not asked another, or of a task
    without it.
    """
    names = evidence.study.evaluation.gauntlet_mean
    asked = {label: None for name in names for label in _results(evidence, name)}
    chosen = []
    for name in names if asked else ():
        found = _results(evidence, name)
        for label in asked:
            if not found.get(label, {}).get("acc_token"):
                raise EvidenceError(
                    f"evaluation.gauntlet_mean: {name}: found no acc_token of {label}, expected a "
                    "record of retain with the accuracy by loss per token of a task of several "
                    "choices; run retain again, or leave the task out of gauntlet_mean"
                )
        chosen += [m for m in _task(evidence, name) if m.name == f"{name}, {PER_TOKEN}"]
    return chosen


def gauntlet(evidence: Evidence) -> list[Measure]:
    """The unweighted mean over the members; and without those at chance, if some but not all are.

    Biderman et al. 2024 average HellaSwag, ARC-challenge and WinoGrande so.
    """
    found = members(evidence)
    if not found:
        return []
    guessed = [m for m in found if at_chance(m)]
    names = [m.run + (" (at chance)" if m in guessed else "") for m in found]
    whole = _joined(evidence, found, f"{GAUNTLET}, {PER_TOKEN}", f"mean of {', '.join(names)}")
    left = [m for m in found if m not in guessed]
    if not guessed or not left:
        return [whole]
    apart = ", ".join(m.run for m in guessed)
    mean = f"mean of {', '.join(m.run for m in left)}"
    return [whole, _joined(evidence, left, f"{GAUNTLET} without {apart}, {PER_TOKEN}", mean)]


def _joined(evidence: Evidence, found: Sequence[Measure], name: str, note: str) -> Measure:
    """The members' units one after another, each member a stratum."""

    def side(label: str) -> Series:
        parts = [m.after.get(label) or m.before[label] for m in found]
        return Series(
            tuple(f"{m.run}/{one}" for m in found for one in m.ids),
            np.concatenate([part.numer for part in parts]),
            np.concatenate([part.denom for part in parts]),
        )

    series = {label: side(label) for label in (*found[0].before, *found[0].after)}
    clustered = any(m.groups for m in found)
    groups = tuple(f"{m.run}/{g}" for m in found for g in (m.groups or m.ids))
    units = "items within each task"
    return against_base(
        evidence,
        name,
        f"groups of {units}" if clustered else units,
        series,
        groups if clustered else None,
        tuple(chance for m in found for chance in (m.chances or ())),
        share=True,
        strata=tuple(m.run for m in found for _ in m.ids),
        note=note,
    )


def gauntlet_note(evidence: Evidence) -> str:
    """What the mean is a mean of, and what it is not to be compared with."""
    names = evidence.study.evaluation.gauntlet_mean
    listed = ", ".join(f"{name} ({_shots(evidence, name)})" for name in names)
    said = (
        f"{GAUNTLET}: unweighted mean over {listed} of the share of items whose right "
        "choice has the lowest mean loss per token (Biderman et al. 2024, who do not state "
        "their own few-shot counts); items are resampled within each task separately"
    )
    apart = [f"{n} is {ROWS[e]}" for n in names if (e := _equals(evidence, n)) in NOT_PUBLISHED]
    if apart:
        said += f"; {', '.join(apart)}: this mean is not to be compared with published ones"
    return said


def told(evidence: Evidence, name: str) -> str:
    """Few-shot count of a task, and what its rows are of upstream's; empty if no record says."""
    equals = ROWS.get(_equals(evidence, name), "")
    shots = _shots(evidence, name) if _settings(evidence, name) else ""
    return "; ".join(filter(None, [shots, equals]))


def _shots(evidence: Evidence, name: str) -> str:
    count = _settings(evidence, name).get("num_fewshot")
    return "few-shot count unknown" if count is None else f"{count}-shot"


def _equals(evidence: Evidence, name: str) -> str:
    return str((_settings(evidence, name).get("task") or {}).get("equals", ""))


def _settings(evidence: Evidence, name: str) -> Mapping[str, Any]:
    """How a task was run; raises EvidenceError when two cells were run with other few-shots."""
    found = {
        label: record.science.settings for label, record in evidence.of_run("retain", name).items()
    }
    for label, chosen in found.items():
        first = next(iter(found))
        if chosen.get("num_fewshot") != found[first].get("num_fewshot"):
            raise EvidenceError(
                f"{name}: found {chosen.get('num_fewshot')}-shot prompts for {label} and "
                f"{found[first].get('num_fewshot')}-shot ones for {first}, expected the same; "
                "evaluate both again with the same study"
            )
    return next(iter(found.values()), {})


def _results(evidence: Evidence, name: str) -> dict[str, Mapping[str, Any]]:
    """By cell, the base first, what `retain` measured under a name of `texts` or `likelihood`."""
    return {label: record.results for label, record in evidence.of_run("retain", name).items()}
