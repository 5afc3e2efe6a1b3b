"""Any method of peft's: keys that are checked, what trains, what is saved, how it is evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_ledger.methods.peft import PeftMethod
from lora_ledger.methods.pefts import counts, facts, modules, table

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LOW = {"r": 4, "target_modules": ALL}
KEYS: dict[str, dict[str, Any]] = {
    "ADALORA": {"init_r": 4, "target_r": 2, "tinit": 1, "tfinal": 1, "target_modules": ALL},
    "ADAMSS": {"r": 4, "num_subspaces": 2, "target_modules": ALL},
    "ADAPTION_PROMPT": {"adapter_len": 4, "adapter_layers": 2},
    "BEFT": {},
    "BOFT": {"boft_block_size": 4, "target_modules": ALL},
    "C3A": {"block_size": 4, "target_modules": ALL},
    "CARTRIDGE": {"num_virtual_tokens": 4},
    "DEFT": LOW,
    "DELORA": LOW,
    "FOURIERFT": {"n_frequency": 10, "target_modules": ALL},
    "FROD": {"target_modules": ALL},
    "GLORA": LOW,
    "GRALORA": LOW,
    "HIRA": LOW,
    "HRA": LOW,
    "IA3": {},
    "LN_TUNING": {},
    "LOHA": LOW,
    "LOKR": LOW,
    "MISS": LOW,
    "OFT": {"oft_block_size": 4, "target_modules": ALL},
    "OSF": {},
    "PEANUT": LOW,
    "PREFIX_TUNING": {"num_virtual_tokens": 4},
    "PROMPT_TUNING": {"num_virtual_tokens": 4},
    "PSOFT": LOW,
    "PVERA": LOW,
    "P_TUNING": {"num_virtual_tokens": 4, "encoder_hidden_size": 16},
    "RANDLORA": LOW,
    "ROAD": {"group_size": 4, "target_modules": ALL},
    "SHIRA": LOW,
    "SUPERTUNING": {"target_modules": ALL},
    "TINYLORA": {"target_modules": ALL},
    "TRAINABLE_TOKENS": {"token_indices": [5, 6, 7]},
    "UNILORA": {"target_modules": ALL},
    "VBLORA": {"r": 2, "num_vectors": 8, "vector_length": 4, "target_modules": ALL},
    "VERA": LOW,
    "WAVEFT": {"n_frequency": 10, "target_modules": ALL},
}
"""Each method that a study may have, with keys that fit the tiny model."""
IDS = torch.arange(2, 34).view(2, 16)


def peft(kind: str, **keys: Any) -> PeftMethod:
    config = {"peft_type": kind, **(keys or KEYS.get(kind, {}))}
    return PeftMethod(kind="peft", config=config, learning_rates=(1e-2,))


@pytest.fixture
def base(tiny_model: Path) -> Callable[[], Any]:
    return lambda: AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


@pytest.fixture
def config(tiny_model: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tiny_model / "config.json").read_text())
    return found


def logits(model: Any, ids: torch.Tensor = IDS) -> torch.Tensor:
    """Of the text, without those of virtual tokens."""
    model.eval()
    with torch.no_grad():
        result: torch.Tensor = model(input_ids=ids).logits[:, -ids.shape[1] :]
    return result


def trained(method: PeftMethod, model: Any, steps: int = 2) -> Any:
    """The model after a few steps of AdamW on one batch."""
    model = method.apply(model, 1)
    method.begin(model, 8)
    optimiser = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=1e-2)
    model.train()
    for step in range(1, steps + 1):
        torch.manual_seed(step)
        mask = torch.ones_like(IDS)
        model(input_ids=IDS, attention_mask=mask, labels=IDS).loss.backward()
        optimiser.step()
        method.after_update(model, step)
        optimiser.zero_grad()
    return model


def test_the_table_is_the_installed_pefts() -> None:
    made = table.of_installed()
    file = Path(table.__file__).with_name(table.TABLE)
    assert table.text(made) == file.read_text("utf-8"), (
        "write it again with python -m lora_ledger.methods.pefts.table, and read what changed"
    )


def test_every_method_of_peft_is_tried_or_refused_with_a_reason() -> None:
    assert set(table.of_installed()["types"]) == set(KEYS) | set(facts.NOT_HERE)
    assert not set(KEYS) & set(facts.NOT_HERE)
    for kind, reason in facts.NOT_HERE.items():
        with pytest.raises(ValueError, match=f"found '{kind}', expected one of .*: {reason}"):
            peft(kind, r=4)


@pytest.mark.parametrize("kind", sorted(KEYS))
def test_a_method_trains_is_saved_and_is_evaluated_as_it_was_trained(
    kind: str, base: Any, tiny_model: Path, config: dict[str, Any], tmp_path: Path
) -> None:
    method, plain = peft(kind), logits(base())
    method.check(config)
    start = logits(method.apply(base(), 1))
    close = float((start - plain).abs().max())
    assert (close < 1e-5) == (kind in facts.CLOSE_TO_BASE), close
    model = trained(method, base())
    counted = sum(w.numel() for w in model.parameters() if w.requires_grad)
    assert method.trainable_parameters(config) == counted
    assert method.held_parameters(config) >= counted
    assert {w.dtype for w in model.parameters() if w.requires_grad} == {torch.float32}
    ended = logits(model)
    # Something was learnt.
    assert float((ended - start).abs().max()) > 1e-4
    # A token's logits are its own: of what stands before it, in whatever batch.
    assert torch.allclose(logits(model, IDS[1:, :9]), ended[1:, :9], atol=1e-4)
    folders = [tmp_path / "one", tmp_path / "two"]
    method.save(model, folders[0], "a-model", tiny_model)
    method.save(trained(method, base()), folders[1], "a-model", tiny_model)
    files = [{path.name: path.read_bytes() for path in one.iterdir()} for one in folders]
    assert files[0] == files[1]
    assert set(files[0]) == {"adapter_config.json", "adapter_model.safetensors"}
    said = json.loads(files[0]["adapter_config.json"])
    assert said["peft_type"] == kind
    assert said["base_model_name_or_path"] == "a-model"
    assert str(tiny_model) not in json.dumps(said)
    torch.manual_seed(5)
    loaded = method.load(base(), folders[0])
    assert hasattr(loaded, "peft_config") != method.merges
    assert torch.allclose(logits(loaded), ended, atol=1e-4)
    # As anybody loads it.
    from peft import PeftModel

    assert torch.allclose(logits(PeftModel.from_pretrained(base(), folders[0])), ended, atol=1e-4)


@pytest.mark.parametrize("kind", sorted(KEYS))
def test_what_merges_is_what_peft_merges(kind: str, base: Any) -> None:
    model = trained(peft(kind), base())
    unmerged = logits(model)
    names = {name for name, _ in base().named_parameters()}
    try:
        merged = model.merge_and_unload(safe_merge=True)
    except (AttributeError, NotImplementedError, ValueError):
        assert not peft(kind).merges
        return
    assert peft(kind).merges
    assert torch.allclose(logits(merged), unmerged, atol=1e-4)
    assert {name for name, _ in merged.named_parameters()} == names


# --- keys -----------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no type": ({}, r"config.peft_type: found 'nothing', expected one of ADALORA"),
    "a type in other letters": ({"peft_type": "ia3"}, r"did you mean 'IA3'"),
    "an unknown key": (
        {"peft_type": "VERA", "vera_dropuot": 0.1},
        r"config.vera_dropuot: found 0.1, expected a key of VERA: .*; did you mean 'vera_dropout'",
    ),
    "a key of another type": (
        {"peft_type": "IA3", "r": 8},
        r"config.r: found 8, expected a key of IA3",
    ),
    "a text for a number": (
        {"peft_type": "VERA", "r": "256"},
        r"config.r: found '256', expected int",
    ),
    "a truth value for a number": ({"peft_type": "VERA", "r": True}, r"expected int"),
    "a number for a truth value": ({"peft_type": "OFT", "coft": 1}, r"found 1, expected bool"),
    "a list of numbers": (
        {"peft_type": "IA3", "target_modules": [1]},
        r"found \[1\], expected list\[str\] or str or null",
    ),
    "a misspelt choice": (
        {"peft_type": "ROAD", "variant": "road_3"},
        r"found 'road_3', expected road_1 or road_2 or road_4; did you mean 'road_",
    ),
    "a rank of 0": ({"peft_type": "VERA", "r": 0}, r"found 0, expected a number above 0"),
    "a dropout of 1": ({"peft_type": "VERA", "vera_dropout": 1}, r"a share from 0 to below 1"),
    "another task": (
        {"peft_type": "IA3", "task_type": "SEQ_CLS"},
        r"config.task_type: found 'SEQ_CLS', expected CAUSAL_LM",
    ),
    "the run's length": (
        {"peft_type": "ADALORA", "total_step": 100},
        r"config.total_step: found 100, expected nothing: it is the number of the run's steps",
    ),
    "a rank that cannot fall": (
        {"peft_type": "ADALORA", "init_r": 8, "target_r": 8},
        r"config.target_r: found 8, expected less than init_r, which is 8",
    ),
    "LoRA's rank": ({"peft_type": "ADALORA", "r": 4}, r"AdaLoRA has init_r and target_r"),
    "both of OFT's sizes": ({"peft_type": "OFT", "r": 4}, r"r or oft_block_size, one of them 0"),
    "no virtual tokens": (
        {"peft_type": "PREFIX_TUNING"},
        r"config.num_virtual_tokens: found 'nothing', expected this key of PREFIX_TUNING",
    ),
    "what the model says": (
        {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4, "num_layers": 3},
        r"config.num_layers: found 3, expected nothing: it is found in the model's config.json",
    ),
    "a text without its init": (
        {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4, "prompt_tuning_init_text": "a"},
        r"expected a text with prompt_tuning_init TEXT alone",
    ),
    "whole modules": (
        {"peft_type": "IA3", "modules_to_save": ["lm_head"]},
        r"config.modules_to_save: .* `kind: full`",
    ),
    "answers that are drawn": (
        {"peft_type": "PVERA", "sample_at_inference": True},
        r"expected nothing: an evaluation has one answer",
    ),
    "blocks of a pattern": (
        {"peft_type": "OFT", "target_modules": ".*q_proj", "layers_to_transform": [0]},
        r"a list of names with layers_to_transform",
    ),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_cannot_be_meant_is_refused_as_the_study_is_read(case: str) -> None:
    keys, said = REFUSED[case]
    with pytest.raises(ValueError, match=said):
        PeftMethod(kind="peft", config=keys, learning_rates=(1e-3,))


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "a module that is not there": (
        {"peft_type": "IA3", "target_modules": ["k_porj"]},
        r"m.config.target_modules: found 'k_porj', expected modules that IA3 adapts: q_proj, .*; "
        "did you mean 'k_proj'",
    ),
    "a norm": ({"peft_type": "OFT", "target_modules": ["norm"]}, r"modules that OFT adapts"),
    "a linear module": (
        {"peft_type": "LN_TUNING", "target_modules": ["q_proj"]},
        r"modules that LN_TUNING adapts: input_layernorm",
    ),
    "a pattern of nothing": (
        {"peft_type": "OFT", "target_modules": "q_proj"},
        r"a pattern of whole names of modules for OFT, such as model.layers.0.self_attn.q_proj",
    ),
    "a pattern of everything": (
        {"peft_type": "OFT", "target_modules": ".*"},
        r"a pattern without lm_head: modules of the blocks are adapted alone",
    ),
    "no pattern": ({"peft_type": "OFT", "target_modules": "("}, r"a regular expression \("),
    "no modules of peft's": ({"peft_type": "ADALORA"}, r"peft has no modules for ADALORA"),
    "an architecture": (
        {"peft_type": "ADAPTION_PROMPT", "adapter_len": 4, "adapter_layers": 1},
        r"m.config.peft_type: found 'ADAPTION_PROMPT', expected a method for a qwen3 model; "
        "ADAPTION_PROMPT is for llama, mistral",
    ),
    "a size that does not divide": (
        {"peft_type": "C3A"},
        r"m.config.block_size: found 256, expected a divisor of 64, the inputs of q_proj",
    ),
    "a block too many": (
        {"peft_type": "OFT", "layers_to_transform": [2], "target_modules": ["q_proj"]},
        r"m.config.layers_to_transform: found 2, expected blocks from 0 to 1",
    ),
    "feedforward that is no target": (
        {"peft_type": "IA3", "target_modules": ["k_proj"], "feedforward_modules": ["up_proj"]},
        r"m.config.feedforward_modules: found 'up_proj', expected modules among the targets",
    ),
    "tokens that are not there": (
        {"peft_type": "TRAINABLE_TOKENS", "token_indices": [1, 258]},
        r"m.config.token_indices: found 258, expected ids from 0 to 257",
    ),
    "no room for a text": (
        {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 2048},
        r"m.config.num_virtual_tokens: found 2048, expected fewer than 2048",
    ),
}


@pytest.mark.parametrize("case", sorted(UNFIT))
def test_what_the_model_cannot_have_is_refused_without_loading_it(
    case: str, config: dict[str, Any]
) -> None:
    keys, said = UNFIT[case]
    if case == "an architecture":
        config["model_type"] = "qwen3"
    if case == "no modules of peft's":
        config["model_type"] = "mistral"
    method = PeftMethod(kind="peft", config=keys, learning_rates=(1e-3,))
    with pytest.raises(ValueError, match=said):
        method.check(config, "m.")


# --- numbers of weights ---------------------------------------------------------------------

EXACT = (
    *(("IA3", {}), ("IA3", {"target_modules": "all-linear", "feedforward_modules": ["up_proj"]})),
    ("IA3", {"target_modules": r".*layers\.0\..*(q|v)_proj", "feedforward_modules": []}),
    *(("VERA", {"r": 8}), ("VERA", {"r": 3, "target_modules": ALL, "layers_to_transform": [1]})),
    ("ADALORA", KEYS["ADALORA"]),
    ("ADALORA", {"target_modules": "all-linear", "exclude_modules": ["up_proj"]}),
    *(("OFT", {}), ("OFT", {"r": 4, "oft_block_size": 0}), ("OFT", {"block_share": True})),
    *(("LN_TUNING", {}), ("LN_TUNING", {"target_modules": ["input_layernorm"]})),
    ("PREFIX_TUNING", {"num_virtual_tokens": 5}),
    ("PREFIX_TUNING", {"num_virtual_tokens": 3, "prefix_projection": True}),
    (
        "PREFIX_TUNING",
        {"num_virtual_tokens": 3, "prefix_projection": True, "encoder_hidden_size": 7},
    ),
)


@pytest.mark.parametrize(("kind", "keys"), EXACT)
@pytest.mark.parametrize("model_type", ["llama", "qwen3"])
def test_closed_forms_are_what_is_counted(
    kind: str, keys: dict[str, Any], model_type: str, config: dict[str, Any]
) -> None:
    """On a Qwen3 with heads wider than its hidden size, grouped keys and norms of heads too."""
    if model_type == "qwen3":
        config |= {"model_type": "qwen3", "head_dim": 32}
        for key in ("architectures", "attention_bias", "mlp_bias", "pretraining_tp"):
            config.pop(key, None)
    asked = {"peft_type": kind, **keys}
    exact = counts.closed_form(config, asked)
    assert exact is not None
    skeleton = counts.counted(config, asked)
    # Without weights peft leaves AdaLoRA's one number a module to train.
    ranks = len(modules.adapted(config, asked)) if kind == "ADALORA" else 0
    assert exact == skeleton - ranks > 0


@pytest.mark.parametrize("kind", sorted(KEYS))
def test_memory_is_planned_for_no_less_than_trains(kind: str, config: dict[str, Any]) -> None:
    """With peft's own ranks too, where they fit."""
    for keys in (KEYS[kind], {k: v for k, v in KEYS[kind].items() if k == "num_virtual_tokens"}):
        try:
            method = PeftMethod(kind="peft", config={"peft_type": kind, **keys}, at="m")
            method.check(config)
        except ValueError:
            continue
        if kind not in (*counts.OF_THE_WEIGHTS, "SHIRA", "PSOFT"):
            assert method.held_parameters(config) >= method.trainable_parameters(config)
        assert method.flops_per_token(config, 64) > 0
