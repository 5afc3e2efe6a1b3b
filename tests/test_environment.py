"""One set of versions: lock, conda environments, pyproject."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml

LOCK = dict(
    line.split(" ;")[0].split("==")
    for line in Path("requirements.lock").read_text("utf-8").splitlines()
    if "==" in line
)
PROJECT = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))
MAKEFILE = Path("Makefile").read_text("utf-8")


@pytest.mark.parametrize("name", ["model", "tools"])
def test_conda_environment_pins_what_the_lock_pins(name: str) -> None:
    content = yaml.safe_load(Path(f"envs/{name}.yaml").read_text("utf-8"))
    pins = dict(p.split(" ;")[0].split("==") for p in content["dependencies"][-1]["pip"])
    torch = pins.pop("torch", None)
    assert pins.items() <= LOCK.items()
    assert (torch is not None) == (name == "model")
    if torch:
        assert f"TORCH_VERSION := {torch}" in MAKEFILE
    assert not list(Path("envs").glob("*.pin.txt")), "a pin file would drop the pip section"


@pytest.mark.parametrize("path", sorted(Path("envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_conda_environment_names_what_every_conda_reads(path: Path) -> None:
    """One channel that exists (conda 26.7 takes `nodefaults` for one), pip, exact names."""
    content = yaml.safe_load(path.read_text("utf-8"))
    assert set(content) == {"channels", "dependencies"}
    assert content["channels"] == ["conda-forge"]
    *packages, by_pip = content["dependencies"]
    assert packages == ["python=3.12", "pip"]
    assert list(by_pip) == ["pip"]
    requirement = r"[a-z0-9][a-z0-9._-]*==[\w.+]+( ; .+)?"
    assert [p for p in by_pip["pip"] if not re.fullmatch(requirement, p)] == []


def test_environments_are_as_they_are_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = importlib.util.spec_from_file_location("lock", "envs/lock.py")
    assert spec
    assert spec.loader
    lock = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lock)
    monkeypatch.setattr(lock, "ROOT", tmp_path)
    (tmp_path / "envs").mkdir()
    for name in ("model", "tools"):
        written = Path(f"envs/{name}.yaml").read_text("utf-8")
        lock.environment(name, yaml.safe_load(written)["dependencies"][-1]["pip"])
        assert (tmp_path / f"envs/{name}.yaml").read_text("utf-8") == written


def test_lock_has_every_direct_dependency_but_torch() -> None:
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    names = {re.split(r"[=<>~]", w)[0] for w in wanted}
    assert names - set(LOCK) == {"torch"}
    assert not [name for name in LOCK if name.startswith(("nvidia-", "triton", "cuda-"))]


# Without an import of ours: the command line, and what transformers reads GGUF with.
TOOLS = {"snakemake", "gguf"}
MODULES = {"huggingface-hub": "huggingface_hub", "lm-eval": "lm_eval", "pyyaml": "yaml"}


def test_what_is_declared_is_imported() -> None:
    """Transitive packages stand in the lock; what nothing of ours imports is no dependency."""
    imported = set()
    for path in Path("src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    declared = {re.split(r"[=<>~]", one)[0] for one in PROJECT["project"]["dependencies"]}
    assert {MODULES.get(name, name) for name in declared - TOOLS} <= imported
    assert declared >= TOOLS


def test_stages_without_torch_import_none() -> None:
    import subprocess
    import sys

    modules = (
        "study.file study.cells records.record scheduling.digests stages.fetch stages.prepare "
        "stages.select stages.tabulate stages.figures cli.main stages.diversity"
    )
    code = "import sys\n" + "\n".join(f"import lora_ledger.{m}" for m in modules.split())
    code += "\nsys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_test_ends_because_a_machine_is_busy() -> None:
    """A limit of seconds in a test is there for what hangs: ten minutes or more."""
    short = re.compile(r"timeout=(\d+)\b|monotonic\(\) \+ (\d+)|monotonic\(\) - \w+ < (\d+)")
    found = [
        f"{path}: {match[0]}"
        for path in Path("tests").rglob("*.py")
        for match in short.finditer(path.read_text("utf-8"))
        if int(match[1] or match[2] or match[3]) < 600
    ]
    assert found == []
