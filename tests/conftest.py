"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_ledger.catalogue import CorpusEntry, ModelEntry, WheelSource, entries
from lora_ledger.data.sources import SourceError, obtain


def _wheels() -> dict[str, WheelSource]:
    found = {}
    for entry in entries().values():
        sources = entry.sources.values() if isinstance(entry, CorpusEntry) else [entry.source]
        found |= {s.name: s for s in sources if isinstance(s, WheelSource)}
    return found


@pytest.fixture(scope="session")
def wheel() -> Callable[[str], Path]:
    """`wheel("sympy")`: the pinned wheel's file; the test is skipped where it cannot be had."""
    wheels = {name.replace("-", "_"): source for name, source in _wheels().items()}

    def get(name: str) -> Path:
        try:
            return obtain(wheels[name.replace("-", "_")])
        except SourceError as error:
            if "wrong bytes" in str(error):
                raise
            pytest.skip(f"needs the wheel {name}: {error}")

    return get


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the random two-layer model that `smoke` uses."""
    from lora_ledger.models.pretrained import write_model

    entry = entries()["tiny-random-llama"]
    assert isinstance(entry, ModelEntry)
    folder = tmp_path_factory.mktemp("tiny") / "tiny-random-llama"
    write_model("tiny-random-llama", entry, folder)
    return folder


@pytest.fixture
def mirror() -> Path:
    """The folder LEDGER_MIRROR with copies of public data files; skips where it is not set."""
    folder = os.environ.get("LEDGER_MIRROR")
    if not folder:
        pytest.skip("LEDGER_MIRROR is not set")
    return Path(folder)
