"""The training path against the plain one: loss, gradients, curves, and what wraps a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM

from lora_ledger.compute.casts import Casts
from lora_ledger.compute.cpu import attention
from lora_ledger.methods.full import FullMethod
from lora_ledger.methods.lora import LoraMethod
from lora_ledger.training import patching
from lora_ledger.training.batching import Example, collate
from tiny_study import rows

LORA = {"rank": 4, "dropout": 0.0, "learning_rates": (1e-3,), "kind": "lora"}
METHODS: dict[str, Any] = {
    "full": FullMethod(kind="full", learning_rates=(1e-3,)),
    "lora": LoraMethod(**LORA),
    "attention only": LoraMethod(**LORA, target_modules=("attention",)),
    "rslora": LoraMethod(**LORA, rslora=True),
    "dora": LoraMethod(**LORA, dora=True),
    "pissa": LoraMethod(**LORA, init="pissa"),
}
SIZES = {
    "vocab_size": 258,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": 0,
}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    "mistral": {"sliding_window": 16},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 16},
}


def made(kind: str, method: str = "full", seed: int = 0) -> Any:
    """A random model whose adapter, if it has one, is not 0."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **SIZES, **KINDS[kind])
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    for weight in model.parameters():
        # Initial matrices of 0.02 would hide attention behind the residual stream.
        torch.nn.init.normal_(weight, std=0.2)
    model = METHODS[method].apply(model, seed)
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return model.train()


def examples(number: int = 6) -> list[Example]:
    return [Example(**row) for row in rows("ift", number, 5)]


def plain_loss(model: Any, data: list[Example]) -> torch.Tensor:
    """Summed nats through the model's own logits: one sequence at a time, nothing packed."""
    total = torch.zeros(())
    for example in data:
        logits = model(input_ids=torch.tensor([example.input_ids])).logits[0].float()
        first = max(1, example.prompt_length)
        total = total + functional.cross_entropy(
            logits[first - 1 : -1], torch.tensor(example.input_ids[first:]), reduction="sum"
        )
    return total


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    loss.backward()
    found = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm().clamp_min(1e-12))


CASES = [(kind, "full") for kind in KINDS] + [("llama", method) for method in METHODS]
CASES += [("qwen3", "lora"), ("mistral", "dora")]


@pytest.mark.parametrize(("kind", "method"), sorted(set(CASES)))
@pytest.mark.parametrize("by_hand", [True, False])
def test_loss_and_gradients_in_fp32(kind: str, method: str, by_hand: bool) -> None:
    model, data = made(kind, method), examples()
    theirs = plain_loss(model, data)
    expected = gradients(model, theirs)
    patching.install(model, by_hand=by_hand)
    ours = model(**collate(data)).loss
    found = gradients(model, ours)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        # A bias of the keys moves all scores of a query alike, so its gradient is 0 but for noise.
        if not name.endswith("k_proj.bias"):
            assert error(found[name], gradient) < 1e-5, name


@pytest.mark.parametrize("method", ["full", "lora", "dora"])
def test_bf16_is_as_close_to_fp32_as_the_plain_path(method: str) -> None:
    """Errors of all gradients against fp32: ours against those of two orders of plain autocast."""
    data = examples(12)
    model = made("llama", method)
    exact = gradients(model, plain_loss(model, data))

    def spread(found: dict[str, torch.Tensor]) -> float:
        return sum(error(found[name], exact[name]) for name in exact if "k_proj.b" not in name)

    plain = []
    for how in ("sdpa", "eager"):
        model.get_base_model().set_attn_implementation(how) if method != "full" else None
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = plain_loss(model, data)
        plain.append((spread(gradients(model, loss)), float(loss.detach())))
    patching.install(model, by_hand=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**collate(data)).loss
    ours = spread(gradients(model, loss))
    assert ours < 1.15 * max(errors for errors, _ in plain)
    assert float(loss.detach()) == pytest.approx(plain[0][1], rel=2e-3)


def train_by_hand(model: Any, step: Callable[[int], torch.Tensor], steps: int) -> list[float]:
    adamw = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=3e-3)
    curve = []
    for number in range(steps):
        loss = step(number)
        loss.backward()
        adamw.step()
        adamw.zero_grad()
        curve.append(float(loss.detach()))
    return curve


