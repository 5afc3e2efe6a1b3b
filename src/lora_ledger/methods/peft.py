"""Any method of peft's for causal language models, by peft's own keys.

In: a model and a `PeftMethod`, whose `config` is what peft's configuration takes: `peft_type` and
the keys of that type. Out: a peft model whose adapter alone trains; saved as a peft folder.
What merges is evaluated merged, as a LoRA is. Virtual tokens and their kin are
trained and evaluated as peft computes them, by the plain back-end. What a study may say is checked
against a table, so that reading a study needs no peft (`pefts/`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lora_ledger.common.errors import KeyProblem
from lora_ledger.common.seeds import stream
from lora_ledger.models import architecture

from .base import MethodBase
from .pefts import counts, keys, making, modules
from .pefts.facts import OWN_FORWARD, PREFIXES, UNMERGED, WIDE
from .shades import HUES, between, ends

WEIGHTS = "adapter_model.safetensors"


class PeftMethod(MethodBase):
    """A method of peft's that is neither LoRA nor one of this project's own kinds."""

    artefact: ClassVar[Literal["adapter", "model"]] = "adapter"

    kind: Literal["peft"]
    config: dict[str, Any] = Field(
        description="`peft_type` and the keys of that type, in peft's words: `{peft_type: IA3}`."
    )

    @model_validator(mode="after")
    def _known_keys(self) -> Self:
        keys.check(self.config)
        return self

    @property
    def peft_type(self) -> str:
        return str(self.config["peft_type"])

    @property
    def merges(self) -> bool:
        """What is added is a weight of the base, or goes into one."""
        return self.peft_type not in UNMERGED

    @property
    def engine(self) -> Literal["fast", "plain"]:
        """Layers that take the place of linear ones are called as they are by the fast path."""
        return "plain" if self.peft_type in OWN_FORWARD else "fast"

    @property
    def starts_from_base(self) -> bool:
        """peft's layers are other kernels than the base's, so the bits may differ, even where the
        sums do not."""
        return False

    @property
    def activations(self) -> int:
        """peft's layers keep inputs and outputs of their own beside those of the linear ones."""
        return 4 if self.peft_type in WIDE else 2

    @property
    def virtual_tokens(self) -> int:
        """Positions of the model's window that are not the text's."""
        return sum(counts.longer(self.config))

    def resolved(self, *, defaults: bool = True) -> dict[str, Any]:
        """`config` with peft's defaults, or without what is as peft has it."""
        found = super().resolved(defaults=defaults)
        usual = modules.keys({"peft_type": self.peft_type})
        usual["task_type"] = "CAUSAL_LM"
        given = {
            key: value
            for key, value in found["config"].items()
            if key == "peft_type" or value != usual[key]
        }
        return {**found, "config": {**usual, **given} if defaults else given}

    def distance(self, other: MethodBase) -> float:
        """0 for methods of one type, infinite for others."""
        same = isinstance(other, PeftMethod) and other.peft_type == self.peft_type
        return 0.0 if same else math.inf

    @classmethod
    def colours(cls, methods: Sequence[Self]) -> list[str]:
        """A hue for each type, none of LoRA's; shades of it for its arms."""
        types = list(dict.fromkeys(method.peft_type for method in methods))
        arms = {one: [m for m in methods if m.peft_type == one] for one in types}
        found = []
        for i, method in enumerate(methods):
            mine = arms[method.peft_type]
            place = sum(m.peft_type == method.peft_type for m in methods[:i])
            shade = 0.6 if len(mine) == 1 else place / (len(mine) - 1)
            hue = ends(len(HUES) + types.index(method.peft_type))
            found.append(between(*hue, shade))
        return found

    def check(self, config: Mapping[str, object], where: str = "") -> None:
        """The architecture can have the method, and the modules have sizes that fit it."""
        modules.check(config, self.config, f"{where}config.")
        window = config.get("max_position_embeddings")
        if isinstance(window, int) and self.virtual_tokens >= window:
            expected = f"fewer than {window}, the model's max_position_embeddings"
            raise KeyProblem(f"{where}config.num_virtual_tokens", self.virtual_tokens, expected)

    def apply(self, model: Any, seed: int) -> Any:
        """Freeze the model and add peft's layers, drawn from a stream of their own."""
        import torch
        from peft import get_peft_model

        self.check(model.config.to_dict())
        with torch.random.fork_rng():
            torch.manual_seed(stream(seed, "adapter"))
            adapted = get_peft_model(model.float(), making.made(self.config, model.name_or_path))
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()
        if self.peft_type == "ADALORA":
            # Its forward adds the penalty to the loss, which here is a sum; `penalty` has it.
            adapted.base_model.forward = adapted.base_model.model.__call__
        return adapted

    def check_run(self, *, checkpointing: bool, where: str) -> None:
        """With recomputed activations transformers drops the cache that a prefix lies in."""
        if checkpointing and self.peft_type in PREFIXES:
            expected = f"false: {where} has keys and values that recomputing would leave out"
            raise KeyProblem("compute.gradient_checkpointing", True, expected)

    @property
    def depends_on_length(self) -> bool:
        """As AdaLoRA's schedule of ranks is."""
        return self.peft_type == "ADALORA"

    def begin(self, model: Any, steps: int) -> None:
        """AdaLoRA's schedule is as long as the run."""
        if self.peft_type != "ADALORA":
            return
        asked = modules.keys(self.config)
        if asked["tinit"] >= steps - asked["tfinal"]:
            raise KeyProblem(
                "config.tinit",
                asked["tinit"],
                f"less than {steps - asked['tfinal']}, the run's {steps} steps less tfinal, so "
                "that there are steps in which the rank falls",
            )
        model.peft_config["default"].total_step = steps

    def after_update(self, model: Any, step: int) -> None:
        """AdaLoRA weighs its directions by their gradients and drops some."""
        if self.peft_type == "ADALORA":
            model.base_model.update_and_allocate(step)

    def penalty(self, model: Any) -> Any | None:
        """AdaLoRA's share of the loss: how far A and B are from orthonormal, on average."""
        weight = modules.keys(self.config).get("orth_reg_weight")
        if self.peft_type != "ADALORA" or not weight:
            return None
        import torch

        products = [
            w @ w.T if ".lora_A." in name else w.T @ w
            for name, w in model.named_parameters()
            if ".lora_A." in name or ".lora_B." in name
        ]
        norms = [
            torch.linalg.norm(one - torch.eye(len(one), out=torch.empty_like(one)))
            for one in products
        ]
        return weight * sum(norms) / len(norms)

    def state(self, model: Any) -> dict[str, Any]:
        """What AdaLoRA has seen of gradients, and which directions it keeps."""
        if self.peft_type != "ADALORA":
            return {}
        seen = model.base_model.rankallocator
        return {
            "ipt": seen.ipt,
            "exp_avg_ipt": seen.exp_avg_ipt,
            "exp_avg_unc": seen.exp_avg_unc,
            "rank_pattern": model.peft_config["default"].rank_pattern,
        }

    def restore(self, model: Any, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        if self.peft_type != "ADALORA":
            return
        seen = model.base_model.rankallocator
        like = dict(model.base_model.model.named_parameters())
        for name in ("ipt", "exp_avg_ipt", "exp_avg_unc"):
            setattr(seen, name, {key: v.to(like[key].device) for key, v in state[name].items()})
        model.peft_config["default"].rank_pattern = state["rank_pattern"]

    def save(self, model: Any, out: Path, name: str, source: Path) -> Path:
        """A peft folder of two files; the base model is called by its catalogue name."""
        from peft import get_peft_model_state_dict
        from safetensors.torch import save_file

        state = get_peft_model_state_dict(model, save_embedding_layers=False)
        config = {
            **model.peft_config["default"].to_dict(),
            "base_model_name_or_path": name,
            "inference_mode": True,
        }
        if config.get("tokenizer_name_or_path"):
            config["tokenizer_name_or_path"] = name
        out.mkdir(parents=True, exist_ok=True)
        # What modules share is written for each of them, as peft does: no file has shared tensors.
        save_file(
            {
                key: value.detach().cpu().contiguous().clone()
                for key, value in sorted(state.items())
            },
            out / WEIGHTS,
            metadata={"format": "pt"},
        )
        text = json.dumps(config, indent=2, sort_keys=True, default=_plain)
        (out / "adapter_config.json").write_text(text + "\n", "utf-8")
        return out / WEIGHTS

    def trainable_parameters(self, config: Mapping[str, object]) -> int:
        """In closed form where there is one, else counted on a model without weights."""
        exact = counts.closed_form(config, self.config)
        return counts.counted(config, self.config) if exact is None else exact

    def held_parameters(self, config: Mapping[str, object]) -> int:
        """A bound, from config.json alone."""
        return counts.bound(config, self.config)

    def flops_per_token(self, config: Mapping[str, object], sequence_length: int) -> float:
        """4 a frozen weight, 6 a weight that trains and is multiplied by each token, 4 an entry of
        frozen random matrices, and three times the attention products, for each token of a text.

        Virtual tokens that pass through the blocks count as the text's; those in the cache lengthen
        attention. Rotations, transforms and what a layer computes once a step are left out.
        """
        inputs, cached = counts.longer(self.config)
        # Every token sees all of the cache, and half of the text on average.
        length = sequence_length + inputs + 2 * cached
        base = architecture.training_flops_per_token(config, length, trained=0)
        base *= (sequence_length + inputs) / sequence_length
        if self.virtual_tokens:
            return base
        trained = 0
        if self.peft_type not in counts.OF_THE_WEIGHTS:
            trained = self.trainable_parameters(config)
        return base + 6.0 * trained + 4.0 * counts.frozen_products(config, self.config)


def _plain(value: Any) -> Any:
    """Sets of peft's in order, objects of its own as text."""
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
