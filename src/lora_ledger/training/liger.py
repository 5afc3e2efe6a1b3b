"""Liger's Triton kernels for norms, gated MLP and rotary embedding, where a CUDA machine has them.

In: a model of transformers, peft or not. Out: the same model, whose modules of these kinds run
fused kernels. The loss is not Liger's but `loss`'s, which keeps no logits either. Liger is the
user's own install and no dependency.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Any

PARTS = {
    "rope": True,
    "rms_norm": True,
    "swiglu": True,
    "cross_entropy": False,
    "fused_linear_cross_entropy": False,
}


def version(device: str) -> str | None:
    """The version that trains on this device; None where there is no CUDA or no Liger."""
    if device != "cuda":
        return None
    try:
        return version_of("liger-kernel")
    except PackageNotFoundError:
        return None


def install(model: Any) -> None:
    """Replace the modules' `forward`; architectures that Liger does not know stay as they are.

    The rotary embedding is replaced in transformers' module, for the rest of the process.
    """
    from transformers.integrations.liger import apply_liger_kernel

    apply_liger_kernel(model, PARTS)
