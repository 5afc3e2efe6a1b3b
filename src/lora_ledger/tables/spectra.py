"""The tables of spectra: what training changed, by cell and module; how alike two changes are.

In: `Evidence` with records of `spectrum` and `subspaces`. Out: `Table`s of means over the matrices
of a module and over all of them, and `points` for the figure. It decomposes nothing, and draws no
interval: matrices of one model are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from lora_ledger.records.record import Record
from lora_ledger.study.cells import BASE, Cell, bases, cell

from .arms import DIVERGED, columns_of_arms, named, named_base
from .document import Column, Section, Table, Value
from .evidence import Evidence

ALL = "all"
Columns = Mapping[str, Sequence[Any]]

MEANS = {
    "rank90": "rank90",
    "effective_rank": "effective_rank",
    "stable_rank": "stable_rank",
    "relative_frobenius": "relative_frobenius",
    "relative_spectral": "relative_spectral",
    "intruders_left": "intruders_left",
    "intruders_right": "intruders_right",
    "change": "change",
    "change_of_random": "change_of_random",
    "amplified": "amplified_directions",
    "amplification": "amplification",
    "projected_over_random": "projected_over_random",
}
"""Columns of the table that are means of a record's."""
RATIOS = {
    "rank90_over_noise": ("rank90", "rank90_of_noise"),
    "effective_rank_over_noise": ("effective_rank", "effective_rank_of_noise"),
    "stable_rank_over_noise": ("stable_rank", "stable_rank_of_noise"),
}


def spectra(evidence: Evidence, notes: tuple[str, ...]) -> Table:
    """For each cell a row for all matrices and one for each module; the base first."""
    columns = (
        *columns_of_arms(evidence),
        Column("module", "module"),
        Column("n", "n", right=True),
        Column("rank90", "rank90", digits=1, right=True),
        Column("rank90_over_noise", "/ noise", right=True),
        Column("effective_rank", "effective rank", digits=1, right=True),
        Column("effective_rank_over_noise", "/ noise", right=True),
        Column("stable_rank", "stable rank", digits=2, right=True),
        Column("stable_rank_over_noise", "/ noise", right=True),
        Column("relative_frobenius", "‖ΔW‖/‖W₀‖", digits=5, right=True),
        Column("relative_spectral", "spectral", digits=5, right=True),
        Column("intruders_left", "intruders left", digits=2, right=True),
        Column("intruders_right", "right", digits=2, right=True),
        Column("change", "change of σ", digits=5, right=True),
        Column("change_of_random", "random", digits=5, right=True),
        Column("amplified", "directions", digits=0, right=True),
        Column("amplification", "amplification", digits=2, right=True),
        Column("projected_over_random", "projected / random", digits=2, right=True),
        Column("b_over_a", "B > A %", digits=0, right=True),
    )
    sections = []
    rows = [
        row
        for label in bases(evidence.study)
        if label in evidence.spectrum
        for row in _rows(named_base(evidence, label), evidence.spectrum[label])
    ]
    if rows:
        sections.append(Section({"setting": BASE}, tuple(rows)))
    for setting in evidence.study.settings:
        rows = [
            row
            for cell in evidence.of_setting(setting)
            if cell.label in evidence.spectrum
            for row in _rows(named(cell, str(cell.seed)), evidence.spectrum[cell.label])
        ]
        if rows:
            sections.append(Section({"setting": setting}, tuple(rows)))
    rows = [
        row
        for name, label in evidence.others.items()
        if label in evidence.spectrum
        for row in _rows({"method": name}, evidence.spectrum[label])
    ]
    if rows:
        sections.append(Section({"setting": "external"}, tuple(rows)))
    return Table(
        "spectra",
        "Spectra of what training changed",
        (*notes, *_notes(evidence)),
        columns,
        tuple(sections),
    )


def _notes(evidence: Evidence) -> tuple[str, ...]:
    asked = evidence.study.evaluation.spectrum
    if asked is None:
        return ()
    lines = [
        f"intruders: of the {asked.k} leading directions of W₀ + ΔW, those whose |cos| with each "
        f"of W₀'s is below {asked.epsilon:g}, a matrix",
        "noise: a Gaussian matrix of the same shape and norm; random: a Gaussian update of the "
        "same norm, or a random subspace",
        "change of σ: median over places of |σ(W₀ + ΔW) − σ(W₀)| / σ(W₀); rows of the base are "
        "of W₀ itself",
        "B > A: share of matrices with ‖B‖₂ > ‖A‖₂, of LoRA's factors as they trained",
    ]
    if asked.layers is not None:
        lines.insert(0, f"of the blocks {', '.join(map(str, asked.layers))} alone")
    for label, record in evidence.spectrum.items():
        if record.results.get("why"):
            lines.append(f"{label}: {record.results['why']}")
        elif record.results.get("unchanged"):
            lines.append(f"{label}: {record.results['unchanged']} matrices were not changed")
    lefts = {
        tuple(r.results["left_out"]) for r in evidence.spectrum.values() if r.results.get("of")
    }
    lines += [f"left out, as no matrices of a block: {', '.join(names)}" for names in sorted(lefts)]
    return tuple(lines)


