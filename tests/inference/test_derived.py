"""Weights of derived cells of the random model, against numpy and the models' own logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lora_ledger.inference.build import hold
from lora_ledger.inference.derived import make
from lora_ledger.inference.weights import load_cell, load_weights
from lora_ledger.study import cells
from lora_ledger.study.cells import Cell
from lora_ledger.study.derived import CONTROLS, Derived
from lora_ledger.study.schema import Study
from tiny_study import STUDY

CELLS = {"full": Cell("cpt", "full", "short", 1), "lora": Cell("cpt", "lora", "short", 1)}
NAMES = ("model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight")
IDS = torch.tensor([[5, 17, 99, 200, 3]])
Weights = dict[str, Any]


@pytest.fixture(scope="module")
def study() -> Study:
    return Study.model_validate(
        STUDY | {"derived": {"rewound": {"lambda": [0.0, 0.5]}, "random": {"rank": 2}}}
    )


@pytest.fixture(scope="module")
def trained(
    study: Study, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Cells whose weights moved at random; two matrices of `full` have a spike each, far above all
    other singular values and along a left vector that the base hardly has."""
    made = {}
    for name in CELLS:
        method, out = study.methods[name], tmp_path_factory.mktemp(name)
        torch.manual_seed(1)
        model = method.apply(load_weights(tiny_model), 1)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad:
                    weight += 0.01 * torch.randn_like(weight)
            for spiked in NAMES if name == "full" else ():
                weight = dict(model.named_parameters())[spiked]
                u, v = np.linalg.svd(np.random.default_rng(2).standard_normal(weight.shape))[::2]
                weight += 30 * torch.from_numpy(np.outer(u.mean(1) * len(u) ** 0.5, v[0])).float()
        artefact = out / method.artefact
        artefact.mkdir(parents=True)
        method.save(model, artefact, "tiny-random-llama", tiny_model)
        made[name] = out
    return made


def weights(model: Any) -> Weights:
    return {name: weight.double().numpy() for name, weight in model.named_parameters()}


def logits(model: Any) -> Any:
    with torch.no_grad():
        return model(IDS).logits


@pytest.fixture
def models(study: Study, tiny_model: Path, trained: dict[str, Path]) -> Any:
    """`models("lora", how)`: (base, trained, derived, what was done)."""

    def made(name: str, how: Derived) -> tuple[Any, Any, Any, dict[str, Any]]:
        method = study.methods[name]
        model, _, done = make(tiny_model, trained[name], method, how)
        base = load_weights(tiny_model).requires_grad_(False).eval()
        return base, load_cell(tiny_model, trained[name], "fp32", "cpu", method)[0], model, done

    return made


@pytest.mark.parametrize("name", CELLS)
def test_rewound_goes_from_the_base_to_what_was_trained(name: str, models: Any) -> None:
    for value in (0.0, 1.0):
        base, tuned, model, _ = models(name, Derived("rewound", CELLS[name], value))
        assert torch.equal(logits(model), logits(tuned if value else base))
    assert not torch.allclose(logits(base), logits(tuned))
    base, tuned, model, _ = models(name, Derived("rewound", CELLS[name], 0.25))
    before, after = weights(base), weights(tuned)
    for key, found in weights(model).items():
        expected = before[key] + 0.25 * (after[key] - before[key])
        assert found == pytest.approx(expected, abs=1e-6), key


def by_definition(before: Weights, after: Weights) -> dict[str, tuple[float, Any]]:
    """For each matrix with an intruder among the ten first its σ and u vᵀ, by LAPACK."""
    found = {}
    for key in after:
        if key.endswith("_proj.weight"):
            old = np.linalg.svd(before[key], full_matrices=False)[0]
            left, values, right = np.linalg.svd(after[key], full_matrices=False)
            like = np.abs(old.T @ left[:, :10]).max(axis=0)
            if (like < 0.5).any():
                i = int(np.argmax(like < 0.5))
                found[key] = (float(values[i]), np.outer(left[:, i], right[i]))
    return found


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_an_intruder_is_shrunk_and_nothing_else(value: float, models: Any) -> None:
    how = Derived("intruders", CELLS["full"], value, k=10, epsilon=0.5)
    base, tuned, model, done = models("full", how)
    before, after, made = weights(base), weights(tuned), weights(model)
    wanted = by_definition(before, after)
    assert set(NAMES) <= set(wanted)
    for key, found in made.items():
        height, pair = wanted.get(key, (0.0, 0.0))
        expected = after[key] + (value - 1) * height * pair
        assert found == pytest.approx(expected, abs=2e-5), key
    norm = (1 - value) * np.sqrt(sum(height**2 for height, _ in wanted.values()))
    assert done["tensors"] == len(wanted)
    assert done["norm"] == pytest.approx(norm, rel=1e-4)


