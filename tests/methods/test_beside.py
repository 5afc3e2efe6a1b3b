"""Methods whose weights stay beside the base's: counts, starts, what is saved, and `load`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from lora_ledger.methods import KINDS, MethodBase, colours, load
from lora_ledger.methods.lora import LoraMethod
from tiny_study import BESIDE as METHODS

SMOLLM2 = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}
GPT3 = {
    "model_type": "llama",
    "vocab_size": 50257,
    "hidden_size": 12288,
    "intermediate_size": 49152,
    "num_hidden_layers": 96,
    "num_attention_heads": 96,
}
IDS = torch.arange(2, 34).view(2, 16)
every = pytest.mark.parametrize("name", METHODS)


def made(name: str = "", **keys: Any) -> MethodBase:
    keys = {**METHODS.get(name, {}), "learning_rates": [1e-3], **keys}
    kind = next(k for k in KINDS if keys["kind"] in get_args(k.model_fields["kind"].annotation))
    return kind.model_validate(keys)


@pytest.fixture
def base(tiny_model: Path) -> Callable[[], Any]:
    return lambda: AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


def logits(model: Any, ids: torch.Tensor = IDS) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        result: torch.Tensor = model(input_ids=ids).logits
    return result


def perturb(model: Any) -> Any:
    """A stand-in for training: noise on every weight that trains."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn(weight.shape, generator=draw))
    return model


def test_counts_are_those_of_hu_et_al() -> None:
    """Table 4 of Hu et al. 2021, whose adapters^H on GPT-3 train no norms: 7.1 M and 40.1 M."""
    for width, millions in ((1, 7.1), (8, 40.1)):
        method = made("houlsby", bottleneck=width, train_norms=False)
        assert round(method.trainable_parameters(GPT3) / 1e6, 1) == millions
    # An adapter of width 8 at d = 576 has 2·576·8 + 8 + 576 = 9800 weights, a norm 576.
    counted = {
        "houlsby": 60 * 9800 + 60 * 576,
        "lin": 30 * 9800 + 30 * 576,
        "pfeiffer": 30 * 9800 + 60 * 576,
        "adapter-drop": 29 * 9800,
    }
    for name, number in counted.items():
        assert made(name, bottleneck=8).trainable_parameters(SMOLLM2) == number
    # Outputs of q, k, v, o: 576, 192, 192, 576; of gate, up, down: 1536, 1536, 576.
    assert made("bitfit").trainable_parameters(SMOLLM2) == 30 * 5184
    qwen = {**SMOLLM2, "model_type": "qwen2"}
    assert made("bitfit").trainable_parameters(qwen) == 30 * (576 + 192 + 192)
    # 2 · 305,280 of LoRA, d·p of PreEmbed, L·d·p of PreLayer.
    assert made("embeddings").trainable_parameters(SMOLLM2) == 610_560 + 576 * 3
    assert made("layers").trainable_parameters(SMOLLM2) == 610_560 + 30 * 576 * 3


def test_flops_on_smollm2() -> None:
    """Two a weight and pass; scores and mixing 4·576 a position seen, (512 + 1)/2 on average."""
    head, blocks = 49152 * 576, 134_515_008 - 61 * 576 - 49152 * 576
    attention = 30 * 4 * 576 * 513 / 2
    frozen = 4 * (head + blocks) + 3 * attention
    flops = {
        "bitfit": frozen,
        "houlsby": frozen + 6 * 60 * 2 * 576 * 4,
        "lin": frozen + 6 * 30 * 2 * 576 * 4,
        "pfeiffer": frozen + 6 * 30 * 2 * 576 * 4,
    }
    for name, number in flops.items():
        assert made(name).flops_per_token(SMOLLM2, 512) == number
    # Ten of the blocks have no backward pass.
    dropped = made("adapter-drop", dropped=10).flops_per_token(SMOLLM2, 512)
    below = (2 * blocks + 2 * attention) / 3
    assert dropped == pytest.approx(frozen - below + 6 * 20 * 2 * 576 * 4, rel=1e-12)
    # A position of the prompt costs what one of the text does, without the head.
    lora = LoraMethod(kind="lora", rank=2, learning_rates=(1e-3,))
    sequence = lora.flops_per_token(SMOLLM2, 515) * 515 - 3 * 4 * head
    assert made("embeddings").flops_per_token(SMOLLM2, 512) == pytest.approx(sequence / 512)


@every
def test_the_weights_that_train_are_those_counted_and_in_fp32(
    name: str, base: Any, tiny_model: Path
) -> None:
    model = made(name).apply(base().to(torch.bfloat16), 0)
    weights = [w for w in model.parameters() if w.requires_grad]
    config = json.loads((tiny_model / "config.json").read_text())
    assert sum(w.numel() for w in weights) == made(name).trainable_parameters(config)
    assert {w.dtype for w in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("embeddings", "layers")])
