"""Environment variables by which libraries decide what is computed.

In: an environment. Out: those that would change a job's arithmetic or have it wait for other
processes are taken out; those that are left and may matter are named. It reads no study.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping

CLEARED = re.compile(
    r"ACCELERATE_.*|FSDP_.*|DEEPSPEED_.*|MEGATRON_LM_.*|PARALLELISM_CONFIG_.*|TORCHELASTIC_.*"
    r"|PMI_(SIZE|RANK)|OMPI_COMM_WORLD_.*|MV2_COMM_WORLD_.*|MPI_LOCAL.*|CCL_.*"
    r"|(LOCAL_|GROUP_|ROLE_)?(WORLD_SIZE|RANK)|MASTER_(ADDR|PORT)"
    r"|TORCH_ALLOW_TF32_CUBLAS_OVERRIDE|NVIDIA_TF32_OVERRIDE|XLA_.*_BF16|PEFT_.*"
)
"""A job is one process, at the precision that its study says."""
TOLD = re.compile(
    r"(TORCH|PYTORCH|CUBLAS|CUDNN|CUDA|NVIDIA|MKL|OMP|KMP|GOMP|OPENBLAS|ONEDNN|DNNL|ATEN|TRITON"
    r"|VLLM|TRANSFORMERS|LIGER)_.*"
)


def clear(environ: MutableMapping[str, str]) -> list[str]:
    """Take out what would decide the arithmetic; returns the names. To be called before torch is
    imported."""
    names = sorted(name for name in environ if CLEARED.fullmatch(name))
    for name in names:
        del environ[name]
    return names


def remaining(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that were left and that a library may compute by, for a record."""
    return {name: environ[name] for name in sorted(environ) if TOLD.fullmatch(name)}
