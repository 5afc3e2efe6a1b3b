"""Spectra of cells of the random model, against numpy, the definition written out, and peft."""

from __future__ import annotations

import csv
import gzip
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from lora_ledger.common.errors import KeyProblem
from lora_ledger.inference.weights import load_cell, load_weights
from lora_ledger.records.record import Record
from lora_ledger.stages.spectrum import spectrum
from lora_ledger.study import cells
from lora_ledger.study.schema import Study
from tiny_study import BESIDE, STUDY

METHODS: dict[str, dict[str, Any]] = {
    "full": {"kind": "full"},
    "last": {"kind": "full-linear", "layers": "last-1"},
    "lora": {"kind": "lora", "rank": 4, "rslora": True},
    "pissa": {"kind": "lora", "rank": 4, "init": "pissa"},
    "attention": {"kind": "lora", "rank": 2, "target_modules": "attention"},
    "dora": {"kind": "lora", "rank": 4, "dora": True},
    "houlsby": BESIDE["houlsby"],
}


def plan(**asked: Any) -> Study:
    methods = {name: {**keys, "learning_rates": [1e-3]} for name, keys in METHODS.items()}
    return Study.model_validate(
        {**STUDY, "methods": methods, "evaluation": {"spectrum": asked}, "seeds": [1, 2]}
    )


