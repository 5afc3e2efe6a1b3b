"""Methods of peft's in whole runs: both paths, AdaLoRA's schedule and loss, virtual tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from lora_ledger.methods.pefts import facts
from lora_ledger.stages.train import train
from lora_ledger.study.schema import Study
from lora_ledger.training import run
from tiny_study import STUDY

from .test_resume import DEATHS, killed, outcome

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADALORA = {"peft_type": "ADALORA", "init_r": 4, "target_r": 2, "tinit": 1, "tfinal": 1}
ADALORA |= {"target_modules": ALL}
METHODS: dict[str, dict[str, Any]] = {
    "adalora": ADALORA,
    "ia3": {"peft_type": "IA3"},
    "ln": {"peft_type": "LN_TUNING"},
    "oft": {"peft_type": "OFT", "oft_block_size": 4, "target_modules": ALL},
    "vera": {"peft_type": "VERA", "r": 4, "target_modules": ALL, "d_initial": 1.0},
    "prefix": {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4},
    "prompt": {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4},
    "p": {"peft_type": "P_TUNING", "num_virtual_tokens": 4, "encoder_hidden_size": 16},
    "unpenalised": ADALORA | {"orth_reg_weight": 0.0},
}


def study(backend: str = "fast", **more: Any) -> Study:
    methods = {
        name: {"kind": "peft", "config": config, "learning_rates": [1e-2]}
        for name, config in METHODS.items()
    }
    where = STUDY["compute"] | {"backend": backend}
    return Study.model_validate(STUDY | {"compute": where, "methods": methods, **more})


def losses(results: dict[str, Any]) -> list[float]:
    curves: Sequence[Any] = results["loss_curve"] + results["validation"]["curve"]
    return [loss for _, _, loss in curves]


@pytest.mark.parametrize("setting", ["cpt", "ift"])
@pytest.mark.parametrize("method", ["adalora", "ia3", "oft", "vera"])
def test_both_paths_train_alike(job: Any, method: str, setting: str) -> None:
    fast, plain = (
        run.train(study(backend), job(method, setting, backend), "x").results
        for backend in ("fast", "plain")
    )
    assert losses(fast) == pytest.approx(losses(plain), abs=1e-4)
    assert fast["validation"]["end"] == pytest.approx(plain["validation"]["end"], abs=1e-2)
    assert fast["loss_curve"][0] != fast["loss_curve"][-1]


@pytest.mark.parametrize("method", ["ln", "prefix", "prompt", "p"])
def test_what_needs_its_own_forward_takes_the_plain_path(job: Any, method: str) -> None:
    assert run.settings_of(study(), job(method))["backend"] == "plain"
    results = run.train(study(), job(method, rate=1e-2), "x").results
    start, end = results["validation"]["start"], results["validation"]["end"]
    assert sum(end) < sum(start)


@pytest.mark.parametrize("method", ["prefix", "prompt", "p"])
@pytest.mark.parametrize("setting", ["cpt", "ift"])
def test_a_validation_with_virtual_tokens_is_of_the_text(
    job: Any, method: str, setting: str
) -> None:
    """The nats of each example by hand, from log-probabilities of peft's own forward."""
    out = run.train(study(), job(method, setting), "x")
    out.model.eval()
    by_hand = []
    for example in out.validation:
        ids = torch.tensor([example.input_ids])
        with torch.no_grad():
            found = out.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        # What stands at a text's position j follows its first j tokens.
        spoken = found[len(found) - ids.shape[1] :].log_softmax(-1)
        first = max(1, example.prompt_length)
        by_hand.append(-float(sum(spoken[j - 1, ids[0, j]] for j in range(first, ids.shape[1]))))
    assert out.results["validation"]["end"] == pytest.approx(by_hand, rel=1e-4)


def test_a_padded_batch_of_virtual_tokens_has_the_loss_of_its_examples(
    job: Any, tiny_model: Any
) -> None:
    from transformers import AutoModelForCausalLM

    from lora_ledger.training import plain
    from lora_ledger.training.batching import Example

    some = [Example(list(range(5, 5 + n)), p, 0) for n, p in ((12, 3), (7, 2), (20, 0))]
    for name in ("prefix", "prompt", "p"):
        base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        model = study().methods[name].apply(base, 1)
        with torch.no_grad():
            together = float(model.eval()(**plain.collate(some)).loss)
        alone = plain.nats_of_examples(model, some, "cpu", "fp32")
        assert together == pytest.approx(sum(alone), rel=1e-5), name


# --- AdaLoRA --------------------------------------------------------------------------------


def test_adaloras_schedule_is_the_runs(job: Any) -> None:
    """Five steps: the first leaves all ranks, then they fall, and half are left."""
    out = run.train(study(), job("adalora"), "x")
    config = out.model.peft_config["default"]
    assert config.total_step == out.results["steps"] == 5
    kept = [sum(rank) for rank in config.rank_pattern.values()]
    assert sum(kept) == 2 * len(kept) == 28
    assert len(set(kept)) > 1
    zero = [int((w == 0).sum()) for name, w in out.model.named_parameters() if ".lora_E." in name]
    assert sum(zero) == 4 * len(kept) - sum(kept)


