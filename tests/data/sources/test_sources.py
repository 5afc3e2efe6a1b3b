"""The cache, the mirror and pip: what is accepted, what is refused, what the refusal says."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import multiprocessing
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lora_ledger.catalogue import GeneratedSource, LocalSource, WheelSource
from lora_ledger.data import sources
from lora_ledger.data.sources import SourceError, cache, wheel

NAME = "made_up-1.0-py3-none-any.whl"


def wheel_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("made_up/data.txt"), "seven words of text in a wheel")
        archive.writestr(zipfile.ZipInfo("made_up/__init__.py"), "raise SystemExit")
    return buffer.getvalue()


GOOD = wheel_bytes()
HASH = hashlib.sha256(GOOD).hexdigest()
SOURCE = WheelSource(kind="wheel", name="made-up", version="1.0", file=NAME, sha256=HASH)


class Registry:
    """Stands where pip is run; serves `content`, after `failures` failed calls."""

    def __init__(self, content: bytes = GOOD, failures: int = 0, name: str = NAME) -> None:
        self.content, self.failures, self.name = content, failures, name
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str]) -> tuple[int, str]:
        self.commands.append(command)
        if len(self.commands) <= self.failures:
            return 1, "ERROR: no route to host"
        folder = next(part for part in command if part.startswith("--dest="))
        (Path(folder.removeprefix("--dest=")) / self.name).write_bytes(self.content)
        return 0, ""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEDGER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LEDGER_MIRROR", raising=False)
    monkeypatch.setattr(wheel, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(wheel, "probe", lambda source: "")
    serve(monkeypatch, Registry(failures=99))
    return tmp_path / "cache"


def serve(monkeypatch: pytest.MonkeyPatch, registry: Registry) -> Registry:
    monkeypatch.setattr(wheel, "_run", registry)
    return registry


def test_fetched_once_then_read_from_the_cache(home: Path, monkeypatch) -> None:
    registry = serve(monkeypatch, Registry())
    path = sources.obtain(SOURCE)
    assert path == home / "sha256" / HASH / NAME
    assert path.read_bytes() == GOOD
    assert "made-up==1.0" in registry.commands[0]
    assert "--no-deps" in registry.commands[0]
    offline = serve(monkeypatch, Registry(failures=99))
    assert sources.obtain(SOURCE) == path
    assert offline.commands == []
    assert list((home / "tmp").iterdir()) == []


def test_two_failures_are_retried_and_three_are_reported(home: Path, monkeypatch) -> None:
    registry = serve(monkeypatch, Registry(failures=2))
    sources.obtain(SOURCE)
    assert len(registry.commands) == 3
    (home / "sha256" / HASH / NAME).unlink()
    registry = serve(monkeypatch, Registry(failures=3))
    with pytest.raises(SourceError, match=r"3 times .*no route to host.*LEDGER_MIRROR"):
        sources.obtain(SOURCE)
    assert len(registry.commands) == 3


def test_damaged_file_in_the_cache_stops_and_is_left_alone(home: Path, monkeypatch) -> None:
    registry = serve(monkeypatch, Registry())
    path = sources.obtain(SOURCE)
    damaged = bytearray(GOOD)
    damaged[40] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(SourceError) as caught:
        sources.obtain(SOURCE)
    for word in (HASH, hashlib.sha256(damaged).hexdigest(), str(path), "delete that file"):
        assert word in str(caught.value)
    assert path.read_bytes() == damaged
    assert len(registry.commands) == 1
    path.unlink()
    assert sources.obtain(SOURCE).read_bytes() == GOOD


def test_wrong_bytes_from_the_registry_are_not_kept(home: Path, monkeypatch) -> None:
    serve(monkeypatch, Registry(content=b"something else"))
    with pytest.raises(SourceError) as caught:
        sources.obtain(SOURCE)
    for word in (HASH, hashlib.sha256(b"something else").hexdigest(), "made-up==1.0"):
        assert word in str(caught.value)
    assert not list(home.rglob("*.whl"))


def test_another_file_than_the_pinned_one_is_named(home: Path, monkeypatch) -> None:
    serve(monkeypatch, Registry(name="made_up-1.0-cp311-linux.whl"))
    with pytest.raises(SourceError, match=r"cp311-linux.*expected was made_up-1\.0-py3"):
        sources.obtain(SOURCE)


def test_half_written_leftover_is_ignored(home: Path, monkeypatch) -> None:
    leftover = home / "tmp" / "killed" / NAME
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(GOOD[:50])
    assert sources.missing(SOURCE)
    serve(monkeypatch, Registry())
    assert sources.obtain(SOURCE).read_bytes() == GOOD


def test_mirror_comes_before_the_network(home: Path, tmp_path: Path, monkeypatch) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / NAME).write_bytes(GOOD)
    monkeypatch.setenv("LEDGER_MIRROR", str(mirror))
    assert sources.missing(SOURCE) == ""
    path = sources.obtain(SOURCE)
    assert path.is_relative_to(home)
    (mirror / NAME).unlink()
    assert sources.obtain(SOURCE) == path


def test_damaged_mirror_stops(home: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / NAME).write_bytes(GOOD[:-1])
    monkeypatch.setenv("LEDGER_MIRROR", str(tmp_path))
    with pytest.raises(SourceError, match="LEDGER_MIRROR") as caught:
        sources.obtain(SOURCE)
    assert HASH in str(caught.value)
    assert not (home / "sha256").exists()


def _obtain_in_child(barrier, results) -> None:
    wheel._run = Registry()  # type: ignore[assignment]
    barrier.wait()
    results.put(sources.obtain(SOURCE).read_bytes() == GOOD)


def test_two_processes_at_once(home: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    children = [context.Process(target=_obtain_in_child, args=(barrier, results)) for _ in range(2)]
    for child in children:
        child.start()
    assert [results.get(timeout=1800) for _ in range(2)] == [True, True]
    for child in children:
        child.join()
    assert cache.sha256_of(home / "sha256" / HASH / NAME) == HASH


def test_the_slower_of_two_replaces_the_same_bytes(home: Path, monkeypatch) -> None:
    class Overtaken(Registry):
        def __call__(self, command: list[str]) -> tuple[int, str]:
            target = cache.cached_path(HASH, NAME)
            target.parent.mkdir(parents=True)
            target.write_bytes(GOOD)
            return super().__call__(command)

    serve(monkeypatch, Overtaken())
    assert sources.obtain(SOURCE).read_bytes() == GOOD


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LEDGER_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(SourceError, match="LEDGER_CACHE"):
        sources.obtain(SOURCE)


def test_cache_folder_follows_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("LEDGER_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert sources.cache_root() == Path("/a")
    monkeypatch.delenv("LEDGER_CACHE")
    assert sources.cache_root() == Path("/b/lora-ledger")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert sources.cache_root() == Path("/c/.cache/lora-ledger")


def test_members_are_read_without_installing(home: Path, monkeypatch) -> None:
    serve(monkeypatch, Registry())
    path = sources.obtain(SOURCE)
    assert sources.members(path) == ["made_up/__init__.py", "made_up/data.txt"]
    assert sources.read_member(path, "made_up/data.txt") == b"seven words of text in a wheel"
    with pytest.raises(SourceError, match=r"'made_up/dat\.txt'.*made_up/data\.txt"):
        sources.read_member(path, "made_up/dat.txt")
    (path.parent / "other").write_bytes(b"no zip")
    with pytest.raises(SourceError, match="not a wheel"):
        sources.members(path.parent / "other")


def test_local_files_and_folders(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_bytes(GOOD)
    assert sources.obtain(LocalSource(kind="local", path=str(file))) == file
    assert sources.obtain(LocalSource(kind="local", path=str(file), sha256=HASH)) == file
    with pytest.raises(SourceError, match="wrong bytes"):
        sources.obtain(LocalSource(kind="local", path=str(file), sha256="0" * 64))
    with pytest.raises(SourceError, match=f"part that exists is {tmp_path}"):
        sources.obtain(LocalSource(kind="local", path=str(tmp_path / "no" / "such")))
    with pytest.raises(SourceError, match="folder"):
        sources.obtain(LocalSource(kind="local", path=str(tmp_path), sha256=HASH))


def test_generated_has_no_path() -> None:
    with pytest.raises(SourceError, match=r"made from its seed.*seed 3"):
        sources.obtain(GeneratedSource(kind="generated", seed=3))


def test_what_is_missing_is_said_before_anything_runs(home: Path, tmp_path: Path) -> None:
    here = LocalSource(kind="local", path=str(tmp_path))
    made = GeneratedSource(kind="generated")
    lines = sources.check_available({"a": SOURCE, "b": here, "c": made})
    assert len(lines) == 1
    assert lines[0].startswith(f"a: {NAME} has to be fetched")
    gone = LocalSource(kind="local", path=str(tmp_path / "x"))
    also = LocalSource(kind="local", path=str(tmp_path / "y"))
    with pytest.raises(SourceError) as caught:
        sources.check_available({"d": gone, "a": SOURCE, "e": also})
    assert str(caught.value).startswith("d: ")
    assert "\ne: " in str(caught.value)


def test_asking_for_pip_leaves_setuptools_whole() -> None:
    """Its finder gives up its distutils as soon as anybody asks for `pip`; torch's builder of
    extensions imports setuptools, and so does peft's BOFT through it."""
    pytest.importorskip("setuptools")
    code = (
        "from lora_ledger.data.sources import wheel\n"
        "print([wheel._has(name) for name in ('pip', 'ensurepip', 'no_such_module')])\n"
        "import setuptools"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    # By distribution, which no finder hears of.
    pip = bool(list(importlib.metadata.distributions(name="pip")))
    assert done.stdout.strip() == str([pip, True, False])


@pytest.mark.slow
def test_pip_is_bootstrapped_where_it_is_absent(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(wheel, "_has", lambda module: module == "ensurepip")
    command = wheel._pip(tmp_path)
    status, _ = wheel._run([*command, "--version"])
    assert status == 0
    assert Path(command[0]).is_relative_to(tmp_path)
    monkeypatch.setattr(wheel, "_has", lambda module: False)
    monkeypatch.setattr(wheel.shutil, "which", lambda name: f"/opt/{name}")
    assert wheel._pip(tmp_path) == ["/opt/uv", "tool", "run", "pip"]
    monkeypatch.setattr(wheel.shutil, "which", lambda name: None)
    with pytest.raises(SourceError, match="install pip"):
        wheel._pip(tmp_path)


def test_pips_own_words_reach_the_message() -> None:
    status, words = wheel._run(
        ["sh", "-c", "echo 'ERROR: No matching distribution' >&2; echo WARNING: old >&2; exit 3"]
    )
    assert (status, words) == (3, "ERROR: No matching distribution")


def test_real_pip_without_a_network(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("LEDGER_CACHE", str(tmp_path))
    monkeypatch.delenv("LEDGER_MIRROR", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    # Port 9 of this machine: nothing answers, and nothing leaves the machine.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setattr(wheel, "TRIES", 1)
    with pytest.raises(SourceError, match=r"registry was not reached.*LEDGER_MIRROR"):
        sources.obtain(SOURCE)