def test_the_start_is_the_base(name: str, base: Any) -> None:
    method = made(name)
    model = method.apply(base(), 0)
    expected = logits(base())
    # A bias of 0 may round otherwise on another processor.
    assert torch.allclose(logits(model), expected, rtol=0, atol=1e-6)
    if name != "bitfit":
        assert torch.equal(logits(model), expected)
    # It trains all the same.
    model(input_ids=IDS, labels=IDS).loss.backward()
    grads = [w.grad for w in model.parameters() if w.requires_grad]
    assert all(grad is not None for grad in grads)
    assert any(grad.abs().sum() > 0 for grad in grads)


def test_adapters_compute_what_their_papers_say(base: Any) -> None:
    """By a second implementation: blocks written out, with D, U and their biases."""

    def adapter(block: Any, place: str, h: torch.Tensor) -> torch.Tensor:
        parts = getattr(block, f"adapter_{place}")
        activate = {"houlsby": functional.gelu, "lin": functional.relu}.get(name, functional.silu)
        x = h
        if name == "lin":
            scale = parts["norm"].weight
            x = scale * h / (h.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
        inner = activate(x @ parts["down"].weight.T + parts["down"].bias)
        return h + inner @ parts["up"].weight.T + parts["up"].bias

    for name in ("houlsby", "lin", "pfeiffer"):
        model = perturb(made(name).apply(base(), 0))
        decoder = model.get_decoder()
        h = decoder.embed_tokens(IDS)
        assert model.config.rms_norm_eps == 1e-6
        positions = torch.arange(16)[None]
        turned = decoder.rotary_emb(h, position_ids=positions)
        mask = torch.full((16, 16), float("-inf")).triu(1)[None, None]
        for block in decoder.layers:
            # `forward` of the projections, which hooks do not see.
            attention = block.self_attn
            hooks, attention.o_proj._forward_hooks = attention.o_proj._forward_hooks, {}
            mixed = attention(block.input_layernorm(h), turned, mask)[0]
            attention.o_proj._forward_hooks = hooks
            h = h + (adapter(block, "attention", mixed) if name == "houlsby" else mixed)
            x, mlp = block.post_attention_layernorm(h), block.mlp
            hidden = functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x)
            out = hidden @ mlp.down_proj.weight.T
            h = h + (adapter(block, "mlp", out) if name == "houlsby" else out)
            if name != "houlsby":
                h = adapter(block, "block", h)
        expected = decoder.norm(h) @ model.get_output_embeddings().weight.T
        assert torch.allclose(logits(model), expected, rtol=0, atol=1e-4), name


def test_the_first_blocks_have_no_adapter_and_pass_no_gradient(base: Any) -> None:
    model = made("adapter-drop").apply(base(), 0)
    held = {path.split(".")[2] for path, w in model.named_parameters() if w.requires_grad}
    assert held == {"1"}
    inputs = []
    model.get_decoder().layers[0].register_forward_hook(lambda m, i, out: inputs.append(out))
    model(input_ids=IDS)
    assert not inputs[0].requires_grad


def test_biases_of_a_model_that_has_some_are_those_that_train() -> None:
    config = Qwen2Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = made("bitfit").apply(Qwen2ForCausalLM(config), 0)
    names = {path.split(".", 3)[3] for path, w in model.named_parameters() if w.requires_grad}
    assert names == {f"self_attn.{one}_proj.bias" for one in "qkv"}
    said = made("bitfit").notes(config.to_dict())
    assert said == {"biases": "of q_proj, k_proj, v_proj"}
    added = made("bitfit").notes(SMOLLM2)["biases"]
    assert added.endswith("down_proj, added with 0: the model has none")


@every
def test_one_function_loads_what_is_saved(
    name: str, base: Any, tiny_model: Path, tmp_path: Path
) -> None:
    method = made(name)
    model = perturb(method.apply(base(), 0))
    folders = [tmp_path / one for one in ("one", "two")]
    for folder in folders:
        method.save(model, folder, "tiny-random-llama", tiny_model)
    assert sorted(path.name for path in folders[0].iterdir()) == [
        "method.json",
        "weights.safetensors",
    ]
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()
        assert str(tmp_path).encode() not in path.read_bytes()
    loaded = load(base(), folders[0])
    assert torch.allclose(logits(loaded), logits(model), rtol=0, atol=1e-5)
    assert not torch.allclose(logits(loaded), logits(base()), atol=1e-2)
    assert not any(w.requires_grad for w in loaded.parameters())
    assert load(base().to(torch.bfloat16), folders[0]).dtype == torch.bfloat16


