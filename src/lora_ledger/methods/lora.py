"""LoRA through peft, with rsLoRA, DoRA and the initialisations that split the base weight.

In: a model and a `LoraMethod`. Out: a peft model whose adapter alone trains; saved as a peft folder
that loads on the untouched base model, whatever the initialisation.
PiSSA and OLoRA train B A beside W − s B₀ A₀. They are saved as an ordinary LoRA of twice the rank:
s (B A − B₀ A₀) = s [B, −B₀] [A; A₀].
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt

from lora_ledger.common.errors import KeyProblem, require
from lora_ledger.common.seeds import stream
from lora_ledger.models import architecture

from .base import MethodBase

WEIGHTS = "adapter_model.safetensors"
SPLITS_BASE = ("pissa", "olora")
PLAIN = ("default", False, False, "all")
# Light and dark ends: blue, then hues of Tol's that keep apart in colour-blindness.
HUES = (
    ("#9ecae1", "#08306b"),
    ("#66ccbb", "#117755"),
    ("#dd99cc", "#882277"),
    ("#cccc55", "#777711"),
    ("#ee99aa", "#882255"),
    ("#bbaaee", "#332288"),
    ("#bbbbbb", "#555555"),
)


class LoraMethod(MethodBase):
    """LoRA through peft: W + (alpha / rank) B A; rsLoRA divides by the rank's square root."""

    artefact: ClassVar[Literal["adapter", "model"]] = "adapter"

    kind: Literal["lora"]
    rank: PositiveInt
    alpha: PositiveFloat | None = Field(None, description="Default: twice the rank.")
    target_modules: Literal["attention", "mlp", "all"] | tuple[str, ...] = "all"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    rslora: bool = False
    dora: bool = False
    init: Literal["default", "gaussian", "pissa", "olora", "orthogonal"] = "default"

    @property
    def starts_from_base(self) -> bool:
        """B·A is 0 where B starts at 0; DoRA's norms and a split weight round."""
        return self.init in ("default", "gaussian") and not self.dora

    def computed(self) -> dict[str, Any]:
        """Alpha: twice the rank, unless the study says otherwise."""
        return {"alpha": 2.0 * self.rank if self.alpha is None else self.alpha}

    def distance(self, other: MethodBase) -> float:
        """The ratio of the ranks, as the absolute value of its logarithm."""
        if not isinstance(other, LoraMethod):
            return math.inf
        return abs(math.log(self.rank / other.rank))

    @classmethod
    def colours(cls, methods: Sequence[Self]) -> list[str]:
        """Shades of blue, darker with rank; each further variant has a hue of its own."""
        from matplotlib.colors import LinearSegmentedColormap, to_hex

        ranks = sorted({method.rank for method in methods})
        variants = list(dict.fromkeys([PLAIN, *(method._variant() for method in methods)]))
        found = []
        for method in methods:
            ends = HUES[variants.index(method._variant()) % len(HUES)]
            place = ranks.index(method.rank) / (len(ranks) - 1) if len(ranks) > 1 else 0.6
            shades = LinearSegmentedColormap.from_list("ranks", ends)
            found.append(str(to_hex(shades(place))))
        return found

    def _variant(self) -> tuple[object, ...]:
        """What tells LoRAs of one rank apart in pictures."""
        return self.init, self.dora, self.rslora, self.target_modules

    def check(self, config: Mapping[str, object], where: str = "") -> None:
        """The target modules are the model's, and the initialisation can have the rank."""
        known = [*architecture.GROUPS, *architecture.module_names(config)]
        targets = self.target_modules
        for target in (targets,) if isinstance(targets, str) else targets:
            model = f"a module of a {config['model_type']} model"
            require(f"{where}target_modules", target, known, model)
        shapes = architecture.module_names(config)
        widest = min(min(shapes[name]) for name in self._targets(config))
        if self.init in SPLITS_BASE and self.rank > widest:
            raise KeyProblem(
                f"{where}rank",
                self.rank,
                f"at most {widest} with init {self.init}, the smaller side of the smallest target "
                "module",
            )
        if self.init == "orthogonal" and self.rank % 2:
            raise KeyProblem(f"{where}rank", self.rank, "an even one with init orthogonal")

    def apply(self, model: Any, seed: int) -> Any:
        """Freeze the model and add the adapter, drawn from a stream of its own."""
        import torch
        from peft import LoraConfig, get_peft_model

        shapes = model.config.to_dict()
        self.check(shapes)
        alpha: float = self.computed()["alpha"]
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=self.rank,
            lora_alpha=int(alpha) if alpha.is_integer() else alpha,
            target_modules=list(self._targets(shapes)),
            lora_dropout=self.dropout,
            use_rslora=self.rslora,
            use_dora=self.dora,
            init_lora_weights=True if self.init == "default" else self.init,
        )
        with torch.random.fork_rng():
            torch.manual_seed(stream(seed, "adapter"))
            adapted = get_peft_model(model.float(), config)
        for _, weight in adapted.named_parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()
        if self.init in SPLITS_BASE:
            adapted.initial_adapter = {
                key: value.detach().clone() for key, value in _state(adapted).items()
            }
        return adapted

    def save(self, model: Any, out: Path, name: str, source: Path) -> Path:
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
        out.mkdir(parents=True, exist_ok=True)
        save_file(
            {key: value.detach().cpu().contiguous() for key, value in sorted(state.items())},
            out / WEIGHTS,
            metadata={"format": "pt"},
        )
        text = json.dumps(config, indent=2, sort_keys=True, default=str)
        (out / "adapter_config.json").write_text(text + "\n", "utf-8")
        return out / WEIGHTS

    def trainable_parameters(self, config: Mapping[str, object]) -> int:
        """r (in + out) a module; DoRA adds one magnitude for each output feature."""
        return architecture.lora_parameters(
            config, self._targets(config), self.rank, dora=self.dora
        )

    def flops_per_token(self, config: Mapping[str, object], sequence_length: int) -> float:
        """4 N + 6 R and three times the attention products, N frozen and R adapter weights.

        Frozen weights pass gradients on and get none (Schulman et al. 2025: about two thirds of
        full fine-tuning). DoRA's norms are left out.
        """
        base = architecture.read(config)
        weights = architecture.linear_parameters(config) + base.vocab * base.hidden
        adapter = architecture.lora_parameters(config, self._targets(config), self.rank)
        forward = architecture.forward_flops_per_token(config, sequence_length)
        return 3 * forward - 2.0 * weights + 6.0 * adapter

    def _targets(self, config: Mapping[str, object]) -> tuple[str, ...]:
        return architecture.resolve_targets(config, self.target_modules)


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


def _state(model: Any) -> dict[str, Any]:
    from peft import get_peft_model_state_dict

    return dict(get_peft_model_state_dict(model, save_embedding_layers=False))
