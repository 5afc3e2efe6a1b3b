"""The section `compute` of a study: where and how it is computed.

In: the parsed section. Out: a frozen value. It asks no machine what it has; `compute.device` does.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lora_ledger.catalogue import Frozen
from lora_ledger.common.errors import KeyProblem


class Precision(Frozen):
    """Of the matrix products. `auto`: bf16 where the processor multiplies it natively."""

    train: Literal["auto", "fp32", "bf16"] = "auto"
    evaluate: Literal["auto", "fp32", "bf16"] = "auto"


class Compute(Frozen):
    """Where and how it is computed; recorded, because results depend on it in the last digits."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: PositiveInt = Field(1, description="Torch threads of one job on a CPU.")
    precision: Precision = Precision()
    backend: Literal["plain", "fast", "vllm"] = Field(
        "fast",
        description="What trains and what answers the requests of an evaluation. `plain`: "
        "transformers and lm-eval as they come, slow, to check `fast` by. `vllm` needs CUDA and "
        "its own install, and loads adapters without merging them.",
    )
    evaluate_together: bool = Field(
        False,
        description="One process answers all that a cell is asked, with its weights loaded once: "
        "for small models, whose start costs more than the work. The same records.",
    )
    memory_gb: PositiveFloat | None = Field(
        None,
        description="Memory that all jobs at once may take, in GB of 10^9 bytes; default: what the "
        "profile allows. It schedules and changes no number.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Training keeps the input of each block only and computes the block again for "
        "its gradients: less memory, about a third more compute, the same numbers.",
    )

    @model_validator(mode="after")
    def _back_end_fits(self) -> Compute:
        if self.backend == "vllm" and self.device in ("cpu", "mps"):
            raise KeyProblem("backend", "vllm", f"fast or plain on the device {self.device}")
        return self
