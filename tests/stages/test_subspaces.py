"""φ between cells: one with itself, planted directions, and random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import factories
from lora_ledger.stages.subspaces import compare, subspaces
from lora_ledger.study.schema import Study
from tiny_study import STUDY

NAME = "model.layers.{}.self_attn.q_proj.weight"


def basis(seed: int, columns: int = 3) -> Any:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((32, columns)))[0]


def test_itself_and_a_planted_direction() -> None:
    one, two = basis(1), basis(2)
    shared = np.linalg.qr(np.column_stack([one[:, 0], two]))[0]
    first = {f"{NAME.format(0)}.left": one, f"{NAME.format(1)}.left": one}
    itself = compare(first, first)["q_proj"]["left"]
    np.testing.assert_allclose(np.diag(itself["phi"]), 1, atol=1e-6)
    assert (itself["top"], itself["dimension"]) == ([1.0, 1.0], 32)
    second = {f"{NAME.format(0)}.left": shared, f"{NAME.format(1)}.left": two}
    found = compare(first, second)["q_proj"]["left"]
    assert found["top"][0] == pytest.approx(1)
    assert np.shape(found["phi"]) == (3, 3), "as many as every matrix has"
    expected = [float(np.sum((one.T @ other)[:2, :3] ** 2)) / 2 for other in (shared, two)]
    assert found["phi"][1][2] == pytest.approx(np.mean(expected), abs=1e-5)


def test_pairs_differ_in_seed_or_method(tmp_path: Path) -> None:
    study = Study.model_validate({**STUDY, "seeds": [1, 2], "evaluation": {"spectrum": {}}})
    paths = []
    for i, (method, seed) in enumerate((m, s) for m in ("full", "lora", "pissa") for s in (1, 2)):
        path = tmp_path / f"{method}-{seed}.json"
        lost = (method, seed) == ("pissa", 2)
        results = {} if lost else {"of": "update"}
        status = {"status": "diverged"} if lost else {}
        factories.write(path, "spectrum", f"cpt/{method}/short/s{seed}", results, **status)
        vectors = {} if lost else {f"{NAME.format(0)}.left": basis(i).astype(np.float16)}
        save_file(vectors, path.with_suffix(".safetensors"))
        paths.append(path)
    record = subspaces(study, "cpt", paths, tmp_path / "out.json")
    found = [(pair["first"], pair["second"]) for pair in record.results["pairs"]]
    label = "cpt/{}/short/s{}".format
    assert (label("full", 1), label("full", 2)) in found
    assert (label("full", 2), label("lora", 2)) in found
    assert (label("full", 1), label("lora", 2)) not in found
    assert not any(label("pissa", 2) in pair for pair in found)
    assert len(found) == 6