def test_controls_take_steps_of_the_same_norm_elsewhere(models: Any) -> None:
    how = Derived("intruders", CELLS["full"], 0.9, k=10, epsilon=0.5)
    steps, whole = {}, {}
    for control in CONTROLS:
        base, tuned, model, done = models("full", replace(how, control=control))
        before, after, made = weights(base), weights(tuned), weights(model)
        steps[control] = {key: made[key] - after[key] for key in made}
        whole[control] = np.sqrt(sum(np.sum(step**2) for step in steps[control].values()))
        assert done["norm"] == pytest.approx(whole[control], rel=1e-4)
    assert list(whole.values()) == pytest.approx([whole[""]] * 4, rel=1e-4)
    own = steps[""]
    for key in NAMES:
        for control in ("neighbour", "direction"):
            step = steps[control][key]
            assert np.linalg.norm(step) == pytest.approx(np.linalg.norm(own[key]), rel=1e-3)
            assert np.linalg.matrix_rank(step, tol=1e-3) == 1
        assert abs(np.sum(steps["neighbour"][key] * own[key])) < 1e-3 * np.sum(own[key] ** 2)
    # The shrink is one factor on all of ΔW.
    factors = [
        float(np.sum(step * (after[key] - before[key])) / np.sum((after[key] - before[key]) ** 2))
        for key, step in steps["shrink"].items()
        if not key.endswith("norm.weight")
    ]
    assert factors == pytest.approx([factors[0]] * len(factors), abs=1e-3)
    assert -1 < factors[0] < 0


@pytest.mark.parametrize("rank", [2, None])
@pytest.mark.parametrize("name", CELLS)
def test_a_random_update_has_the_norm_of_each_change(
    name: str, rank: int | None, models: Any
) -> None:
    how = Derived("random", CELLS[name], rank=rank)
    base, tuned, model, done = models(name, how)
    before, after, made = weights(base), weights(tuned), weights(model)
    changed = 0
    for key, found in made.items():
        norm = np.linalg.norm(after[key] - before[key])
        changed += norm > 0
        assert np.linalg.norm(found - before[key]) == pytest.approx(norm, rel=1e-4, abs=1e-9), key
        if norm and key.endswith("_proj.weight"):
            values = np.linalg.svd(found - before[key], compute_uv=False)
            significant = int(np.sum(values > 1e-3 * values[0]))
            assert significant == 2 if rank else significant > 0.9 * len(values)
    assert done["tensors"] == changed > 0
    assert np.abs(made[NAMES[0]] - after[NAMES[0]]).max() > 1e-3
    _, _, again, _ = models(name, how)
    assert torch.equal(logits(again), logits(model))
    _, _, other, _ = models(name, replace(how, of=replace(CELLS[name], seed=2)))
    assert not torch.equal(logits(other), logits(model))


def test_a_cell_is_held_by_its_label(
    study: Study, tiny_model: Path, trained: dict[str, Path]
) -> None:
    label = "derived/rewound/cpt/lora/short/s1/lambda-0"
    assert label in cells.labels(study)
    held = hold(study, label, tiny_model, trained["lora"])
    base = load_weights(tiny_model).eval()
    assert torch.equal(logits(held.model), logits(base))
    assert held.made == {
        "kind": "rewound", "of": "cpt/lora/short/s1", "lambda": 0.0, "tensors": 14,
        "norm": held.made and held.made["norm"],
    }  # fmt: skip
    assert hold(study, "cpt/lora/short/s1", tiny_model, trained["lora"]).made is None