def _rows(first: Mapping[str, Value], record: Record) -> list[dict[str, Value]]:
    if record.status == "diverged":
        return [{**first, "module": DIVERGED}]
    columns: Columns = record.results.get("matrices") or {}
    modules = list(dict.fromkeys(columns.get("module", ())))
    return [
        {**first, "module": module, **_means(columns, module)}
        for module in (ALL, *modules)
        if modules
    ]


def _means(columns: Columns, module: str) -> dict[str, Value]:
    places = [i for i, name in enumerate(columns["module"]) if module in (ALL, name)]

    def of(name: str) -> list[float]:
        found = columns.get(name, [None] * len(columns["module"]))
        return [float(found[i]) for i in places if found[i] is not None]

    row: dict[str, Value] = {"n": len(places)}
    for key, name in MEANS.items():
        row[key] = fmean(of(name)) if of(name) else None
    for key, (upper, lower) in RATIOS.items():
        row[key] = fmean(a / b for a, b in zip(of(upper), of(lower), strict=True))
    larger = [b > a for a, b in zip(of("norm_of_a"), of("norm_of_b"), strict=True)]
    row["b_over_a"] = 100 * fmean(larger) if larger else None
    return row


def subspaces(evidence: Evidence, notes: tuple[str, ...]) -> Table:
    """For each pair of cells and module, φ on both sides, beside that of random subspaces."""
    columns = (
        Column("first", "first"),
        Column("second", "second"),
        Column("module", "module"),
        Column("side", "side"),
        Column("top", "φ(1, 1)", right=True),
        Column("random_top", "random", right=True),
        Column("directions", "i, j"),
        Column("phi", "φ(i, j)", right=True),
        Column("random", "random", right=True),
    )
    extra = (
        "φ(i, j) = ‖U_iᵀ V_j‖² / min(i, j) of the leading directions of two changes, mean over a "
        "module's matrices; down: right singular vectors of LoRA's A, as Hu et al. take",
    )
    sections = tuple(
        Section({"setting": setting}, tuple(rows))
        for setting, record in evidence.subspaces.items()
        if (rows := [row for pair in record.results["pairs"] for row in _pair(evidence, pair)])
    )
    return Table("subspaces", "How alike two changes are", (*notes, *extra), columns, sections)


def _pair(evidence: Evidence, pair: Mapping[str, Any]) -> list[dict[str, Value]]:
    rows: list[dict[str, Value]] = []
    for module, sides in pair["modules"].items():
        for side, found in sides.items():
            i, j = len(found["phi"]), len(found["phi"][0])
            rows.append(
                {
                    "first": _arm(evidence, pair["first"]),
                    "second": _arm(evidence, pair["second"]),
                    "module": module,
                    "side": side,
                    "top": found["phi"][0][0],
                    "random_top": 1 / found["dimension"],
                    "directions": f"{i}, {j}",
                    "phi": found["phi"][-1][-1],
                    "random": max(i, j) / found["dimension"],
                }
            )
    return rows


def _arm(evidence: Evidence, label: str) -> str:
    found = cell(evidence.study, label)
    assert found is not None, "a record of the study's"
    return _short(found)


def _short(found: Cell) -> str:
    rate = "" if found.rate is None else f" {found.rate:g}"
    on = "" if found.model is None else f"{found.model} "
    return f"{on}{found.method} {found.budget}{rate} s{found.seed}"


def points(evidence: Evidence) -> list[dict[str, Any]]:
    """For each cell with a ΔW its mean spectrum by module, and the noise's, for the figure."""
    found = []
    for setting in evidence.study.settings:
        for one in evidence.of_setting(setting):
            record = evidence.spectrum.get(one.label)
            if record and record.results.get("of") == "update":
                found.append(
                    {
                        "setting": setting,
                        "method": one.method,
                        "budget": one.budget,
                        "rate": one.rate,
                        "seed": one.seed,
                        "values": record.results["values"],
                    }
                )
    return found
