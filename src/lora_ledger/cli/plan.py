"""`ledger plan`: what a study asks for, before it is run.

In: a study, by name or file, and its results as far as there are any. Out: text. Nothing is run,
fetched or written.
"""

from __future__ import annotations

from pathlib import Path

from lora_ledger.scheduling.costs import RUNS, processor_seconds
from lora_ledger.scheduling.planning import Base, Plan, plan
from lora_ledger.study.file import load

from .show import terminal

PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"))


def print_plan(study_name: str, results: Path) -> int:
    """Print the plan of a study whose results are below `results`."""
    study = load(study_name)
    console = terminal()
    for line in lines(plan(study, results / study.name), study_name, study.keep_weights):
        console.print(line, soft_wrap=True)
    return 0


def print_time(study_name: str, results: Path) -> int:
    """Print one line: how long the study takes here, from a product that is timed now."""
    from lora_ledger.compute.device import gflops, resolve

    study = load(study_name)
    found = plan(study, results / study.name)
    here = resolve(study.compute)
    speed = gflops(here["train"]) if here["device"] == "cpu" else None
    terminal().print(time_line(study.name, found, here["train"], speed), soft_wrap=True)
    return 0


def time_line(study: str, found: Plan, precision: str, gflops: float | None) -> str:
    """The line in words: of a study that was measured whole, else of the arithmetic of training.
    `gflops` is None where a device trains that is no processor."""
    done, every = (sum(pair[i] for pair in found.jobs.values()) for i in (0, 1))
    if gflops is None:
        return f"{study}: {every - done} of {every} jobs to do"
    speed = f"a thread here makes {gflops:.0f} GFLOP/s in {precision}"
    seconds = processor_seconds(study, found.cells, found.tokens, gflops)
    if seconds is None:
        least = found.flops / gflops / 1e9 / 60
        return (
            f"{study}: {every - done} of {every} jobs to do; no whole run was measured, training "
            f"alone is at least {least:.0f} processor minutes ({speed})"
        )
    kinds = ", ".join(
        f"{run.seconds / 60:.0f} at {run.gflops:.0f} GFLOP/s in {run.precision}"
        for run in RUNS
        if run.study == study
    )
    return (
        f"{study}: {every - done} of {every} jobs to do; the whole is about "
        f"{_range(*seconds)} processor minutes ({speed}; measured: {kinds})"
    )


def _range(least: float, most: float) -> str:
    low, high = (f"{seconds / 60:.0f}" for seconds in (least, most))
    return low if low == high else f"{low} to {high}"


def lines(found: Plan, study: str, keeps: bool) -> list[str]:
    """The plan in words."""
    done, every = (sum(pair[i] for pair in found.jobs.values()) for i in (0, 1))
    made = f" and {found.derived} derived from them" if found.derived else ""
    text = [f"{found.cells} cells{made}, {every} jobs, of which the records of {done} are there:"]
    text += [f"  {stage:<12}{had:>6} of {all_:>6}" for stage, (had, all_) in found.jobs.items()]
    unknown = f", and {found.unknown} cells whose data is not packed yet" if found.unknown else ""
    trained = f"{found.tokens:,} tokens that bear loss{unknown}; {_flop(found.flops)} in all"
    text += [
        f"training:    {trained}",
        f"memory:      {found.memory_mb / 1000:.1f} GB for the largest job",
        f"disk:        {found.disk_bytes / 1e9:.1f} GB of weights and checkpoints at the highest, "
        + ("weights of all cells are kept" if keeps else "weights go when a cell is evaluated"),
    ]
    if found.again:
        shown = ", ".join(found.again[:5]) + (" …" if found.again[5:] else "")
        text.append(
            f"again:       {len(found.again)} cells are asked something new and have no weights "
            f"any more, so they are trained again: {shown}"
        )
    text += [_first(base) for base in found.bases]
    text += [f"What is out of date, and why: snakemake -n --config study={study}"]
    return text


def _first(base: Base) -> str:
    """What another study has to train before this one, and how."""
    known = "" if base.tokens is None else f", {base.tokens:,} tokens that bear loss, "
    known += "" if base.tokens is None else _flop(base.flops)
    return f"base first:  {base.name} is {base.what}, which is not there{known}; {base.remedy}"


def _flop(count: float) -> str:
    for size, prefix in PREFIXES:
        if count >= size:
            return f"{count / size:.1f} {prefix}FLOP"
    return f"{count:.0f} FLOP"
