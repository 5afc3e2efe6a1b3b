"""Files and folders that appear whole, with the mode that the umask leaves to a new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lora_ledger.records.atomic import new_file, new_folder, write_text_atomic


@pytest.fixture(params=[0o002, 0o022, 0o077])
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_modes_are_what_the_umask_leaves(mask: int, tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a" / "text", "x")
    with new_file(tmp_path / "weights") as path:
        # safetensors gives its file to its owner alone.
        save_file({"w": torch.zeros(2)}, path)
    with new_folder(tmp_path / "model") as folder:
        (folder / "inner").mkdir(mode=0o700)
        save_file({"w": torch.zeros(2)}, folder / "inner" / "weights")
    files = ["a/text", "weights", "model/inner/weights"]
    assert [mode(tmp_path / one) for one in files] == [0o666 & ~mask] * 3
    assert [mode(tmp_path / one) for one in ("a", "model", "model/inner")] == [0o777 & ~mask] * 3
    assert os.umask(mask) == mask


def test_the_mode_of_a_linked_file_is_its_owners_matter(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("x")
    theirs.chmod(0o400)
    with new_folder(tmp_path / "out") as folder:
        os.link(theirs, folder / "hard")
        (folder / "soft").symlink_to(theirs)
    assert mode(theirs) == 0o400


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "file", "old")
    (tmp_path / "folder").mkdir()
    write_text_atomic(tmp_path / "folder" / "one", "old")

    def interrupted(place: AbstractContextManager[Path], name: str = "") -> None:
        with place as path:
            (path / name).write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted(new_file(tmp_path / "file"))
    with pytest.raises(RuntimeError):
        interrupted(new_folder(tmp_path / "folder"), "one")
    assert (tmp_path / "file").read_text() == "old"
    assert (tmp_path / "folder" / "one").read_text() == "old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with new_folder(tmp_path / "deep" / "folder") as folder:
            (folder / name).write_text(name)
    assert [one.name for one in (tmp_path / "deep" / "folder").iterdir()] == ["two"]
    assert [one.name for one in (tmp_path / "deep").iterdir()] == ["folder"]


def test_the_place_may_be_gone_by_then(tmp_path: Path) -> None:
    """A scheduler removes the empty folder of an output before the job that writes it."""
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell").rmdir()
    with new_folder(tmp_path / "cell" / "model") as folder:
        (folder / "weights").write_text("x")
    assert (tmp_path / "cell" / "model" / "weights").read_text() == "x"
