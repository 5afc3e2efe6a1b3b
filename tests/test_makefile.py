"""make says what to install where Python or its venv module is missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(name, where)
    return subprocess.run(["make", *arguments], cwd=where, text=True, capture_output=True)


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


def test_a_ready_environment_is_used_as_it_is(tmp_path: Path) -> None:
    shutil.copy("Makefile", tmp_path)
    (tmp_path / ".venv").mkdir()
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(name, tmp_path)
    (tmp_path / ".venv/.ready").touch()
    shown = subprocess.run(
        ["make", "-n", "results", "STUDY=smoke"], cwd=tmp_path, text=True, capture_output=True
    ).stdout
    assert "pip install" not in shown
    assert "--config study=smoke" in shown
    assert "ledger show --study smoke" in shown
