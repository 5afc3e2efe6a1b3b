"""The code digest sees code and is blind to comments and docstrings."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_ledger.scheduling import digests


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of its own: `stage` imports `helper` inside a function, and `records`."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "inner/__init__.py").write_text("")
    (tmp_path / "inner/helper.py").write_text("def f(x):\n    return x + 1\n")
    (tmp_path / "inner/other.py").write_text("A = 1\n")
    (tmp_path / "records.py").write_text("A = 1\n")
    (tmp_path / "stage.py").write_text(
        '"""Doc."""\nfrom .records import A\n\ndef run():\n    from .inner.helper import f\n'
        "    return f(A)\n"
    )
    monkeypatch.setattr(digests, "PACKAGE", tmp_path)
    monkeypatch.setattr(digests, "ROOT", tmp_path.name)
    for cached in (digests.code_digest, digests._parsed, digests._imports, digests._tree):
        cached.cache_clear()
    return tmp_path


def fresh(module: str, *extra: str) -> str:
    for cached in (digests.code_digest, digests._parsed, digests._imports, digests._tree):
        cached.cache_clear()
    return digests.code_digest(module, extra)


def test_closure_follows_imports_in_functions_and_leaves_records_out(package: Path) -> None:
    assert digests.closure("stage") == {"stage", "inner", "inner.helper"}


def test_comment_and_docstring_change_nothing(package: Path) -> None:
    before = fresh("stage")
    helper = package / "inner/helper.py"
    helper.write_text('def f(x):\n    """Adds one."""\n    # a reason\n    return x + 1\n')
    assert fresh("stage") == before


def test_code_in_an_import_changes_it_and_elsewhere_does_not(package: Path) -> None:
    before = fresh("stage")
    (package / "inner/other.py").write_text("A = 2\n")
    (package / "records.py").write_text("A = 3\n")
    assert fresh("stage") == before
    (package / "inner/helper.py").write_text("def f(x):\n    return x + 2\n")
    assert fresh("stage") != before


def test_a_module_imported_by_name_counts_as_extra(package: Path) -> None:
    before = fresh("stage", "inner.other")
    (package / "inner/other.py").write_text("A = 2\n")
    assert fresh("stage", "inner.other") != before


def test_unknown_module_is_named(package: Path) -> None:
    with pytest.raises(ValueError, match=r"no module .*nowhere"):
        fresh("nowhere")
