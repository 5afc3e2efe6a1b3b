"""make says what to install where Python or its venv module is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


# What a make that runs these tests leaves for the makes below it would show in their output.
OWN = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


def make(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make on the project's Makefile in a folder of its own."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(name, where)
    return subprocess.run(["make", *arguments], cwd=where, text=True, capture_output=True, env=OWN)


def test_no_python(tmp_path: Path) -> None:
    done = make(tmp_path, "results", "PYTHON=")
    assert done.returncode != 0
    assert "needs Python 3.11, 3.12 or 3.13 and found none" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_no_venv_module(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexit 0\n')
    python.chmod(0o755)
    done = make(tmp_path, "test", f"PYTHON={python}")
    assert done.returncode != 0
    assert "has no venv module" in done.stderr
    assert "python3-venv" in done.stderr


def ready(where: Path, *arguments: str) -> str:
    """The commands of a goal in an environment that is newer than all that it was made from."""
    (where / ".venv").mkdir(exist_ok=True)
    (where / ".venv/.ready").touch()
    os.utime(where / ".venv/.ready", (2**31, 2**31))
    return make(where, "-n", *arguments).stdout


def test_a_ready_environment_is_used_as_it_is(tmp_path: Path) -> None:
    shown = ready(tmp_path, "results", "STUDY=smoke")
    assert "pip install" not in shown
    assert "--config study=smoke" in shown
    assert "ledger show --study smoke" in shown


def test_what_readme_says_is_what_ci_calls(tmp_path: Path) -> None:
    tests = ready(tmp_path, "test").splitlines()
    assert tests == [".venv/bin/python -m pytest"]
    assert ready(tmp_path, "check").splitlines()[:1] == tests
    assert "\nmake check\n" in Path(".ci/run").read_text("utf-8")
    assert "\nmake test " in Path("README.md").read_text("utf-8")
    assert ready(tmp_path, "test-quick").splitlines() == [
        '.venv/bin/python -m pytest -m "not slow"'
    ]


def test_a_python_counts_where_it_runs(tmp_path: Path) -> None:
    """A shim whose Python is not there does not, nor one of another version."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    (tmp_path / ".ci").mkdir()
    script = shutil.copy(".ci/other-pythons", tmp_path / ".ci")
    pyenv = tmp_path / "home/.pyenv/versions"
    for place, text in {
        tmp_path / "bin/python3.11": 'case "$2" in *3.11*) exit 0;; esac; exit 1',
        tmp_path / "bin/python3.12": "echo no such command >&2; exit 127",
        pyenv / "3.12.9/bin/python": "exit 1",
        pyenv / "3.13.0/bin/python": "exit 0",
    }.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"#!/bin/sh\n{text}\n")
        place.chmod(0o755)
    # The path has nothing else but what the script itself calls.
    for tool in ("bash", "dirname", "ls"):
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    found = subprocess.run(
        [bash, script, "--list"],
        env={"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path / "home")},
        text=True,
        capture_output=True,
        check=False,
    )
    assert found.stdout.splitlines() == [
        f"3.11 {tmp_path}/bin/python3.11",
        f"3.13 {pyenv}/3.13.0/bin/python",
    ], found.stderr
