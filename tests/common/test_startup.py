"""What loads a job keeps out of garbage collection, and nothing else."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
import weakref
from types import ModuleType

import pytest

from lora_ledger.common.startup import loading


@pytest.fixture(autouse=True)
def _thawed() -> object:
    """Other tests' objects are not to stay frozen."""
    yield
    gc.unfreeze()


def test_no_collection_while_loading_and_collection_after() -> None:
    assert gc.isenabled()
    with loading():
        assert not gc.isenabled()
        sys.modules["a module that is new"] = ModuleType("new")
    del sys.modules["a module that is new"]
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_what_comes_later_is_collected() -> None:
    """Without anybody asking for it, once enough objects have been made."""

    class Node:
        pass

    with loading():
        pass
    node = Node()
    node.itself = node  # type: ignore[attr-defined]
    watch = weakref.ref(node)
    del node
    kept = [[] for _ in range(20 * gc.get_threshold()[0])]  # type: ignore[var-annotated]
    assert kept
    assert watch() is None


def test_objects_of_a_caller_that_has_the_modules_stay_as_they_are() -> None:
    gc.unfreeze()
    with loading():
        importlib.import_module("json")
    assert gc.get_freeze_count() == 0


def test_an_error_and_a_caller_without_collection_are_left_as_they_are() -> None:
    with pytest.raises(ValueError, match="no such model"), loading():
        raise ValueError("no such model")
    assert gc.isenabled()
    gc.disable()
    try:
        with loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_job_looks_through_few_objects_after_it_has_loaded() -> None:
    """In a process of its own, as a stage is: torch's own objects are out of the count."""
    pytest.importorskip("torch")
    program = (
        "import gc\n"
        "from lora_ledger.compute.device import _device\n"
        "_device('cpu')\n"
        "print(len(gc.get_objects()), gc.get_freeze_count())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    watched, frozen = map(int, done.stdout.split())
    assert frozen > 50_000
    assert watched < frozen / 10
