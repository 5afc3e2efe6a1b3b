"""What a whole made-up study would leave: records with numbers of realistic size, from a seed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

import factories
from lora_ledger.analysis.statistics import pass_at_k
from lora_ledger.study.cells import BASE, Cell, cells
from lora_ledger.study.schema import Study


def _partition(rng: np.random.Generator, total: int) -> list[int]:
    """A sample's multiplicities, some of them above one."""
    kinds = rng.integers(0, max(1, total), size=total)
    return sorted((int(c) for c in np.bincount(kinds) if c), reverse=True)


def _all_scores(rng: np.random.Generator, run: str, gain: float) -> dict[str, list[float]]:
    if run == "gsm":
        return {
            m: [float(v) for v in rng.random(50) < 0.04]
            for m in ("strict-match", "flexible-extract")
        }
    passed = rng.binomial(4, min(0.9, 0.05 + 0.2 * gain), size=20)
    return {f"pass@{k}": [pass_at_k(4, int(c), k) for c in passed] for k in (1, 2, 4)}


def made_up(root: Path, plan: Study, lost: tuple[str, ...] = ()) -> list[Path]:
    """Write the records of all cells under `root`; the labels in `lost` diverged.

    Returns the paths, as `tabulate` takes them. The base passes no problem, so its
    passing class is empty.
    """
    paths: list[Path] = []
    size = [1500 + 40 * i for i in range(24)]
    noise = np.random.default_rng(0).normal(0, 0.05, 24)
    strength = {"full": 1.0, "lora-r2": 0.35, "lora-r8": 0.6, "lora-r32": 0.8}

    def put(stage: str, name: str, *above: str) -> Path:
        path = root / stage / Path(*above) / f"{name}{'/record' if stage == 'train' else ''}.json"
        paths.append(path)
        return path

    def nats(level: float, rng: np.random.Generator, spread: float = 0.01) -> list[float]:
        each = level + noise + rng.normal(0, spread, 24)
        return [float(b * s * math.log(2)) for b, s in zip(each, size, strict=True)]

    for index, cell in enumerate([None, *cells(plan)]):
        rng = np.random.default_rng([7, index])
        label = cell.label if cell else BASE
        gain = strength[cell.method] if cell else 0.0
        control = cell is not None and plan.settings[cell.setting].role == "control"
        if cell:
            path = put("train", label)
            if label in lost:
                factories.diverged(path, "train", label)
            else:
                start = nats(0.85, np.random.default_rng([8, index // 4]))
                end = [
                    a - 0.16 * gain * s * (1 + 0.3 * float(rng.normal())) * math.log(2)
                    for a, s in zip(start, size, strict=True)
                ]
                factories.train(path, label, start, end, size)
        if label in lost:
            for task in ("general", "facts"):
                factories.diverged(put("retain", label, task), "retain", label, task)
        else:
            forgot = -0.02 * gain if control else 0.03 * gain * (1 + (index % 3) / 2)
            acc = [int(v) for v in rng.random(100) < 0.28 + 0.02 * gain]
            paths += factories.retain(
                root / "retain",
                label,
                nats(1.02 + forgot, rng, 0.006),
                size,
                acc,
                [float(v) for v in rng.normal(1.33, 0.3, 100)],
            )
        for run in _runs(plan, cell):
            path = put("score", label, run)
            if label in lost:
                factories.diverged(path, "score", label, run)
            else:
                metrics = _all_scores(rng, run, gain)
                if cell is None:
                    metrics = {name: [0.0] * len(values) for name, values in metrics.items()}
                n = len(next(iter(metrics.values())))
                each = [float(v) for v in rng.normal(200 - 20 * gain, 4, n)]
                factories.score(path, label, metrics, each, [300] * n, run)
            if plan.evaluation.generate[run].diversity:
                path = put("diversity", label, run)
                if label in lost:
                    factories.diverged(path, "diversity", label, run)
                else:
                    good = [0 if cell is None else int(rng.integers(0, 4)) for _ in range(20)]
                    passing = [_partition(rng, g) for g in good]
                    failing = [_partition(rng, 4 - g) for g in good]
                    both = [
                        sorted(a + b, reverse=True) for a, b in zip(passing, failing, strict=True)
                    ]
                    factories.diversity(
                        path, label, {"all": both, "passing": passing, "failing": failing}, run
                    )
    return paths


def _runs(plan: Study, cell: Cell | None) -> list[str]:
    if cell:
        return list(plan.settings[cell.setting].tasks)
    return list(plan.evaluation.generate)
