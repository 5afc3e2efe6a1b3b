"""Full fine-tuning: every weight trains, embeddings and norms included.

In: a model. Out: the same model with all gradients on; saved as a model folder in fp32.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_ledger.models import architecture
from lora_ledger.study.schema import FullMethod

ARTEFACT = "model"
BESIDE_WEIGHTS = ("*.json", "*.txt", "*.jinja", "*.model")


def apply(model: Any, method: FullMethod, seed: int) -> Any:
    """All weights train, in fp32; `seed` is not used, as nothing is drawn."""
    return model.float().requires_grad_(True)


def save(model: Any, out: Path, name: str, source: Path) -> Path:
    """A model folder: fp32 weights, and all else as it stands in `source`."""
    model.save_pretrained(out, max_shard_size="1000GB")
    for pattern in BESIDE_WEIGHTS:
        for path in sorted(source.glob(pattern)):
            if path.name != "record.json" and not path.name.endswith(".safetensors.index.json"):
                shutil.copyfile(path, out / path.name)
    config = json.loads((out / "config.json").read_text("utf-8"))
    config.pop("torch_dtype", None)
    # A loader that follows the config would round what was trained in fp32.
    config["dtype"] = "float32"
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    return out / "model.safetensors"


def trainable_parameters(config: Mapping[str, object], method: FullMethod) -> int:
    """All of them, a tied embedding once."""
    return architecture.total_parameters(config)


def flops_per_token(
    config: Mapping[str, object], method: FullMethod, sequence_length: int
) -> float:
    """6 N and three times the attention products: the backward pass costs two forward passes."""
    return 3 * architecture.forward_flops_per_token(config, sequence_length)
