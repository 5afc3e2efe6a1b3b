"""What `auto` stands for, and that load does not change it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lora_ledger.compute import device
from lora_ledger.study.schema import Compute, Precision


@pytest.mark.parametrize(
    ("line", "native"),
    [
        ("flags\t\t: fpu sse2 avx512f avx512_bf16 amx_tile", True),
        ("flags\t\t: fpu sse2 amx_bf16", True),
        ("flags\t\t: fpu sse2 avx2 avx512f", False),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("Features\t: fp asimd", False),
    ],
)
def test_the_list_of_instructions_decides(
    line: str, native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    monkeypatch.setattr(device, "_seconds", lambda dtype: 1 / 0)
    assert device.multiplies_bf16("cpu", tmp_path / "cpuinfo") is native


@pytest.mark.parametrize(("speedup", "native"), [(1.1, False), (2.0, True)])
def test_without_a_list_the_clock_does(
    speedup: float, native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {torch.float32: speedup, torch.bfloat16: 1.0}
    monkeypatch.setattr(device, "_seconds", lambda dtype: times[dtype])
    assert device.multiplies_bf16("cpu", tmp_path / "absent") is native


def test_what_is_asked_for_is_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "multiplies_bf16", lambda device: True)
    asked = Compute(device="cpu", precision=Precision(train="auto", evaluate="fp32"))
    assert device.resolve(asked) == {"device": "cpu", "train": "bf16", "evaluate": "fp32"}


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"compute\.device: found 'cuda'"):
        device.resolve(Compute(device="cuda"))
