"""What of the environment is taken out, what is kept and named."""

from __future__ import annotations

import pytest

from lora_ledger.common.surroundings import clear, remaining


@pytest.mark.parametrize(
    "name",
    [
        "ACCELERATE_MIXED_PRECISION",
        "WORLD_SIZE",
        "RANK",
        "LOCAL_RANK",
        "ACCELERATE_USE_FSDP",
        "NVIDIA_TF32_OVERRIDE",
        "OMPI_COMM_WORLD_SIZE",
    ],
)
def test_what_decides_the_arithmetic_is_taken_out(name: str) -> None:
    environ = {name: "2", "PATH": "/bin", "OMP_NUM_THREADS": "1"}
    assert clear(environ) == [name]
    assert environ == {"PATH": "/bin", "OMP_NUM_THREADS": "1"}
    assert remaining(environ) == {"OMP_NUM_THREADS": "1"}
