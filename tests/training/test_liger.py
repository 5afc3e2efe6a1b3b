"""Liger's kernels in the training path: when they are taken, and that they change nothing.

Where the packages `liger-kernel` and `triton` are installed, Triton's interpreter runs the kernels
on the processor, in a process of its own, since it has to be asked for before Triton is imported.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lora_ledger.compute.cuda import liger
from lora_ledger.study.schema import Study
from lora_ledger.training import patching
from lora_ledger.training.run import settings_of, train

from .test_patching import SIZES, error, examples, gradients, made, plain_loss

INSTALLED = all(importlib.util.find_spec(name) for name in ("liger_kernel", "triton"))
CASES = [("llama", "full"), ("llama", "lora"), ("llama", "dora"), ("mistral", "full")]
CASES += [("qwen2", "lora"), ("qwen3", "full")]


def test_only_on_cuda_and_where_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"liger_kernel", "triton"}
    monkeypatch.setattr(liger, "find_spec", lambda name: name if name in there else None)
    assert liger.available("cuda")
    assert not liger.available("cpu")
    there.remove("triton")
    assert not liger.available("cuda")


@pytest.mark.parametrize("there", [True, False])
def test_a_run_takes_them_and_its_settings_say_so(
    there: bool, monkeypatch: pytest.MonkeyPatch, study: Study, job: Any
) -> None:
    installed: list[Any] = []
    monkeypatch.setattr(liger, "available", lambda device: there)
    monkeypatch.setattr(liger, "install", installed.append)
    assert settings_of(study, job("full")).get("kernels") == ("liger" if there else None)
    train(study, job("full"), "a fingerprint")
    assert len(installed) == there


@pytest.mark.parametrize(("kind", "silu"), [("silu", True), ("gelu", False)])
def test_an_mlp_with_another_activation_keeps_it(
    kind: str, silu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Liger's own MLP is SiLU's alone, and is put over any."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.integrations import liger as integration

    asked: dict[str, bool] = {}
    monkeypatch.setattr(integration, "apply_liger_kernel", lambda model, parts: asked.update(parts))
    config = AutoConfig.for_model("llama", **SIZES, hidden_act=kind)
    liger.install(AutoModelForCausalLM.from_config(config))
    assert asked["swiglu"] is silu
    assert asked["rope"]
    assert asked["rms_norm"]
    assert not asked["cross_entropy"]
    assert not asked["fused_linear_cross_entropy"]


@pytest.mark.skipif(not INSTALLED, reason="liger-kernel and triton are not installed")
@pytest.mark.parametrize(("kind", "method"), CASES)
def test_loss_and_gradients_are_the_plain_ones(kind: str, method: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "training.test_liger", kind, method],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "TRITON_INTERPRET": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["called"] == ["RMSNorm", "RoPE", "SwiGLU"]
    assert found["loss"] == pytest.approx(found["plain"], rel=1e-5)
    assert found["names"] == found["expected"]
    assert max(found["errors"].values()) < 1e-5


def _compare(kind: str, method: str) -> dict[str, Any]:
    """Loss and gradients of the plain model, then of the same one with packing and Liger."""
    from lora_ledger.training.batching import collate

    model, data = made(kind, method), examples(3)
    plain = plain_loss(model, data)
    expected = gradients(model, plain)
    _interpretable()
    called = _watched()
    patching.install(model, by_hand=False)
    liger.install(model)
    ours = model(**collate(data)).loss
    found = gradients(model, ours)
    return {
        "called": sorted(called),
        "loss": float(ours.detach()),
        "plain": float(plain.detach()),
        "names": sorted(found),
        "expected": sorted(expected),
        "errors": {
            name: error(found[name], expected[name])
            for name in expected
            if not name.endswith("k_proj.bias")
        },
    }


def _interpretable() -> None:
    """What compiled kernels have and the interpreter lacks: floats that come as fp32 scalars, with
    the casts that Liger's kernels ask of them, and the device library's reciprocal root."""
    import numpy as np
    import triton.language as tl
    from liger_kernel.ops import rms_norm
    from triton.runtime import interpreter

    # By name at the time of the call, when the interpreter has replaced it.
    rms_norm.rsqrt = lambda x: tl.rsqrt(x)
    original = interpreter._implicit_cvt

    def convert(value: Any) -> Any:
        if not isinstance(value, float):
            return original(value)
        handle = interpreter.TensorHandle(np.array([value], np.float32), tl.float32)
        return tl.tensor(handle, tl.float32)

    interpreter._implicit_cvt = convert


def _watched() -> set[str]:
    """The names of Liger's operations, filled as they are called."""
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction
    from liger_kernel.ops.rope import LigerRopeFunction
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    called: set[str] = set()
    for function, name in (
        (LigerRMSNormFunction, "RMSNorm"),
        (LigerRopeFunction, "RoPE"),
        (LigerSiLUMulFunction, "SwiGLU"),
    ):
        original = function.forward

        def watched(*args: Any, _original: Any = original, _name: str = name) -> Any:
            called.add(_name)
            return _original(*args)

        function.forward = staticmethod(watched)
    return called


if __name__ == "__main__":
    print(json.dumps(_compare(*sys.argv[1:])))
