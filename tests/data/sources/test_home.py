"""Where caches are when the home cannot be written."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lora_ledger.data import sources
from lora_ledger.data.sources import cache, home
from lora_ledger.records.atomic import write_bytes_atomic

NOWHERE = "/proc/nowhere"
SOURCE = Path("src").resolve()


def test_a_home_that_can_be_written_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {"HOME": str(tmp_path)}
    assert home.writable(given) is None
    assert given == {"HOME": str(tmp_path)}


@pytest.mark.parametrize("given", [{"XDG_CACHE_HOME": NOWHERE}, {}])
def test_without_one_caches_are_below_work(
    given: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", NOWHERE)
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "work/.cache"
    assert home.writable(given) == place
    assert given == {
        "XDG_CACHE_HOME": str(place),
        "MPLCONFIGDIR": str(place / "matplotlib"),
        "TRITON_HOME": str(place),
    }
    # What a job takes over is left as it is.
    before = dict(given)
    assert home.writable(given) is None
    assert given == before


def test_a_home_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.chdir(tmp_path)
    given: dict[str, str] = {}
    place = tmp_path / "work/.cache"
    assert home.writable(given) == place
    # platformdirs, which Snakemake asks, raises where it finds neither these nor a home.
    assert given["XDG_CONFIG_HOME"] == str(place / "config")


def test_a_user_whom_the_machine_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {"HOME": str(tmp_path)})
    monkeypatch.setattr(os, "getuid", lambda: 4_000_001)
    home.writable(os.environ)
    assert getpass.getuser() == "uid-4000001"


def test_a_cache_that_can_only_be_read_is_still_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lookups of the cache go by name, so links to its entries are found as they are."""
    shared = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "shared")}
    monkeypatch.setattr(os, "environ", shared)
    source = tmp_path / "bytes"
    write_bytes_atomic(source, b"seven")
    sha256 = cache.sha256_of(source)
    cache.store(source, sha256)
    real = home.takes_files
    monkeypatch.setattr(home, "takes_files", lambda f: f != tmp_path / "shared" and real(f))
    monkeypatch.chdir(tmp_path)
    assert home.writable(os.environ) == tmp_path / "work/.cache"
    found = cache.lookup(sha256, "bytes")
    assert found == tmp_path / "work/.cache/lora-ledger/sha256" / sha256 / "bytes"
    assert found.read_bytes() == b"seven"
    with sources.cache.scratch() as folder:
        assert folder.is_relative_to(tmp_path / "work/.cache")


def test_where_nothing_can_be_written_a_temporary_folder_goes_with_the_process(
    tmp_path: Path,
) -> None:
    code = (
        "import os; from lora_ledger.data.sources import home; "
        "home.INSTEAD = home.Path('/proc/work'); print(home.writable(os.environ)); "
        "assert os.path.isdir(os.environ['XDG_CACHE_HOME'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": NOWHERE, "TMPDIR": str(tmp_path), "PYTHONPATH": str(SOURCE)},
    )
    made = Path(done.stdout.strip())
    assert made.parent == tmp_path
    assert not made.exists()