def trained(method: str, tiny_model: Path, out: Path, seed: int = 1, size: float = 0.2) -> Path:
    """A cell whose weights moved at random."""
    known = plan().methods[method]
    model = known.apply(load_weights(tiny_model), seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += (
                    size * weight.std().nan_to_num(0).clamp(min=0.02) * torch.randn_like(weight)
                )
    artefact = out / known.artefact
    artefact.mkdir(parents=True)
    known.save(model, artefact, "tiny-random-llama", tiny_model)
    return out


def measured(
    method: str, tiny_model: Path, tmp_path: Path, size: float = 0.2, **asked: Any
) -> tuple[Record, Path]:
    cell = trained(method, tiny_model, tmp_path / "cell", size=size)
    record = spectrum(
        plan(**asked), f"cpt/{method}/short/s1", tiny_model, cell, tmp_path / "s.json",
        tmp_path / "s.csv.gz", tmp_path / "s.safetensors", tmp_path / "kept",
    )  # fmt: skip
    return record, cell


def weights(tiny_model: Path, cell: Path, method: str) -> list[tuple[str, Any, Any]]:
    """(name, W₀, W) of each matrix in fp64, of the models as they are evaluated."""
    known = plan().methods[method]
    old = dict(load_weights(tiny_model).named_parameters())
    new = dict(load_cell(tiny_model, cell, "fp32", "cpu", known)[0].named_parameters())
    return [
        (name, old[name].detach().double().numpy(), new[name].detach().double().numpy())
        for name in old
        if name.endswith("_proj.weight")
    ]


def definition(base: Any, tuned: Any, k: int, epsilon: float) -> tuple[int, int]:
    """Intruders among left and right vectors, one by one."""
    found = []
    old, new = (np.linalg.svd(m, full_matrices=False) for m in (base, tuned))
    for before, after in ((old[0].T, new[0].T), (old[2], new[2])):
        found.append(sum(max(abs(float(x @ y)) for x in before) < epsilon for y in after[:k]))
    return found[0], found[1]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora", "pissa", "dora"])
def test_every_number_is_that_of_the_merged_weights(
    method: str, tiny_model: Path, tmp_path: Path
) -> None:
    record, cell = measured(method, tiny_model, tmp_path, size=2.0)
    columns, vectors = record.results["matrices"], load_file(tmp_path / "s.safetensors")
    every = weights(tiny_model, cell, method)
    assert len(columns["block"]) == len(every) == 14
    for i, (name, base, tuned) in enumerate(every):
        assert name.startswith(f"model.layers.{columns['block'][i]}.")
        assert name.endswith(f"{columns['module'][i]}.weight")
        assert (columns["rows"][i], columns["columns"][i]) == base.shape
        left, values, right = np.linalg.svd(tuned - base)
        shares = np.cumsum(values**2) / np.sum(values**2)
        p = values[values > 1e-6 * values[0]]
        p = p / p.sum()
        before = np.linalg.svd(base, compute_uv=False)
        after = np.linalg.svd(tuned, compute_uv=False)
        expected = {
            "rank50": int(np.sum(shares < 0.5)) + 1,
            "rank90": int(np.sum(shares < 0.9)) + 1,
            "effective_rank": math.exp(-np.sum(p * np.log(p))),
            "stable_rank": np.sum(values**2) / values[0] ** 2,
            "relative_frobenius": np.linalg.norm(tuned - base) / np.linalg.norm(base),
            "relative_spectral": values[0] / before[0],
            "relative_nuclear": values.sum() / before.sum(),
            "change": np.median(np.abs(after - before) / before),
        }
        for key, value in expected.items():
            assert columns[key][i] == pytest.approx(value, rel=1e-3), (name, key)
        found = columns["intruders_left"][i], columns["intruders_right"][i]
        assert found == definition(base, tuned, 10, 0.5), name
        r = columns["amplified_directions"][i]
        inside = left[:, :r].T @ base @ right[:r].T
        factor = np.linalg.norm(values[:r]) / np.linalg.norm(inside)
        assert columns["amplification"][i] == pytest.approx(factor, rel=1e-2)
        for side, mine in (("left", left), ("right", right.T)):
            kept = vectors[f"{name}.{side}"].astype(float)
            assert abs(kept[:, 0] @ mine[:, 0]) == pytest.approx(1, abs=1e-3)
    assert record.results["unchanged"] == 0
    assert {"embed_tokens", "norm"} <= set(record.results["left_out"])
    low = method in ("lora", "pissa")
    most = {"lora": 4, "pissa": 8}.get(method, 8)
    assert set(columns["amplified_directions"]) == {most}
    assert max(columns["bound"]) == (8 if method == "pissa" else 4 if low else 64) or not low
    assert all((b is not None) == low for b in columns["norm_of_b"])


def test_the_factors_norms_are_of_what_trained(tiny_model: Path, tmp_path: Path) -> None:
    """PiSSA is saved with its start beside it, of twice the rank."""
    record, cell = measured("pissa", tiny_model, tmp_path)
    saved = load_file(cell / "adapter/adapter_model.safetensors")
    at = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    columns = record.results["matrices"]
    i = columns["module"].index("q_proj")
    a, b = saved[at.format("A")], saved[at.format("B")]
    assert a.shape[0] == 8
    assert columns["norm_of_a"][i] == pytest.approx(np.linalg.svd(a[:4])[1][0], rel=1e-4)
    assert columns["norm_of_b"][i] == pytest.approx(np.linalg.svd(b[:, :4])[1][0], rel=1e-4)


@pytest.mark.slow
def test_the_count_is_pefts(tiny_model: Path, tmp_path: Path) -> None:
    """peft counts among left vectors; what it prints is its count."""
    from peft import PeftModel
    from peft.tuners.lora.intruders import reduce_intruder_dimension

    record, cell = measured("lora", tiny_model, tmp_path, size=2.0)
    model = PeftModel.from_pretrained(load_weights(tiny_model), str(cell / "adapter"))
    said: list[str] = []
    reduce_intruder_dimension(model, top_k=10, threshold_epsilon=0.5, logging_sink=said.append)
    counts = {}
    for line in said:
        found = re.match(r"base_model\.model\.(\S+): (?:Intruders: (\d+)|No intruders)", line)
        if found:
            counts[found[1]] = int(found[2] or 0)
    columns = record.results["matrices"]
    names = [name.removesuffix(".weight") for name, _, _ in weights(tiny_model, cell, "lora")]
    assert [counts[name] for name in names] == columns["intruders_left"]
    assert sum(columns["intruders_left"]) > 0


def test_curves_are_sums_over_a_modules_matrices(tiny_model: Path, tmp_path: Path) -> None:
    record, _ = measured("lora", tiny_model, tmp_path, size=2.0)
    columns, curves = record.results["matrices"], record.results["curves"]
    for side in ("left", "right"):
        for module, found in curves[side].items():
            places = [i for i, name in enumerate(columns["module"]) if name == module]
            mine = sum(columns[f"intruders_{side}"][i] for i in places)
            assert found["10"][4] == mine, "epsilon 0.5 is the fifth"
            assert found["1"] <= found["2"] <= found["10"]
            assert found["100%"] >= found["5%"]
            assert all(a <= b for a, b in zip(found["10"], found["10"][1:], strict=False))


def test_layers_and_what_was_not_changed(tiny_model: Path, tmp_path: Path) -> None:
    record, _ = measured("attention", tiny_model, tmp_path, layers=[1])
    assert set(record.results["matrices"]["block"]) == {1}
    assert record.results["unchanged"] == 3
    assert record.science.settings["layers"] == [1]


def test_blocks_that_do_not_train_are_not_changed(tiny_model: Path, tmp_path: Path) -> None:
    record, _ = measured("last", tiny_model, tmp_path)
    assert set(record.results["matrices"]["block"]) == {1}
    assert record.results["unchanged"] == 7


def test_identical_models_have_nothing(tiny_model: Path, tmp_path: Path) -> None:
    record, _ = measured("full", tiny_model, tmp_path, size=0.0)
    assert (record.results["unchanged"], record.results["matrices"]) == (14, {})


def test_what_does_not_merge_has_no_update(tiny_model: Path, tmp_path: Path) -> None:
    record, _ = measured("houlsby", tiny_model, tmp_path)
    assert record.results == {"of": None, "why": "no ΔW: houlsby does not merge"}
    assert load_file(tmp_path / "s.safetensors") == {}


def test_the_base_and_its_decompositions_kept(tiny_model: Path, tmp_path: Path) -> None:
    def run(name: str) -> Record:
        return spectrum(
            plan(), "base", tiny_model, None, tmp_path / f"{name}.json",
            tmp_path / f"{name}.csv.gz", tmp_path / f"{name}.safetensors", tmp_path / "kept",
        )  # fmt: skip

    first = run("one")
    kept = sorted((tmp_path / "kept").iterdir())
    assert len(kept) == 14
    second = run("two")
    assert first.id == second.id
    assert sorted((tmp_path / "kept").iterdir()) == kept
    columns = first.results["matrices"]
    assert first.results["of"] == "base"
    old = dict(load_weights(tiny_model).named_parameters())
    q = old["model.layers.0.self_attn.q_proj.weight"].detach().numpy()
    assert columns["frobenius"][0] == pytest.approx(np.linalg.norm(q), rel=1e-5)
    rows = gzip.decompress((tmp_path / "one.csv.gz").read_bytes()).decode().splitlines()
    table = list(csv.DictReader(rows))
    assert len(table) == 14
    assert float(table[0]["s0"]) == pytest.approx(np.linalg.norm(q, 2), rel=1e-5)


def test_a_diverged_cell_passes_its_status_on(tiny_model: Path, tmp_path: Path) -> None:
    import factories

    cell = tmp_path / "cell"
    cell.mkdir()
    factories.diverged(cell / "record.json", "train", "cpt/full/short/s1")
    record = spectrum(
        plan(), "cpt/full/short/s1", tiny_model, cell, tmp_path / "s.json",
        tmp_path / "s.csv.gz", tmp_path / "s.safetensors",
    )  # fmt: skip
    assert (record.status, record.results) == ("diverged", {})


def test_blocks_that_the_model_lacks_are_refused(tmp_path: Path) -> None:
    import yaml

    from lora_ledger.study.file import StudyError, parse

    raw = yaml.safe_load(Path("config/smoke.yaml").read_text("utf-8"))
    raw["evaluation"]["spectrum"] = {"layers": [2]}
    with pytest.raises(StudyError, match=r"spectrum\.layers.*\[2\].*from 0 to 1"):
        parse(yaml.safe_dump(raw))
    study = Study.model_validate(STUDY)
    with pytest.raises(KeyProblem, match="spectrum"):
        spectrum(study, "base", tmp_path, None, tmp_path, tmp_path, tmp_path)


def test_weights_wait_for_their_spectrum() -> None:
    assert "spectrum/cpt/full/short/s1" in cells.evaluations(plan(), "cpt/full/short/s1")
    assert cells.subspaces(plan()) == ["cpt", "ift"]
    assert not any("spectr" in path for path in cells.records(Study.model_validate(STUDY)))
