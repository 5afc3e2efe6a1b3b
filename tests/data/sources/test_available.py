"""Before any compute: what has to be fetched, what cannot be, and how to bring it here."""

from __future__ import annotations

import hashlib
import io
import re
import socket
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_hub import FakeHub
from lora_ledger.catalogue import HubSource, UrlSource, WheelSource
from lora_ledger.data import sources
from lora_ledger.data.sources import SourceError, web, wheel
from lora_ledger.data.sources import hub as hub_source

HUB = HubSource(kind="hub", repo="a/b", type="dataset", files=["data/*.parquet", "x.json"])
NAME = "made_up-1.0-py3-none-any.whl"
WHEEL = WheelSource(kind="wheel", name="made-up", version="1.0", file=NAME, sha256="0" * 64)


def at(url: str, file: str = "copy.bin") -> UrlSource:
    return UrlSource(kind="url", url=url, file=file, sha256="0" * 64)


@pytest.fixture
def nowhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Port 9 of this machine: nothing answers, and nothing leaves the machine."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    return "http://127.0.0.1:9/copy.bin"


def test_without_network_and_mirror_every_source_is_listed(nowhere: str) -> None:
    start = time.monotonic()
    with pytest.raises(SourceError) as caught:
        sources.check_available({"w": WHEEL, "u": at(nowhere), "h": HUB})
    # Most of it is pip's start; a probe that waits for an answer takes wall time only.
    assert time.monotonic() - start < 600
    # A source's lines after the first are indented.
    told = dict(one.split(": ", 1) for one in re.split(r"\n(?! )", str(caught.value)))
    assert list(told) == ["w", "u", "h"]
    assert "the registry was not reached" in told["w"]
    assert "pip download --no-deps" in told["w"]
    assert f"expected at $LEDGER_MIRROR/{NAME}" in told["w"]
    assert f"has to be fetched ({nowhere})\n    127.0.0.1:9 was not reached" in told["u"]
    assert "put it as copy.bin into a folder and set LEDGER_MIRROR" in told["u"]
    assert "http://127.0.0.1:9 was not reached" in told["h"]
    assert (
        "hf download a/b --repo-type dataset --revision main --include 'data/*.parquet' "
        "--include 'x.json' --local-dir FOLDER/a/b"
    ) in told["h"]


def test_the_place_in_a_mirror_is_named(nowhere: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("LEDGER_MIRROR", str(tmp_path))
    with pytest.raises(SourceError) as caught:
        sources.check_available({"u": at(nowhere), "h": HUB})
    assert f"expected at {tmp_path / 'copy.bin'}" in str(caught.value)
    assert f"expected at {tmp_path / 'a' / 'b'}/" in str(caught.value)
    (tmp_path / "copy.bin").write_bytes(b"")
    for name in ("data/1.parquet", "x.json"):
        (tmp_path / "a" / "b" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / "b" / name).write_bytes(b"")
    assert sources.check_available({"u": at(nowhere), "h": HUB}) == []


def test_what_answers_is_to_be_fetched(hub: FakeHub) -> None:
    hub.files["/copy.bin"] = b"bytes"
    hub.commit("dataset", "a/b", {"x.json": b"{}"})
    lines = sources.check_available({"u": at(f"{hub.endpoint}/copy.bin"), "h": HUB})
    assert lines == [
        f"u: copy.bin has to be fetched ({hub.endpoint}/copy.bin)",
        "h: data/*.parquet, x.json of dataset a/b at main has to be fetched",
    ]
    assert hub.sent("copy.bin") == 0


def test_a_server_without_head_and_one_that_is_busy(hub: FakeHub) -> None:
    hub.files["/copy.bin"] = b"bytes"
    wanted = {"u": at(f"{hub.endpoint}/copy.bin")}
    hub.answer("copy.bin", 405)
    assert len(sources.check_available(wanted)) == 1
    assert [(r.method, r.sent) for r in hub.requests] == [("HEAD", 0), ("GET", 1)]
    hub.answer("copy.bin", 429)
    assert len(sources.check_available(wanted)) == 1
    hub.answer("copy.bin", 404)
    with pytest.raises(SourceError, match="answers 404 Not Found: there is no such file"):
        sources.check_available(wanted)


def test_a_hub_without_the_repository_and_what_is_no_hub(hub: FakeHub) -> None:
    with pytest.raises(SourceError, match=r"dataset a/b at main: .* has no such repository"):
        sources.check_available({"h": HUB})
    hub.files["/api/datasets/a/b/revision/main"] = b"<html>welcome</html>"
    with pytest.raises(SourceError, match="does not answer as a hub does"):
        sources.check_available({"h": HUB})


def test_the_probe_carries_no_token_to_another_host(hub: FakeHub, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    with FakeHub() as other:
        hub.answer("/api/", 307, Location=f"{other.endpoint}/elsewhere")
        assert hub_source.probe(HUB) == ""
        assert other.requests == []


def test_offline_is_said(hub: FakeHub, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SourceError, match=r"h: .*\n +HF_HUB_OFFLINE is set.*unset it"):
        sources.check_available({"h": HUB})
    assert hub.requests == []


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_no_answer_in_time_is_no_refusal(
    silent: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(web, "WAIT_SECONDS", 1.0)
    monkeypatch.setattr(sources, "SAY_SECONDS", 0.3)
    monkeypatch.setenv("HF_ENDPOINT", silent)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"{silent}/simple")
    wanted = {"w": WHEEL, "u": at(f"{silent}/copy.bin"), "h": HUB}
    assert [line[:3] for line in sources.check_available(wanted)] == ["w: ", "u: ", "h: "]
    told = capsys.readouterr().err
    for name in wanted:
        assert f"{name}: no answer (" in told
    assert re.search(r"asking whether w, u, h can be had: \d+ s\n", told)


def test_a_pip_that_a_busy_machine_keeps_waiting_is_no_refusal(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheel, "ASK_SECONDS", 0.01)
    with pytest.raises(web.Late, match=r"no end after 0\.01 seconds"):
        wheel.probe(WHEEL)
    # Minutes, and not the seconds that pip's own start may take.
    monkeypatch.undo()
    assert min(wheel.ASK_SECONDS, web.WAIT_SECONDS) >= 120


@pytest.fixture
def links(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip is configured to find wheels in, and no index."""
    folder = tmp_path / "links"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    return folder


@pytest.mark.slow
def test_pips_own_configuration_is_asked(links: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("made_up-1.0.dist-info/METADATA", "Name: made-up\nVersion: 1.0\n")
        archive.writestr("made_up-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("made_up-1.0.dist-info/RECORD", "")
    (links / NAME).write_bytes(buffer.getvalue())
    good = WHEEL.model_copy(update={"sha256": hashlib.sha256(buffer.getvalue()).hexdigest()})
    lines = sources.check_available({"w": good})
    assert lines == [f"w: {NAME} has to be fetched (pip download made-up==1.0)"]
    assert sources.obtain(good).read_bytes() == buffer.getvalue()
    later = WHEEL.model_copy(update={"version": "2.0", "file": "made_up-2.0-py3-none-any.whl"})
    assert "has no made-up==2.0, only ['1.0']" in wheel.probe(later)
    assert wheel.probe(WHEEL.model_copy(update={"version": "01.0.0"})) == ""


def test_a_wheel_that_is_not_there(links: Path) -> None:
    with pytest.raises(SourceError, match=r"No matching distribution.*\n.*LEDGER_MIRROR"):
        sources.check_available({"w": WHEEL})
