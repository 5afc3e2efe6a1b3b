"""Liger's Triton kernels for norms, gated MLP and rotary embedding, where a CUDA machine has them.

In: a model of transformers, peft or not. Out: the same model, whose modules of these kinds run
fused kernels. The loss is not Liger's but that of
`token_likelihoods`, which keeps no logits either. Liger is the
user's own install and no dependency.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any


def available(device: str) -> bool:
    """Whether these kernels train on this device: on CUDA, where Liger and Triton are installed."""
    return device == "cuda" and all(find_spec(name) for name in ("liger_kernel", "triton"))


def install(model: Any) -> None:
    """Replace the modules' `forward`; architectures that Liger does not know stay as they are.

    It changes more than this model: Liger puts its rotary embedding and its classes into
    transformers' module of the architecture, for the rest of the process.
    """
    from torch import nn
    from transformers.activations import SiLUActivation
    from transformers.integrations.liger import apply_liger_kernel

    base = model.get_base_model() if hasattr(model, "peft_config") else model
    # Liger's MLP has SiLU whatever the model's own activation is.
    silu = all(
        isinstance(layer.mlp.act_fn, nn.SiLU | SiLUActivation)
        for layer in base.get_decoder().layers
    )
    parts = {"rope": True, "rms_norm": True, "swiglu": silu}
    apply_liger_kernel(base, {**parts, "cross_entropy": False, "fused_linear_cross_entropy": False})