@pytest.mark.slow
@pytest.mark.parametrize(("method", "precision"), [("full", "bf16"), ("lora", "fp32")])
def test_fifty_steps_follow_the_plain_path(method: str, precision: str, tiny_model: Path) -> None:
    data = examples(8)
    batches = [data[4 * (i % 2) :][:4] for i in range(50)]
    curves = []
    for plain in (True, False):
        model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        model = METHODS[method].apply(model, 0).train()
        casts = Casts() if plain else patching.install(model, by_hand=True)
        casts.keep = True

        def step(number: int, model: Any = model, plain: bool = plain) -> torch.Tensor:
            batch = batches[number]
            tokens = sum(example.loss_tokens for example in batch)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                loss = plain_loss(model, batch) if plain else model(**collate(batch)).loss
            return loss / tokens

        curves.append(train_by_hand(model, step, 50))
    theirs, ours = (torch.tensor(curve) for curve in curves)
    assert float(theirs[-1]) < 0.98 * float(theirs[0])
    assert float((ours - theirs).abs().max()) < (1e-4 if precision == "fp32" else 1e-2)


def test_whatever_else_is_asked_of_the_model_is_as_before() -> None:
    """Logits, padded batches and generation, while the path is in place and after it is gone."""
    model = made("mistral").eval()
    ids = torch.randint(2, 250, (2, 24), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    with torch.no_grad():
        before = model(input_ids=ids, attention_mask=mask).logits
        text = model.generate(ids, attention_mask=mask, max_new_tokens=4, do_sample=False)
        patching.install(model, by_hand=True)
        assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, before)
        again = model.generate(ids, attention_mask=mask, max_new_tokens=4, do_sample=False)
        assert torch.equal(again, text)
        patching.uninstall(model)
        assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, before)
    assert all("forward" not in module.__dict__ for module in model.modules())


@pytest.mark.parametrize("method", ["full", "lora", "dora"])
def test_checkpointing_computes_blocks_twice_and_changes_no_bit(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, calls = [], 0
    original = attention.Attention.forward

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return original(*args)

    monkeypatch.setattr(attention.Attention, "forward", staticmethod(counted))
    for on in (False, True):
        model = made("llama", method)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.1
        patching.install(model, by_hand=True)
        if on:
            model.activation_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(4)
        before = calls
        found.append(gradients(model, model(**collate(examples())).loss))
        assert calls - before == (4 if on else 2)
    for name, gradient in found[0].items():
        assert torch.equal(gradient, found[1][name]), name


def _sharded(rank: int, store: str, out: str) -> None:
    from torch import distributed
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    mesh = distributed.init_device_mesh("cpu", (2,))
    found: dict[str, Any] = {}
    for method in ("full", "lora"):
        model = made("llama", method)
        patching.install(model, by_hand=True)
        base = model.get_base_model() if method != "full" else model
        for layer in base.get_decoder().layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        loss = model(**collate(examples()[3 * rank : 3 * rank + 3])).loss
        loss.backward()
        total = loss.detach().clone()
        distributed.all_reduce(total)
        found[method] = (
            total,
            {
                name: weight.grad.full_tensor()
                for name, weight in model.named_parameters()
                if weight.grad is not None
            },
        )
    if rank == 0:
        torch.save(found, out)
    distributed.destroy_process_group()


def test_two_processes_under_fsdp_find_the_same(tmp_path: Path) -> None:
    """Each has half of the examples; FSDP averages gradients, so their sum is twice that."""
    torch.multiprocessing.start_processes(
        _sharded,
        args=(str(tmp_path / "store"), str(tmp_path / "out")),
        nprocs=2,
        start_method="fork",
    )
    for method, (total, found) in torch.load(tmp_path / "out").items():
        model = made("llama", method)
        theirs = plain_loss(model, examples())
        expected = gradients(model, theirs)
        assert float(total) == pytest.approx(float(theirs.detach()), rel=1e-5)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            if not name.endswith("k_proj.bias"):
                assert error(2 * found[name], gradient) < 1e-5, name
