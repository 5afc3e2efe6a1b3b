"""Write requirements.lock and the pip pins of the conda environments from pyproject.toml.

Needs `uv` on the path. Run by `make lock`; a test keeps the results equal to one another.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
TORCH_STEP = re.compile(r"^(nvidia|cuda|triton|torch==)")
MODEL_ONLY = {"torch", "peft", "gguf", "transformers"}
WORKFLOW_ONLY = {"snakemake"}
HEADER = (
    "# Every package but torch (its own install step, see the Makefile), exact; by `make lock`."
)


def compiled(requirements: list[str], constraints: list[str]) -> list[str]:
    """Exact pins, with markers, that satisfy the requirements on every supported system."""
    command = ["uv", "pip", "compile", "--universal", "--python-version", "3.11", "--no-annotate"]
    command += ["--no-header", "-"]
    if constraints:
        (ROOT / "envs/.constraints").write_text("\n".join(constraints))
        command += ["-c", str(ROOT / "envs/.constraints")]
    done = subprocess.run(
        command, input="\n".join(requirements), text=True, check=True, stdout=subprocess.PIPE
    )
    (ROOT / "envs/.constraints").unlink(missing_ok=True)
    return done.stdout.splitlines()


def environment(name: str, pins: list[str]) -> None:
    lines = ["channels:", "  - conda-forge", "dependencies:"]
    lines += ["  - python=3.12", "  - pip", "  - pip:"]
    lines += [f"      - {pin!r}" if ";" in pin else f"      - {pin}" for pin in pins]
    (ROOT / f"envs/{name}.yaml").write_text("\n".join(lines) + "\n")


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"]
    old = ROOT / "requirements.lock"
    kept = [p for p in old.read_text().splitlines() if "#" not in p] if old.exists() else []
    every = compiled([*wanted, *project["dependency-groups"]["dev"]], kept)
    old.write_text("\n".join([HEADER, *(p for p in every if not TORCH_STEP.match(p))]) + "\n")

    def without(names: set[str]) -> list[str]:
        return [w for w in wanted if re.split(r"[=<>~]", w)[0] not in names]

    environment(
        "model",
        [
            p
            for p in compiled(without(WORKFLOW_ONLY), every)
            if p.startswith("torch==") or not TORCH_STEP.match(p)
        ],
    )
    tools = compiled(without(WORKFLOW_ONLY | MODEL_ONLY), every)
    environment("tools", [p for p in tools if not TORCH_STEP.match(p)])


if __name__ == "__main__":
    main()
