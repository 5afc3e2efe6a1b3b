"""The limits of the default profile: what this process may use, not what the machine has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lora_ledger.scheduling import limits

GB = 2**30


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        # Version 2: the group's own, and that of the slice above it.
        (
            "0::/user.slice/run.scope\n",
            {"memory.max": "max", "user.slice/memory.max": f"{4 * GB}",
             "user.slice/run.scope/memory.max": f"{2 * GB}",
             "user.slice/run.scope/memory.high": f"{3 * GB}"},
            [2, 3, 4],
        ),
        # A container that sees its own group at the top.
        ("0::/\n", {"memory.max": f"{2 * GB}"}, [2]),
        ("0::/../elsewhere\n", {"memory.max": f"{2 * GB}"}, [2]),
        # Version 1, beside a version 2 without controllers; the path is the machine's.
        (
            "3:cpu,memory:/docker/abc\n1:name=systemd:/x\n0::/\n",
            {"memory/memory.limit_in_bytes": f"{2 * GB}"},
            [2],
        ),
        ("4:memory:/jobs/7\n", {"memory/jobs/memory.limit_in_bytes": f"{8 * GB}",
                                "memory/jobs/7/memory.limit_in_bytes": f"{5 * GB}"}, [5, 8]),
        ("0::/a\n", {"a/memory.max": "max", "memory.max": "max"}, []),
        ("0::/a:b\n", {"a:b/memory.max": f"{GB}"}, [1]),
    ],
)  # fmt: skip
def test_memory_limits_of_control_groups(
    lines: str, files: dict[str, str], expected: list[int], tmp_path: Path
) -> None:
    own = write(tmp_path / "cgroup", lines)
    for name, text in files.items():
        write(tmp_path / "sys" / name, f"{text}\n")
    found = limits.group_limits(own, tmp_path / "sys")
    assert sorted(found) == [gb * GB for gb in expected]


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        ("0::/a/b\n", {"a/cpu.max": "250000 100000", "a/b/cpu.max": "max 100000"}, [2.5]),
        ("0::/\n", {"cpu.max": "50000 100000"}, [0.5]),
        (
            "4:cpu,cpuacct:/docker/x\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000",
             "cpu/docker/x/cpu.cfs_quota_us": "-1", "cpu/docker/x/cpu.cfs_period_us": "100000"},
            [4.0],
        ),
        ("0::/\n", {"cpu.max": "max 100000"}, []),
    ],
)  # fmt: skip
def test_a_quota_of_processor_time(
    lines: str,
    files: dict[str, str],
    expected: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = write(tmp_path / "cgroup", lines)
    for name, text in files.items():
        write(tmp_path / "sys" / name, f"{text}\n")
    assert limits.group_quotas(own, tmp_path / "sys") == expected
    monkeypatch.setattr(limits, "OWN", own)
    monkeypatch.setattr(limits, "MOUNTED", tmp_path / "sys")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert limits.cores() == max(1, int(min([64, *expected])))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert limits.cores() == 1


def test_a_limit_that_may_not_be_read_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = write(tmp_path / "cgroup", "0::/\n")
    write(tmp_path / "memory.max", f"{GB}\n")

    def refuse(path: Path, *_: object) -> str:
        if path.name == "memory.max":
            raise PermissionError(path)
        return "0::/"

    monkeypatch.setattr(Path, "read_text", refuse)
    assert limits.group_limits(own, tmp_path) == []


def test_a_system_without_control_groups_has_none(tmp_path: Path) -> None:
    assert limits.group_limits(tmp_path / "none", tmp_path) == []


def test_memory_is_a_share_of_the_lowest_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setattr(limits, "group_limits", lambda *_: [GB, 2**63 - 4096])
    assert limits.memory_mb() == 870  # 0.85 of 1,024
    monkeypatch.setattr(limits, "group_limits", lambda *_: [2**63 - 4096])
    assert limits.memory_mb() == int(physical * 0.85 / 2**20)


PROFILE = """
import json, sys
import yte
with open(sys.argv[-1]) as stream:
    found = yte.process_yaml(stream, require_use_yte=True)
    print(json.dumps([found["cores"], *found["resources"]]))
"""


@pytest.mark.parametrize(("visible", "gpus"), [("-1", 0), ("", 0), ("1", 1), (None, 2), ("0,1", 2)])
def test_the_profile_asks_for_them(visible: str | None, gpus: int, tmp_path: Path) -> None:
    """In the checkout, and from another folder with the Snakefile named."""
    fake = write(tmp_path / "bin/nvidia-smi", "#!/bin/sh\necho 'GPU 0: A'\necho 'GPU 1: B'\n")
    fake.chmod(0o755)
    environ = {
        k: v for k, v in os.environ.items() if k not in ("CUDA_VISIBLE_DEVICES", "PYTHONPATH")
    }
    environ["PATH"] = f"{fake.parent}:{environ['PATH']}"
    if visible is not None:
        environ["CUDA_VISIBLE_DEVICES"] = visible
    profile = Path("profiles/default/profile.yaml").resolve()
    for where, given in ((Path(), []), (tmp_path, ["-s", str(Path("Snakefile").resolve())])):
        done = subprocess.run(
            [sys.executable, "-c", PROFILE, *given, str(profile)],
            cwd=where, env=environ, text=True, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told = [limits.cores(), f"mem_mb={limits.memory_mb()}", f"gpu={gpus}"]
        assert json.loads(done.stdout) == told