def test_adaloras_penalty_is_what_pefts_forward_adds(job: Any, tiny_model: Any) -> None:
    from transformers import AutoModelForCausalLM

    method = study().methods["adalora"]
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model = method.apply(base, 1)
    ids = torch.arange(2, 34).view(2, 16)
    mine = model(input_ids=ids, labels=ids).loss
    penalty = method.penalty(model)
    assert penalty is not None
    del model.base_model.forward
    theirs = model(input_ids=ids, labels=ids).loss
    assert float(penalty.detach()) > 0.1
    assert float(theirs.detach()) == pytest.approx(float((mine + penalty).detach()), rel=1e-6)
    # The gradients too.
    weights = [w for name, w in model.named_parameters() if ".lora_A." in name]
    asked = [torch.autograd.grad(loss, weights) for loss in (theirs, mine + penalty)]
    for one, other in zip(*asked, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("micro", [1, 4])
def test_the_penalty_is_once_in_a_step_and_not_in_the_curves(job: Any, micro: int) -> None:
    """Whatever the micro-batches; without it other weights are learnt from the same first loss."""
    settings = {**STUDY["settings"]}
    settings["cpt"] = settings["cpt"] | {"micro_batch_size": micro}
    one, two = (
        losses(run.train(study(), job("adalora", work="two"), "x").results),
        losses(run.train(study(settings=settings), job("adalora", work="n"), "x").results),
    )
    assert one == pytest.approx(two, abs=3e-6)
    bare = losses(run.train(study(), job("unpenalised", work="bare"), "x").results)
    assert bare[0] == one[0]
    assert bare[4] != one[4]


def test_what_adalora_has_seen_is_in_a_checkpoint(job: Any, tiny_model: Any, tmp_path: Any) -> None:
    from transformers import AutoModelForCausalLM

    method = study().methods["adalora"]
    model = run.train(study(), job("adalora"), "x").model
    torch.save(method.state(model), tmp_path / "state.pt")
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    again = method.apply(base, 1)
    method.restore(again, torch.load(tmp_path / "state.pt", weights_only=True))
    for name in ("ipt", "exp_avg_ipt", "exp_avg_unc"):
        one, two = (getattr(m.base_model.rankallocator, name) for m in (model, again))
        # peft forgets what it has seen once the ranks are final; which are left it does not.
        assert one.keys() == two.keys()
    assert again.peft_config["default"].rank_pattern == model.peft_config["default"].rank_pattern
    again.train()
    for weight in again.parameters():
        if weight.requires_grad:
            weight.data += 0.1
    ids = torch.arange(2, 34).view(2, 16)
    method.begin(again, 8)
    for step in (1, 2):
        again(input_ids=ids, labels=ids).loss.backward()
        method.after_update(again, step)
    torch.save(method.state(again), tmp_path / "state.pt")
    third = method.apply(AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32), 1)
    method.restore(third, torch.load(tmp_path / "state.pt", weights_only=True))
    seen = again.base_model.rankallocator.exp_avg_ipt
    assert len(seen) == 3 * 14
    assert any(float(value.max()) > 0 for value in seen.values())
    for name, value in seen.items():
        assert torch.equal(third.base_model.rankallocator.exp_avg_ipt[name], value)


def test_a_run_too_short_for_adaloras_schedule_is_refused(job: Any) -> None:
    config = ADALORA | {"tinit": 4}
    short = study(methods={"adalora": {"kind": "peft", "config": config, "learning_rates": [1]}})
    with pytest.raises(ValueError, match=r"config.tinit: found 4, expected less than 4, the run's"):
        run.train(short, job("adalora"), "x")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["adalora", "oft", "prefix"])
def test_killed_runs_end_like_an_uninterrupted_one(method: str, job: Any, tmp_path: Any) -> None:
    torch.set_num_threads(1)
    whole = train(study(), job(method), tmp_path / "whole")
    for when in ("mid-run", "second checkpoint"):
        work, out = tmp_path / f"work-{when}", tmp_path / when
        this = replace(job(method), work=work)
        killed(study(), this, out, when)
        assert [int(p.parent.name.rpartition("-")[2]) for p in work.glob("*/complete")] == DEATHS[
            when
        ][0]
        assert outcome(train(study(), this, out)) == outcome(whole), when
    said = json.loads((tmp_path / "whole/adapter/adapter_config.json").read_text())
    assert said["peft_type"] == METHODS[method]["peft_type"]


def test_prefixes_and_recomputed_activations_do_not_go_together() -> None:
    for name in ("prefix", "prompt"):
        kind = METHODS[name]["peft_type"]
        method = study().methods[name]
        if kind in facts.PREFIXES:
            with pytest.raises(ValueError, match=r"compute.gradient_checkpointing: found True"):
                method.check_run(checkpointing=True, where="methods.prefix")
        else:
            method.check_run(checkpointing=True, where="methods.prompt")
