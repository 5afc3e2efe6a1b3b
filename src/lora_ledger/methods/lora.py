"""LoRA through peft, with rsLoRA, DoRA, LoRA+ and the initialisations that split the base weight.

In: a model and a `LoraMethod`. Out: a peft model whose adapter alone trains; saved as a peft folder
that loads on the untouched base model, whatever the initialisation.
PiSSA, MiLoRA, the band between them, and OLoRA train B A beside W − s B₀ A₀. They are saved as an
ordinary LoRA of twice the rank: s (B A − B₀ A₀) = s [B, −B₀] [A; A₀].
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

from . import initialisations, partial
from .base import Groups, MethodBase
from .partial import Layers
from .products import Product, of_folder
from .shades import between, ends

WEIGHTS = "adapter_model.safetensors"
SPLITS_BASE = ("pissa", "olora", *initialisations.BANDS)
NOT_OF_THE_VARIANT = {"kind", "title", "learning_rates", "at", "rank", "alpha", "dropout"}
"""Keys that shades of one hue may differ in."""


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
    init: Literal["default", "gaussian", "pissa", "middle", "milora", "olora", "orthogonal"] = (
        "default"
    )
    init_scale: PositiveFloat = Field(1.0, description="A's first entries are multiplied by it.")
    train: Literal["all", "b-only"] = Field(
        "all", description="`b-only`: A has orthonormal rows and is frozen."
    )
    learning_rate_ratio: PositiveFloat = Field(
        1.0, description="B's rate over A's, as in LoRA+; `learning_rates` are A's."
    )
    layers: Layers = "all"

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
        """Shades of blue, darker with rank; each further variant has a hue of its own, and so has
        what differs from another only in keys that make no variant."""
        ranks = sorted({method.rank for method in methods})
        last = max(1, len(ranks) - 1)
        seen: list[tuple[str, int]] = []
        hues: list[tuple[str, int]] = []
        for method in methods:
            shade = (method._variant(), method.rank)
            hues.append((shade[0], seen.count(shade)))
            seen.append(shade)
        known = list(dict.fromkeys([("{}", 0), *hues]))
        return [
            between(*ends(known.index(hue)), ranks.index(rank) / last if len(ranks) > 1 else 0.6)
            for hue, (_, rank) in zip(hues, seen, strict=True)
        ]

    def _variant(self) -> str:
        """What tells LoRAs of one rank apart in pictures."""
        keys = self.model_dump(mode="json", exclude=NOT_OF_THE_VARIANT, exclude_defaults=True)
        return json.dumps(keys, sort_keys=True)

    def check(self, config: Mapping[str, object], where: str = "") -> None:
        """The target modules and blocks are the model's, and the start can have the rank."""
        partial.check_layers(config, self.layers, where)
        known = [*architecture.GROUPS, *architecture.module_names(config)]
        targets = self.target_modules
        for target in (targets,) if isinstance(targets, str) else targets:
            model = f"a module of a {config['model_type']} model"
            require(f"{where}target_modules", target, known, model)
        shapes = [architecture.module_names(config)[name] for name in self._targets(config)]
        widest = min(min(shape) for shape in shapes)
        if self.init in SPLITS_BASE and self.rank > widest:
            raise KeyProblem(
                f"{where}rank",
                self.rank,
                f"at most {widest} with init {self.init}, the smaller side of the smallest target "
                "module",
            )
        if self.init == "orthogonal" and self.rank % 2:
            raise KeyProblem(f"{where}rank", self.rank, "an even one with init orthogonal")
        if self.init in SPLITS_BASE and self.init_scale != 1:
            expected = f"1 with init {self.init}, whose A and B are a part of the base weight"
            raise KeyProblem(f"{where}init_scale", self.init_scale, expected)
        if self.train == "b-only":
            self._check_frozen(min(inputs for inputs, _ in shapes), where)

    def _check_frozen(self, inputs: int, where: str) -> None:
        """Refuse what means nothing where A has orthonormal rows and does not train."""
        if self.init != "default":
            raise KeyProblem(f"{where}init", self.init, "default with train b-only")
        if self.learning_rate_ratio != 1:
            ratio = self.learning_rate_ratio
            expected = "1 with train b-only, where learning_rates are B's"
            raise KeyProblem(f"{where}learning_rate_ratio", ratio, expected)
        if self.rank > inputs:
            expected = f"at most {inputs} with train b-only, the fewest inputs of a target module"
            raise KeyProblem(f"{where}rank", self.rank, expected)

    def apply(self, model: Any, seed: int) -> Any:
        """Freeze the model and add the adapter, drawn from a stream of its own."""
        import torch
        from peft import LoraConfig, get_peft_model

        shapes = model.config.to_dict()
        self.check(shapes)
        alpha: float = self.computed()["alpha"]
        own = self.init in initialisations.BANDS
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=self.rank,
            lora_alpha=int(alpha) if alpha.is_integer() else alpha,
            target_modules=list(self._targets(shapes)),
            lora_dropout=self.dropout,
            use_rslora=self.rslora,
            use_dora=self.dora,
            init_lora_weights=True if own or self.init == "default" else self.init,
            **({} if self.layers == "all" else self._blocks(shapes)),
        )
        with torch.random.fork_rng():
            torch.manual_seed(stream(seed, "adapter"))
            adapted = get_peft_model(model.float(), config)
            if self.train == "b-only":
                initialisations.freeze_down(adapted)
        if own:
            initialisations.split(adapted, self.init)
        if self.init_scale != 1:
            initialisations.scale_down(adapted, self.init_scale)
        for _, weight in adapted.named_parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()
        if self.init in SPLITS_BASE:
            adapted.initial_adapter = {
                key: value.detach().clone() for key, value in _state(adapted).items()
            }
        return adapted

    def groups(self, model: Any) -> Groups:
        """A at the rate, B at the rate times the ratio (Hayou et al. 2024); DoRA's magnitudes are
        with A."""
        if self.learning_rate_ratio == 1:
            return super().groups(model)
        trains = [(name, w) for name, w in model.named_parameters() if w.requires_grad]
        up = [w for name, w in trains if ".lora_B." in name]
        rest = [w for name, w in trains if ".lora_B." not in name]
        return [(rest, 1.0), (up, self.learning_rate_ratio)]

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

    def products(self, folder: Path) -> Mapping[str, Product] | None:
        """B and A as they are saved; of DoRA none, whose update is not of low rank."""
        return of_folder(folder, self.rank)

    def trainable_parameters(self, config: Mapping[str, object]) -> int:
        """r (in + out) a module, or r out where A is frozen; DoRA adds one magnitude for each
        output feature."""
        return self._parameters(config, down=self.train == "all", dora=self.dora)

    def flops_per_token(self, config: Mapping[str, object], sequence_length: int) -> float:
        """4 N + 6 R and three times the attention products, N frozen and R adapter weights.

        Frozen weights pass gradients on and get none (Schulman et al. 2025: about two thirds of
        full fine-tuning); those below the first adapter do not even that. DoRA's norms are left
        out.
        """
        base = architecture.training_flops_per_token(
            config,
            sequence_length,
            trained=self._parameters(config, down=self.train == "all"),
            blocks=len(partial.blocks(config, self.layers)),
        )
        return base + 4.0 * self._parameters(config)

    def _parameters(
        self, config: Mapping[str, object], *, down: bool = True, dora: bool = False
    ) -> int:
        return architecture.lora_parameters(
            config,
            self._targets(config),
            self.rank,
            dora=dora,
            down=down,
            blocks=len(partial.blocks(config, self.layers)),
        )

    def _blocks(self, config: Mapping[str, object]) -> dict[str, Any]:
        """What peft is told of the blocks that have an adapter."""
        places = list(partial.blocks(config, self.layers))
        return {"layers_to_transform": places, "layers_pattern": "layers"}

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
