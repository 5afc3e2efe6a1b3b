"""Which GPUs are visible, and that two jobs on one machine take two of them."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_ledger.common.devices import VISIBLE, claim_device, visible_devices

TWO = ("GPU-aaaa1111", "GPU-bbbb2222")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, ["0", "1"]),
        ("0,1", ["0", "1"]),
        (" 1 , 0 ", ["1", "0"]),
        ("1", ["1"]),
        ("-1", []),
        ("", []),
        ("0,-1,1", ["0"]),
        ("0,,1", ["0"]),
        ("0,7,1", ["0"]),
        ("NoDevFiles", []),
        ("none", []),
        ("0,0", []),
        ("GPU-bbbb2222,GPU-aaaa1111", ["GPU-bbbb2222", "GPU-aaaa1111"]),
        ("MIG-1/2/3", ["MIG-1/2/3"]),
    ],
)
def test_the_visible_devices_are_those_that_cuda_shows(
    asked: str | None, expected: list[str]
) -> None:
    assert visible_devices({} if asked is None else {VISIBLE: asked}, TWO) == expected


def test_a_machine_without_gpus_shows_none_whatever_is_asked() -> None:
    assert [visible_devices(e, ()) for e in ({}, {VISIBLE: "0"}, {VISIBLE: TWO[0]})] == [[], [], []]


JOB = """
import os, sys
from pathlib import Path
from lora_ledger.common import devices
from lora_ledger.common.devices import claim_device
devices.LOCKS = Path(sys.argv[2])
took = claim_device(sys.argv[1])
assert "torch" not in sys.modules
print(took, os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


class Machine:
    """Stand-in devices: `nvidia-smi` lists two, and locks lie in a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        listing = "".join(f"GPU {i}: NVIDIA X (UUID: {uuid})\\n" for i, uuid in enumerate(TWO))
        (folder / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '{listing}'\n")
        (folder / "nvidia-smi").chmod(0o755)
        self.folder = folder
        self.jobs: list[subprocess.Popen[str]] = []
        kept = {k: v for k, v in os.environ.items() if k != VISIBLE}
        self.environ = {
            **kept,
            "PATH": f"{folder}:{kept['PATH']}",
            "PYTHONPATH": str(Path("src").resolve()),
        }

    def start(self, visible: str | None = None, device: str = "auto") -> subprocess.Popen[str]:
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, device, str(self.folder)],
            env={**self.environ, **({} if visible is None else {VISIBLE: visible})},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.jobs.append(job)
        return job

    def took(self, visible: str | None = None, device: str = "auto") -> str:
        return line(self.start(visible, device))


def line(job: subprocess.Popen[str]) -> str:
    assert job.stdout is not None
    return job.stdout.readline().strip()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    for job in made.jobs:
        job.kill()
        job.communicate()


def test_two_jobs_take_two_devices_and_a_killed_one_leaves_its_own(machine: Machine) -> None:
    first, second = machine.start(), machine.start()
    assert {line(first), line(second)} == {"0 0", "1 1"}
    third = machine.start()
    assert third.stderr is not None
    assert "all 2 GPUs (0, 1) are taken" in third.stderr.readline()
    os.kill(second.pid, signal.SIGKILL)
    second.wait()
    assert line(third) in ("0 0", "1 1")
    assert first.poll() is None


def test_one_device_by_its_number_and_by_its_uuid_is_one(machine: Machine) -> None:
    assert machine.took("1,0") == "1 1"
    assert machine.took(f"{TWO[1]},{TWO[0]}") == f"{TWO[0]} {TWO[0]}"


def test_jobs_with_temporary_folders_of_their_own_see_each_other(
    machine: Machine, tmp_path: Path
) -> None:
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        machine.environ["TMPDIR"] = str(tmp_path / name)
        found.append(machine.took())
    assert found == ["0 0", "1 1"]


def test_slices_of_a_device_are_devices(machine: Machine) -> None:
    assert [machine.took("MIG-a,MIG-b") for _ in range(2)] == ["MIG-a MIG-a", "MIG-b MIG-b"]


@pytest.mark.parametrize("visible", ["1", "-1", TWO[1]])
def test_nothing_changes_where_one_device_or_none_is_given(machine: Machine, visible: str) -> None:
    """As under a scheduler: two jobs that are given the same one share it."""
    assert [machine.took(visible) for _ in range(2)] == 2 * [f"None {visible}"]


def test_a_job_on_a_processor_takes_none(machine: Machine) -> None:
    assert machine.took(device="cpu") == "None None"


def test_without_a_gpu_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lora_ledger.common.devices.listed_devices", lambda: ())
    monkeypatch.delenv(VISIBLE, raising=False)
    assert claim_device("auto") is None
    assert VISIBLE not in os.environ


def stages_with_a_gpu() -> list[str]:
    """Stages whose rules ask Snakemake for a device."""
    text = "".join(path.read_text("utf-8") for path in Path("workflow/rules").glob("*.smk"))
    rules = re.split(r"^ *rule\b", text, flags=re.MULTILINE)
    return [re.findall(r"lora_ledger\.stages\.(\w+)", r)[0] for r in rules if "gpu=GPU" in r]


@pytest.mark.parametrize("stage", stages_with_a_gpu())
def test_a_stage_claims_before_anything_brings_torch(stage: str) -> None:
    """In its own file, or in one beside it that stages share."""
    folder = Path("src/lora_ledger/stages")
    text = (folder / f"{stage}.py").read_text("utf-8")
    shared = re.findall(r"^from \.(_\w+) import", text, re.MULTILINE)
    texts = [text, *((folder / f"{name}.py").read_text("utf-8") for name in shared)]
    heavy = ("torch", "transformers", "lora_ledger.inference", "lora_ledger.data.tasks.loading")
    claims = 0
    for function in (node for one in texts for node in ast.walk(ast.parse(one))):
        if not isinstance(function, ast.FunctionDef):
            continue
        inner = list(ast.walk(function))
        calls = [node for node in inner if isinstance(node, ast.Call)]
        at = [node.lineno for node in calls if getattr(node.func, "id", "") == "claim_device"]
        claims += len(at)
        early = [
            node.module
            for node in inner
            if isinstance(node, ast.ImportFrom)
            and at
            and node.lineno < at[0]
            and str(node.module).startswith(heavy)
        ]
        assert early == []
    assert claims


def test_training_and_evaluation_are_such_stages() -> None:
    assert {*stages_with_a_gpu()} == {"train", "trunk", "tune", "generate", "retain", "evaluate"}
