"""What stands above the tables: study, model, seeds, what intervals can mean, what was left out.

In: `Evidence`. Out: lines of text. It measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lora_ledger.catalogue import ModelEntry, TrainedSource
from lora_ledger.study.schema import Study

from .evidence import Evidence


def header(evidence: Evidence) -> tuple[str, ...]:
    """What every table says first: study, model, seeds, what the intervals can mean, and how many
    training examples were dropped."""
    study = evidence.study
    entries = {name: study.model_entry(name) for name in study.model_names}
    models = [
        f"{name}, base: {entry.base}, weights: {entry.weights}" for name, entry in entries.items()
    ]
    kind = "models" if study.several else "model"
    notes = [f"study: {study.name} ({study.title}); {kind}: {'; '.join(models)}"]
    for entry in {entry.title: entry for entry in entries.values() if entry.stand_in}.values():
        notes.append(
            f"stand-in: {entry.title} stands in for the model of the papers; these "
            "numbers are not theirs"
        )
    for name, entry in entries.items():
        notes += _made(name, entry)
    if study.several:
        notes.append(blocks(study))
    seeds = len(study.seeds)
    listed = ", ".join(map(str, study.seeds))
    interval = (
        f"{percent(study)} percentile bootstrap, {study.evaluation.bootstrap:,} resamples; shares "
        "of right answers in single samples: Wilson"
    )
    crossed = "bases" if study.model_of_seed else "seeds"
    if seeds == 1:
        notes.append(
            f"seeds: 1 ({listed}); interval: {interval}; sampling error of the evaluation only"
        )
    else:
        notes.append(
            f"seeds: {seeds} ({listed}); interval: {interval}; rows of one seed: sampling "
            f"error of the evaluation only; rows of a mean: units and {crossed} crossed"
        )
        if seeds < 3:
            notes.append("below 3 seeds nothing generalises over training")
    return (*notes, *dropped(evidence))


def blocks(study: Study) -> str:
    """What a seed is in a study of several models, and what a change is held against."""
    own = "each cell is held against its own base"
    tuned = "rates are tuned on the first model that a setting's cells stand on"
    if not study.model_of_seed:
        return f"models: {own}; a mean is over the seeds of one model; {tuned}"
    paired = ", ".join(f"{seed} on {name}" for seed, name in study.model_of_seed.items())
    return (
        f"seeds and bases: {paired}; {own}; the base is a block, drawn with all its seeds, and a "
        f"mean is over the bases; {tuned}"
    )


def _made(name: str, entry: ModelEntry) -> list[str]:
    """Where a base comes from that this project trained."""
    source = entry.source
    if not isinstance(source, TrainedSource):
        return []
    what = f"{source.cell} of the study {source.study}" if source.study else source.folder
    pin = f"record {source.id}" if source.id else f"weights {str(source.sha256)[:16]}"
    return [f"{name}: trained by this project, {what} ({pin})"]


def dropped(evidence: Evidence) -> list[str]:
    """A note for each setting of which examples were dropped over the sequence length."""
    notes = []
    for setting, record in evidence.prepare.items():
        lost = [
            f"{found['dropped_over_length']:,} of {found['examples']:,} {split} examples"
            for split, found in record.results["counts"].items()
            if found["dropped_over_length"]
        ]
        if lost:
            limit = record.science.settings["sequence_length"]
            notes.append(f"{setting}: dropped {' and '.join(lost)}, over {limit:,} tokens")
    return notes


CUTS = {
    "cut_prompts": "prompts lost their beginning to the model's window",
    "cut_completions": "completions were cut at max_gen_toks",
    "cut_contexts": "items lost the beginning of their context to the model's window",
}
"""What a record of `generate` or `retain` counts, in words."""


def cut(evidence: Evidence, stage: str, runs: Iterable[str]) -> list[str]:
    """A note for each run or task of the stage in which something was cut."""
    notes = []
    for run in runs:
        records = evidence.of_run(stage, run)
        for key, words in CUTS.items():
            found = {
                label: (record.results[key], _every(record.results, key))
                for label, record in records.items()
                if key in record.results
            }
            worst = max(found, key=lambda label: found[label], default="")
            if worst and found[worst][0]:
                count, every = found[worst]
                notes.append(
                    f"{run}: {count:,} of {every:,} {words} ({worst}, the most of any cell)"
                )
    return notes


def _every(results: Mapping[str, Any], key: str) -> int:
    """Of how many it is a count."""
    if key == "cut_contexts":
        return len(results["items"])
    return len(results["problems"]) * (results["samples"] if key == "cut_completions" else 1)


def percent(study: Study) -> str:
    """The level of the intervals, as text."""
    return f"{100 * study.evaluation.confidence:g} %"
