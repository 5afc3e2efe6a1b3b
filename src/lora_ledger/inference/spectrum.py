"""What a cell's training did to the spectra of the model's matrices.

In: a cell's matrices with what was added to each, and the study's options. Out: for each matrix the
spectrum of ΔW beside that of noise, of the tuned weights, intruder dimensions, amplification; sums
over the matrices of a module; the leading directions of ΔW. docs/spectra.md says what each is.
A LoRA's ΔW is decomposed from its factors. It writes no record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lora_ledger.analysis import intruders, spectra, subspaces
from lora_ledger.analysis.decomposition import (
    Array,
    Decomposition,
    dense,
    leading,
    of_product,
    singular_values,
)
from lora_ledger.common.seeds import stream
from lora_ledger.study.evaluation import Spectrum

from .decomposed import decomposed
from .updates import Matrix

POINTS = 64
"""Singular values that are kept of a matrix."""
SIDES = ("left", "right")
WIDEST = 64
"""Directions at most that a LoRA's amplification is measured in."""
OF_UPDATE = ("rank50", "rank90", "rank95", "rank99", "effective_rank", "stable_rank")


@dataclass
class Measured:
    """`columns`: a list a quantity, one value for each matrix. `curves`: by side, module and k the
    number of intruders at each ε. `values`: by module, the mean over its matrices of ΔW's singular
    values over its norm at `POINTS` places, and the noise's. `rows`: singular values, thinned.
    `vectors`: leading directions of ΔW, half precision. `unchanged`: matrices that training left.
    """

    columns: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    curves: dict[str, dict[str, dict[str, list[int]]]] = field(default_factory=dict)
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    vectors: dict[str, Any] = field(default_factory=dict)
    unchanged: int = 0


def of_base(matrices: Iterable[Matrix], kept: Path | None) -> Measured:
    """The spectra of the base's own matrices, each beside that of noise."""
    found = Measured()
    sums: dict[str, list[Array]] = defaultdict(list)
    for one in matrices:
        values = decomposed(one.base, kept).values.astype(np.float64)
        _add(found, one, _of_values(values, one.base.shape))
        _keep(found, sums, one, "base", values)
    return _finished(found, sums)


def of_cell(
    matrices: Iterable[Matrix], options: Spectrum, seed: int, kept: Path | None
) -> Measured:
    """What was added to each matrix, and what it did; `seed` draws the random updates."""
    found = Measured()
    sums: dict[str, list[Array]] = defaultdict(list)
    for one in matrices:
        base = decomposed(one.base, kept)
        values, top = _update(one, options.directions)
        if not np.any(values):
            found.unchanged += 1
            continue
        tuned = dense(_tuned(one))
        shape: tuple[int, int] = one.base.shape
        row = _of_values(values, shape)
        row["bound"] = len(top.values) if one.product else min(shape)
        norms = spectra.summary(base.values.astype(np.float64))
        for norm in ("spectral", "frobenius", "nuclear"):
            row[f"relative_{norm}"] = row[norm] / norms[norm]
        after = spectra.summary(tuned.values)
        for name in ("rank90", "effective_rank", "stable_rank"):
            row[f"{name}_of_base"], row[f"{name}_of_tuned"] = norms[name], after[name]
        row["change"] = spectra.change(base.values.astype(np.float64), tuned.values)
        row["change_of_random"] = _random_change(one, base, row["frobenius"], seed)
        row |= _intruders(found, one.module, base, tuned, options)
        row |= _amplification(top.top(WIDEST if one.product else options.directions), one.base)
        row |= _factors(one)
        _add(found, one, row)
        _keep(found, sums, one, "update", values)
        found.rows.append(_row(one, "tuned", tuned.values))
        kept_directions = top.top(options.directions)
        found.vectors[f"{one.name}.left"] = _half(kept_directions.left)
        found.vectors[f"{one.name}.right"] = _half(kept_directions.right.T)
        if one.product:
            trained = one.product.down[: one.product.trained]
            right = np.linalg.svd(trained.astype(np.float64), full_matrices=False)[2]
            found.vectors[f"{one.name}.down"] = _half(right[: options.directions].T)
    return _finished(found, sums)


def _update(one: Matrix, directions: int) -> tuple[Array, Decomposition]:
    """All singular values of ΔW, and its leading directions: of a product, those that it has."""
    if one.product:
        found = of_product(one.product.scale * one.product.up, one.product.down)
        return found.values, found
    if one.delta is None:
        return np.zeros(1), Decomposition(np.zeros((0, 0)), np.zeros(0), np.zeros((0, 0)))
    return leading(one.delta, directions)


def _tuned(one: Matrix) -> Array:
    found: Array = one.base.astype(np.float64)
    if one.product:
        found += one.product.scale * (one.product.up.astype(np.float64) @ one.product.down)
    else:
        found += one.delta
    return found


