"""What stands above every table: study, model, seeds, and what the intervals can mean.

In: `Evidence`. Out: lines of text. It measures nothing.
"""

from __future__ import annotations

from lora_ledger.study.schema import Study


def header(study: Study) -> tuple[str, ...]:
    """What every table says first: study, model, seeds, and what the intervals can mean."""
    entry = study.model_entry()
    notes = [
        f"study: {study.name} ({study.title}); model: {study.model}, base: {entry.base}, "
        f"weights: {entry.weights}"
    ]
    if entry.stand_in:
        notes.append(
            f"stand-in: {entry.title} stands in for the model of the papers; these "
            "numbers are not theirs"
        )
    seeds = len(study.seeds)
    listed = ", ".join(map(str, study.seeds))
    interval = (
        f"{percent(study)} percentile bootstrap, {study.evaluation.bootstrap:,} resamples; shares "
        "of right answers in single samples: Wilson"
    )
    if seeds == 1:
        notes.append(
            f"seeds: 1 ({listed}); interval: {interval}; sampling error of the evaluation only"
        )
    else:
        notes.append(
            f"seeds: {seeds} ({listed}); interval: {interval}; rows of one seed: sampling "
            "error of the evaluation only; rows of a mean: units and seeds crossed"
        )
        if seeds < 3:
            notes.append("below 3 seeds nothing generalises over training")
    return tuple(notes)


def percent(study: Study) -> str:
    """The level of the intervals, as text."""
    return f"{100 * study.evaluation.confidence:g} %"
