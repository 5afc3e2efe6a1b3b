"""Methods whose weights stay beside the base's, as cells: trained, killed, saved, evaluated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from safetensors.torch import load_file

from lora_ledger.inference.build import hold
from lora_ledger.inference.weights import load_cell, load_weights
from lora_ledger.methods import load
from lora_ledger.stages.train import train
from lora_ledger.study.schema import Study
from lora_ledger.training import run
from tiny_study import BESIDE as METHODS
from tiny_study import STUDY

from .test_resume import DEATHS, killed, outcome

ON_FAST = [name for name in METHODS if name not in ("embeddings", "layers")]
every = pytest.mark.parametrize("name", METHODS)


def study(backend: str = "fast", **compute: Any) -> Study:
    methods = {name: {**keys, "learning_rates": [3e-2]} for name, keys in METHODS.items()}
    for name in ("embeddings", "layers"):
        methods[name]["dropout"] = 0.1
    where = STUDY["compute"] | {"backend": backend, **compute}
    return Study.model_validate(STUDY | {"compute": where, "methods": methods})


def losses(results: dict[str, Any]) -> list[float]:
    return [loss for _, _, loss in results["loss_curve"] + results["validation"]["curve"]]


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["cpt", "ift"])
@pytest.mark.parametrize("name", ON_FAST)
def test_losses_of_both_paths_agree_step_by_step(job: Any, name: str, setting: str) -> None:
    fast, slow = (
        run.train(study(backend), job(name, setting, backend), "x").results
        for backend in ("fast", "plain")
    )
    assert losses(slow) == pytest.approx(losses(fast), abs=1e-5)
    curve = fast["validation"]["curve"]
    assert abs(curve[0][2] - curve[-1][2]) > 1e-3


@pytest.mark.slow
@every
def test_gradient_checkpointing_changes_nothing(job: Any, name: str) -> None:
    one, other = (
        run.train(study(gradient_checkpointing=on), job(name, "ift", f"w{on}"), "x")
        for on in (False, True)
    )
    assert losses(one.results) == pytest.approx(losses(other.results), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bitfit", "houlsby", "adapter-drop", "layers"])
def test_a_killed_run_ends_like_an_uninterrupted_one(name: str, job: Any, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    whole = train(study(), job(name), tmp_path / "whole")
    when = "second checkpoint"
    this = replace(job(name), work=tmp_path / "work-killed")
    killed(study(), this, tmp_path / "out", when)
    there = {int(p.parent.name.rpartition("-")[2]) for p in this.work.glob("*/complete")}
    assert there == set(DEATHS[when][0])
    assert outcome(train(study(), this, tmp_path / "out")) == outcome(whole)


def choices(lm: Any) -> list[float]:
    asked = [("The capital of", " a river"), ("a", "x"), ("12 + 30 =", " 42")]
    found = lm.loglikelihood([Instance("loglikelihood", {}, one, 0) for one in asked])
    return [float(nats) for nats, _ in found]


def texts(lm: Any) -> list[str]:
    settings = {"until": [], "max_gen_toks": 8, "do_sample": False, "temperature": 0.0}
    prompts = ["The capital of Ankara is", "a", "12 + 30 = "]
    return [
        one.text
        for one in lm.complete(
            [
                Instance("generate_until", {}, (prompt, settings), 0, metadata=("t", i, 1))
                for i, prompt in enumerate(prompts)
            ]
        )
    ]


@every
def test_what_is_evaluated_is_what_trained(name: str, job: Any, tmp_path: Path) -> None:
    """The probe of the trained weights, likelihoods by hand, and greedy texts from a KV cache."""
    this, out = job(name), tmp_path / "cell"
    record = train(study(), this, out)
    counted = (
        study()
        .methods[name]
        .trainable_parameters(json.loads((this.model / "config.json").read_text()))
    )
    assert record.results["parameters"]["trainable"] == counted
    cell = f"cpt/{name}/short/s1"
    model, _ = load_cell(this.model, out, "fp32", "cpu", study().methods[name])
    probe = load_file(out / "probe.safetensors")
    anywhere = load(load_weights(this.model).eval(), out / "adapter")
    for one in (model, anywhere):
        with torch.no_grad():
            found = one(input_ids=probe["input_ids"]).logits[:, -4:]
        assert torch.allclose(found, probe["logits"], rtol=0, atol=1e-5)
    with torch.no_grad():
        base = load_weights(this.model).eval()(input_ids=probe["input_ids"]).logits[:, -4:]
    assert float((base - probe["logits"]).abs().max()) > 1e-2
    asked = {}
    for backend in ("fast", "plain"):
        held = hold(study(backend), cell, this.model, out)
        # A bias is a linear layer's own; what else stays beside the weights is plain's matter.
        expected = backend if name == "bitfit" else "plain"
        assert held.where["backend"] == expected
        lm = held.language_model(batch_size=2, ends=("separator", "end_of_response"))
        asked[backend] = choices(lm), texts(lm)
    assert asked["fast"][0] == pytest.approx(asked["plain"][0], abs=1e-4)
    assert asked["fast"][1] == asked["plain"][1]
    ids = lm.tok_encode("The capital of") + lm.tok_encode(" a river", add_special_tokens=False)
    logs = anywhere(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    number = len(lm.tok_encode(" a river", add_special_tokens=False))
    by_hand = sum(float(logs[i - 1, ids[i]]) for i in range(len(ids) - number, len(ids)))
    assert asked["plain"][0][0] == pytest.approx(by_hand, abs=1e-4)
    untouched = hold(study("plain"), "base", this.model, None).language_model(batch_size=2)
    assert abs(choices(untouched)[0] - by_hand) > 1e-2


def test_added_biases_are_told(job: Any, capfd: pytest.CaptureFixture[str]) -> None:
    notes = run.train(study(), job("bitfit"), "x").results["notes"]
    assert "added with 0: the model has none" in notes["biases"]
    assert f"biases: {notes['biases']}\n" in capfd.readouterr().err
    assert "notes" not in run.train(study(), job("lin", work="w2"), "x").results


def test_the_prompt_takes_its_place_in_the_window(job: Any, tmp_path: Path) -> None:
    this, out = job("layers"), tmp_path / "cell"
    train(study(), this, out)
    held = hold(study(), "cpt/layers/short/s1", this.model, out)
    window = load_weights(this.model).config.max_position_embeddings
    assert held.language_model(batch_size=1).max_length == window - 3
    long = study().model_dump(mode="json", exclude_defaults=True)
    long["settings"]["cpt"]["sequence_length"] = window - 2
    with pytest.raises(ValueError, match=rf"sequence_length: .* expected {window - 3} at most"):
        run.train(Study.model_validate(long), this, "x")
