"""One set of versions: lock, conda environments, pyproject."""

from __future__ import annotations

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


def test_lock_has_every_direct_dependency_but_torch() -> None:
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    names = {re.split(r"[=<>~]", w)[0] for w in wanted}
    assert names - set(LOCK) == {"torch"}
    assert not [name for name in LOCK if name.startswith(("nvidia-", "triton", "cuda-"))]


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
