"""The table of cost: parameters, tokens, speed, memory, file size, arithmetic, time.

In: `Evidence` with training records.
Out: a `Table`. Times and memory are those of the machine that ran the cell; they are no part of
what identifies a result.
"""

from __future__ import annotations

from lora_ledger.records.record import Record
from lora_ledger.study.cells import branches

from .arms import DIVERGED, columns_of_arms, named
from .document import Column, Section, Table, Value
from .evidence import Evidence

MEBIBYTE = 2**20


def cost(evidence: Evidence, notes: tuple[str, ...]) -> Table:
    """One row for each cell that has a training record, one section for each setting."""
    itself = Column("tokens_itself", "of them itself", right=True)
    columns = (
        *columns_of_arms(evidence),
        Column("trainable", "trainable", right=True),
        Column("total", "total", right=True),
        Column("share", "share %", digits=2, right=True),
        Column("steps", "steps", right=True),
        Column("tokens", "tokens in loss", right=True),
        *((itself,) if branches(evidence.study) else ()),
        Column("tokens_seen", "tokens seen", right=True),
        Column("tokens_per_second", "tokens/s", digits=0, right=True),
        Column("peak_mib", "peak MiB", digits=0, right=True),
        Column("file_mib", "file MiB", digits=1, right=True),
        Column("gflop_per_token", "GFLOP/token", digits=2, right=True),
        Column("wall_seconds", "wall s", digits=0, right=True),
        Column("processor_seconds", "processor s", digits=0, right=True),
        Column("status", "status"),
    )
    sections = [
        Section(
            {"setting": setting},
            tuple(
                {**named(cell, str(cell.seed)), **_row(evidence.train[cell.label])}
                for cell in cells
            ),
        )
        for setting in evidence.study.settings
        if (cells := evidence.of_setting(setting))
    ]
    extra = "speed, memory and time: of the machine that ran the cell, training and its validation"
    return Table(
        "cost", "What it cost", (*notes, extra, *_trunks(evidence)), columns, tuple(sections)
    )


def _trunks(evidence: Evidence) -> list[str]:
    """A note for each budget of a setting that branches: what of its cells another run trained."""
    found: dict[tuple[str, str, str], set[int]] = {}
    for cell in (c for s in evidence.study.settings for c in evidence.of_setting(s)):
        trunk = evidence.train[cell.label].run.get("trunk")
        if trunk and cell.parent:
            budget = evidence.study.budgets[cell.budget]
            key = (cell.setting, cell.budget, budget.trunk or "")
            found.setdefault(key, set()).add(trunk["tokens"])
    return [
        f"{setting}, {budget}: leaves the run of {trunk} after "
        f"{' or '.join(f'{tokens:,}' for tokens in sorted(taken))} tokens; its speed, memory and "
        "time are of what it trained itself"
        for (setting, budget, trunk), taken in found.items()
    ]


def _row(record: Record) -> dict[str, Value]:
    results, run = record.results, record.run
    counts = results.get("parameters") or {}
    trainable, total = counts.get("trainable"), counts.get("total")
    return {
        "trainable": trainable,
        "total": total,
        "share": 100 * trainable / total if trainable and total else None,
        "steps": results.get("steps"),
        "tokens": results.get("tokens"),
        "tokens_itself": _itself(record),
        "tokens_seen": results.get("tokens_seen"),
        "tokens_per_second": _scaled(run.get("tokens_per_second"), 1),
        "peak_mib": _scaled(run.get("peak_memory_bytes"), MEBIBYTE),
        "file_mib": _scaled((results.get("weights") or {}).get("bytes"), MEBIBYTE),
        "gflop_per_token": _scaled(results.get("flops_per_token"), 1e9),
        "wall_seconds": _scaled(run.get("wall_seconds"), 1),
        "processor_seconds": _scaled(run.get("process_seconds"), 1),
        "status": DIVERGED if record.status == "diverged" else "complete",
    }


def _itself(record: Record) -> int | None:
    """The tokens in loss that the cell did not take over from its trunk."""
    tokens, trunk = record.results.get("tokens"), record.run.get("trunk") or {}
    return None if tokens is None else tokens - trunk.get("tokens", 0)


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else float(value) / unit