def _of_values(values: Array, shape: tuple[int, int]) -> dict[str, Any]:
    """The summary of a spectrum, and that of noise of the same shape and norm beside each count."""
    found: dict[str, Any] = spectra.summary(values)
    noise = spectra.summary(spectra.gaussian_values(*shape, norm=found["frobenius"]))
    return {
        **found,
        **{f"{name}_of_noise": noise[name] for name in (*OF_UPDATE, "spectral", "nuclear")},
    }


def _random_change(one: Matrix, base: Decomposition, norm: float, seed: int) -> float:
    """The change of singular values by a Gaussian update of the same norm."""
    drawn = np.random.default_rng(stream(seed, f"random update of {one.name}")).standard_normal(
        one.base.shape
    )
    after = singular_values(one.base + drawn * (norm / np.linalg.norm(drawn)))
    return spectra.change(base.values.astype(np.float64), after)


def _intruders(
    found: Measured, module: str, base: Decomposition, tuned: Decomposition, options: Spectrum
) -> dict[str, Any]:
    directions = len(base.values)
    numbers = {str(k): k for k in options.numbers}
    numbers |= {f"{100 * s:g}%": intruders.of_share(s, directions) for s in options.shares}
    row: dict[str, Any] = {}
    pairs = {"left": (tuned.left, base.left), "right": (tuned.right.T, base.right.T)}
    for side, (new, old) in pairs.items():
        like = intruders.similarities(new.astype(np.float32), old)
        row[f"intruders_{side}"] = intruders.count(like, options.k, options.epsilon)
        row[f"least_similar_{side}"] = float(np.min(like[: options.k]))
        row[f"chance_{side}"] = intruders.chance(new.shape[0], directions, 0.5)
        sums = found.curves.setdefault(side, {}).setdefault(module, {})
        for name, k in numbers.items():
            counts = intruders.curve(like, (k,), options.epsilons)[0]
            sums[name] = [
                a + b for a, b in zip(sums.get(name, [0] * len(counts)), counts, strict=True)
            ]
    return row


def _amplification(top: Decomposition, base: Array) -> dict[str, Any]:
    """In the directions of `top` together, and in the first alone."""
    whole, first = subspaces.amplification(top, base), subspaces.amplification(top.top(1), base)
    return {
        "amplified_directions": len(top.values),
        "amplification": whole["factor"],
        "projected_over_random": whole["over_random"],
        "amplification_of_first": first["factor"],
        "projected_over_random_of_first": first["over_random"],
    }


def _factors(one: Matrix) -> dict[str, Any]:
    """‖A‖₂ and ‖B‖₂ of the weights that trained, without the scale; nothing of what has none."""
    if not one.product:
        return {"norm_of_a": None, "norm_of_b": None}
    r = one.product.trained
    norms = (np.linalg.norm(one.product.down[:r], 2), np.linalg.norm(one.product.up[:, :r], 2))
    return dict(zip(("norm_of_a", "norm_of_b"), map(float, norms), strict=True))


def _add(found: Measured, one: Matrix, row: Mapping[str, Any]) -> None:
    place = {"block": one.block, "module": one.module}
    shape = dict(zip(("rows", "columns"), one.base.shape, strict=True))
    for key, value in {**place, **shape, **row}.items():
        found.columns[key].append(_short(value) if isinstance(value, float) else value)


def _keep(
    found: Measured, sums: dict[str, list[Array]], one: Matrix, what: str, values: Array
) -> None:
    """Keep a spectrum whole: a product's has zeros behind its rank."""
    whole = np.zeros(min(one.base.shape))
    whole[: len(values)] = values
    found.rows.append(_row(one, what, whole))
    sums[one.module].append(spectra.thinned(whole, POINTS) / spectra.frobenius(values))
    if one.module not in found.values:
        noise = spectra.thinned(spectra.gaussian_values(*one.base.shape), POINTS)
        found.values[one.module] = {"noise": [_short(value) for value in noise]}


def _row(one: Matrix, what: str, values: Array) -> dict[str, Any]:
    points = {f"s{i}": _short(v) for i, v in enumerate(spectra.thinned(values, POINTS))}
    return {"block": one.block, "module": one.module, "of": what, **points}


def _finished(found: Measured, sums: Mapping[str, list[Array]]) -> Measured:
    for module, spectra_of in sums.items():
        found.values[module]["update"] = [_short(v) for v in np.mean(spectra_of, axis=0)]
    found.columns = dict(found.columns)
    return found


def _half(vectors: Array) -> Any:
    """Entries of unit vectors to three digits: φ is right to 1e-6."""
    return np.ascontiguousarray(vectors.astype(np.float16))


def _short(value: float) -> float:
    """Six digits."""
    return float(f"{value:.6g}")