@every
def test_texts_with_a_cache_are_texts_without(name: str, base: Any) -> None:
    """Greedy texts of a padded batch, with a KV cache, against passes over one whole sequence."""
    method = made(name)
    model = perturb(method.apply(base(), 0)).eval()
    prompts = [[5, 6, 7, 8, 9, 10, 11], [40, 41, 42], [77]]
    expected = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(8):
            ids.append(int(logits(model, torch.tensor([ids]))[0, -1].argmax()))
        expected.append(ids[len(prompt) :])
    width = max(map(len, prompts))
    rows = torch.tensor([[0] * (width - len(one)) + one for one in prompts])
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts])
    for cached in (True, False):
        found = model.generate(
            input_ids=rows,
            attention_mask=mask,
            max_new_tokens=8,
            do_sample=False,
            use_cache=cached,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert found[:, width:].tolist() == expected


FRESH = """
import sys, torch
from transformers import AutoModelForCausalLM
from lora_ledger.methods import load
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
for folder in sys.argv[2:]:
    known = torch.load(folder + "/known.pt")
    again = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
    with torch.no_grad():
        found = load(again, folder)(input_ids=known["ids"]).logits
        base = model(input_ids=known["ids"]).logits
    print(float((found - known["logits"]).abs().max()), float((base - found).abs().max()))
"""


@pytest.mark.slow
def test_a_fresh_process_needs_transformers_and_one_function(
    base: Any, tiny_model: Path, tmp_path: Path
) -> None:
    """A peft folder too."""
    methods = {name: made(name) for name in METHODS}
    methods["lora"] = LoraMethod(kind="lora", rank=2, learning_rates=(1e-3,))
    for name, method in methods.items():
        model = perturb(method.apply(base(), 0))
        method.save(model, tmp_path / name, "tiny-random-llama", tiny_model)
        torch.save({"ids": IDS, "logits": logits(model)}, tmp_path / name / "known.pt")
    folders = [str(tmp_path / name) for name in methods]
    said = subprocess.run(
        [sys.executable, "-c", FRESH, str(tiny_model), *folders],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(said) == len(methods)
    for name, line in zip(methods, said, strict=True):
        wrong, changed = map(float, line.split())
        assert wrong < 1e-5, name
        assert changed > 1e-2, name


def test_what_is_no_cell_or_another_models_is_refused(
    base: Any, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"found nothing, expected method\.json or adapter"):
        load(base(), tmp_path)
    method = made("lin")
    method.save(method.apply(base(), 0), tmp_path, "tiny-random-llama", tiny_model)
    said = json.loads((tmp_path / "method.json").read_text())
    assert said["base_model_name_or_path"] == "tiny-random-llama"
    other = {**said["method"], "bottleneck": 5}
    (tmp_path / "method.json").write_text(json.dumps({**said, "method": other}))
    with pytest.raises(ValueError, match=r"found model\.layers\.0\.adapter_block\.down.* \(4,\)"):
        load(base(), tmp_path)
    (tmp_path / "method.json").write_text(json.dumps({**said, "method": {"kind": "lim"}}))
    with pytest.raises(ValueError, match=r"found 'lim', expected a kind of method: .*mean 'lin'"):
        load(base(), tmp_path)


@pytest.mark.parametrize(
    ("name", "keys", "said"),
    [
        ("lin", {"bottleneck": 576}, r"m\.bottleneck: found 576, expected 575 at most"),
        ("adapter-drop", {"dropped": 30}, r"m\.dropped: found 30, expected 29 at most"),
        ("adapter-drop", {"bottleneck": 600}, r"m\.bottleneck: found 600"),
        ("embeddings", {"prompt_tokens": 2048}, r"m\.prompt_tokens: found 2048, expected 2047 at"),
        ("embeddings", {"target_modules": ("o",)}, r"m\.target_modules: found 'o'"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(name: str, keys: Any, said: str) -> None:
    config = {**SMOLLM2, "max_position_embeddings": 2048}
    with pytest.raises(ValueError, match=said):
        made(name, **keys).check(config, "m.")
    made(name).check(config, "m.")


def test_widths_darken_and_kinds_are_apart() -> None:
    study = {name: made(name) for name in METHODS if name != "layers"}
    study["lin-16"] = made("lin", bottleneck=16)
    found = colours(study)
    assert len(set(found.values())) == len(study)
    assert found["lin-16"] == "#6b3d12"
    assert made("lin").distance(study["lin-16"]) == pytest.approx(1.386294)
    assert made("lin").distance(made("pfeiffer")) == float("inf")
