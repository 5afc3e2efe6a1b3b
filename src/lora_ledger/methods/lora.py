"""LoRA through peft, with rsLoRA, DoRA and the initialisations that split the base weight.

In: a model and a `LoraMethod`. Out: a peft model whose adapter alone trains; saved as a peft folder
that loads on the untouched base model, whatever the initialisation.
PiSSA and OLoRA train B A beside W − s B₀ A₀. They are saved as an ordinary LoRA of twice the rank:
s (B A − B₀ A₀) = s [B, −B₀] [A; A₀].
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_ledger.common.seeds import stream
from lora_ledger.models import architecture
from lora_ledger.study.schema import LoraMethod

ARTEFACT = "adapter"
WEIGHTS = "adapter_model.safetensors"
SPLITS_BASE = ("pissa", "olora")


def apply(model: Any, method: LoraMethod, seed: int) -> Any:
    """Freeze the model and add the adapter, drawn from a stream of its own.

    Raises ValueError for a rank that the initialisation cannot have.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    targets = _targets(model.config.to_dict(), method)
    _check_rank(model.config.to_dict(), method)
    alpha = method.resolved_alpha
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=method.rank,
        lora_alpha=int(alpha) if alpha.is_integer() else alpha,
        target_modules=list(targets),
        lora_dropout=method.dropout,
        use_rslora=method.rslora,
        use_dora=method.dora,
        init_lora_weights=True if method.init == "default" else method.init,
    )
    with torch.random.fork_rng():
        torch.manual_seed(stream(seed, "adapter"))
        adapted = get_peft_model(model.float(), config)
    for _, weight in adapted.named_parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    if method.init in SPLITS_BASE:
        adapted.initial_adapter = {
            key: value.detach().clone() for key, value in _state(adapted).items()
        }
    return adapted


def save(model: Any, out: Path, name: str, source: Path) -> Path:
    """A peft folder of two files; the base model is called by its catalogue name."""
    from safetensors.torch import save_file

    state = _state(model)
    config: dict[str, Any] = {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in model.peft_config["default"].to_dict().items()
    }
    initial = getattr(model, "initial_adapter", None)
    if initial is not None:
        state = converted(state, initial)
        config["lora_alpha"] *= math.sqrt(2) if config["use_rslora"] else 2
        config["r"] *= 2
        config["init_lora_weights"] = True
    config |= {
        "base_model_name_or_path": name,
        "inference_mode": True,
        "target_modules": sorted(config["target_modules"]),
    }
    out.mkdir(parents=True)
    save_file(
        {key: value.detach().cpu().contiguous() for key, value in sorted(state.items())},
        out / WEIGHTS,
        metadata={"format": "pt"},
    )
    text = json.dumps(config, indent=2, sort_keys=True, default=str)
    (out / "adapter_config.json").write_text(text + "\n", "utf-8")
    return out / WEIGHTS


def converted(state: Mapping[str, Any], initial: Mapping[str, Any]) -> dict[str, Any]:
    """Matrices of shape (2r, in) and (out, 2r) whose product is B A − B₀ A₀; others as they are."""
    import torch

    result = dict(state)
    for key, value in state.items():
        if ".lora_A." in key:
            result[key] = torch.cat([value, initial[key]], dim=0)
        elif ".lora_B." in key:
            result[key] = torch.cat([value, -initial[key]], dim=1)
    return result


def trainable_parameters(config: Mapping[str, object], method: LoraMethod) -> int:
    """r (in + out) a module; DoRA adds one magnitude for each output feature."""
    return architecture.lora_parameters(
        config, _targets(config, method), method.rank, dora=method.dora
    )


def flops_per_token(
    config: Mapping[str, object], method: LoraMethod, sequence_length: int
) -> float:
    """4 N + 6 R and three times the attention products, N frozen and R adapter weights.

    Frozen weights pass gradients on and get none (Schulman et al. 2025: about two thirds of full
    fine-tuning). DoRA's norms are left out.
    """
    base = architecture.read(config)
    weights = architecture.linear_parameters(config) + base.vocab * base.hidden
    adapter = architecture.lora_parameters(config, _targets(config, method), method.rank)
    forward = architecture.forward_flops_per_token(config, sequence_length)
    return 3 * forward - 2.0 * weights + 6.0 * adapter


def _targets(config: Mapping[str, object], method: LoraMethod) -> tuple[str, ...]:
    return architecture.resolve_targets(config, method.target_modules)


def _check_rank(config: Mapping[str, object], method: LoraMethod) -> None:
    shapes = architecture.module_names(config)
    widest = min(min(shapes[name]) for name in _targets(config, method))
    if method.init in SPLITS_BASE and method.rank > widest:
        raise ValueError(
            f"rank: found {method.rank}, expected at most {widest} with init {method.init}, the "
            "smaller side of the smallest target module"
        )
    if method.init == "orthogonal" and method.rank % 2:
        raise ValueError(f"rank: found {method.rank}, expected an even one with init orthogonal")


def _state(model: Any) -> dict[str, Any]:
    from peft import get_peft_model_state_dict

    return dict(get_peft_model_state_dict(model, save_embedding_layers=False))
