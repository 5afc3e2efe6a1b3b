"""Files at web addresses: what is resumed, what is waited for, what is refused, and how often."""

from __future__ import annotations

import email.utils
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fake_hub import FakeHub, sha256
from lora_ledger.catalogue import UrlSource
from lora_ledger.data import sources
from lora_ledger.data.sources import SourceError, cache, web

MIB = 1 << 20
CONTENT = random.Random(3).randbytes(3 * MIB + 17)


def served(hub: FakeHub, content: bytes = CONTENT) -> UrlSource:
    hub.files["/data/some.bin"] = content
    url = f"{hub.endpoint}/data/some.bin"
    return UrlSource(kind="url", url=url, file="copy.bin", sha256=sha256(CONTENT))


def ranges(hub: FakeHub) -> list[str | None]:
    return [r.headers.get("range") for r in hub.asked("some.bin")]


def test_fetched_once_then_read_from_the_cache(hub: FakeHub, home: Path) -> None:
    source = served(hub)
    assert "copy.bin has to be fetched" in sources.missing(source)
    path = sources.obtain(source)
    assert path == home / "sha256" / sha256(CONTENT) / "copy.bin"
    assert path.read_bytes() == CONTENT
    assert sources.missing(source) == ""
    assert sources.obtain(source) == path
    assert len(hub.requests) == 1
    assert sources.provenance(source) == sha256(CONTENT)
    assert not list((home / "partial").iterdir())


def test_a_broken_connection_is_taken_up_where_it_broke(hub: FakeHub, naps: list[float]) -> None:
    source = served(hub)
    hub.cut("some.bin", 2 * MIB)
    assert sources.obtain(source).read_bytes() == CONTENT
    assert ranges(hub) == [None, f"bytes={2 * MIB}-"]
    assert hub.sent() == len(CONTENT)
    assert naps == [1.0]


def test_progress_begins_the_count_of_failures_again(hub: FakeHub, naps: list[float]) -> None:
    source = served(hub)
    hub.cut("some.bin", MIB // 2, times=6)
    assert sources.obtain(source).read_bytes() == CONTENT
    assert naps == [1.0] * 6
    assert hub.sent() == len(CONTENT)


def test_a_killed_process_leaves_what_the_next_one_goes_on_with(hub: FakeHub, home: Path) -> None:
    source = served(hub)
    hold = threading.Event()
    hub.cut("some.bin", 2 * MIB + MIB // 2, hold=hold)
    code = (
        "import sys; from lora_ledger.data import sources;"
        "from lora_ledger.catalogue import UrlSource;"
        "sources.obtain(UrlSource.model_validate_json(sys.argv[1]))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, source.model_dump_json()])
    partial = cache.partial_path(source.sha256, "copy.bin")
    while not (partial.is_file() and partial.stat().st_size == 2 * MIB):
        assert child.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    child.kill()
    child.wait()
    hold.set()
    assert partial.stat().st_size == 2 * MIB
    assert sources.obtain(source).read_bytes() == CONTENT
    assert ranges(hub) == [None, f"bytes={2 * MIB}-"]
    assert hub.requests[1].sent == MIB + 17


def test_a_server_that_ignores_the_range_sends_the_whole_file(hub: FakeHub) -> None:
    source = served(hub)
    hub.ranges = False
    partial = cache.partial_path(source.sha256, "copy.bin")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT[:MIB])
    assert sources.obtain(source).read_bytes() == CONTENT
    assert [r.status for r in hub.requests] == [200]


def test_a_part_of_another_file_is_found_out_and_fetched_anew(hub: FakeHub) -> None:
    source = served(hub)
    partial = cache.partial_path(source.sha256, "copy.bin")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(MIB))
    assert sources.obtain(source).read_bytes() == CONTENT
    assert ranges(hub) == [f"bytes={MIB}-", None]
    assert [r.status for r in hub.requests] == [206, 200]


def test_a_complete_part_costs_no_byte(hub: FakeHub) -> None:
    source = served(hub)
    partial = cache.partial_path(source.sha256, "copy.bin")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT)
    assert sources.obtain(source).read_bytes() == CONTENT
    assert [(r.status, r.sent) for r in hub.requests] == [(416, 0)]


def test_too_many_requests_are_waited_for_as_the_server_asks(
    hub: FakeHub, naps: list[float]
) -> None:
    source = served(hub)
    hub.answer("some.bin", 429, Retry_After="7")
    hub.answer("some.bin", 503, Retry_After="3")
    hub.answer("some.bin", 503)
    assert sources.obtain(source).read_bytes() == CONTENT
    assert naps == [7.0, 3.0, 4.0]


def test_five_failures_are_reported_with_the_ways_out(hub: FakeHub, naps: list[float]) -> None:
    source = served(hub)
    hub.answer("some.bin", 503, times=5)
    with pytest.raises(SourceError, match=r"failed 5 times \(HTTP 503.*LEDGER_MIRROR") as caught:
        sources.obtain(source)
    assert source.url in str(caught.value)
    assert naps == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("status", "words"), [(401, "wants a login"), (403, "refuses"), (404, "no such file")]
)
def test_what_no_repetition_cures_is_not_repeated(
    hub: FakeHub, naps: list[float], status: int, words: str
) -> None:
    source = served(hub)
    hub.answer("some.bin", status)
    with pytest.raises(SourceError, match=f"answers {status}.*{words}") as caught:
        sources.obtain(source)
    assert source.url in str(caught.value)
    assert len(hub.requests) == 1
    assert naps == []


def test_wrong_bytes_name_both_hashes_and_are_not_kept(hub: FakeHub, home: Path) -> None:
    source = served(hub, content=b"something else")
    with pytest.raises(SourceError) as caught:
        sources.obtain(source)
    for word in (sha256(CONTENT), sha256(b"something else"), source.url, "nothing was kept"):
        assert word in str(caught.value)
    assert not list(home.rglob("copy.bin"))
    assert len(hub.requests) == 1


def test_the_mirror_comes_first_and_a_wrong_byte_in_it_stops(
    hub: FakeHub, tmp_path: Path, monkeypatch
) -> None:
    source = served(hub)
    monkeypatch.setenv("LEDGER_MIRROR", str(tmp_path))
    (tmp_path / "copy.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(SourceError, match="LEDGER_MIRROR") as caught:
        sources.obtain(source)
    assert sha256(CONTENT) in str(caught.value)
    assert sha256(CONTENT[:-1]) in str(caught.value)
    (tmp_path / "copy.bin").write_bytes(CONTENT)
    assert sources.obtain(source).read_bytes() == CONTENT
    assert hub.requests == []


def test_two_at_once_fetch_once(hub: FakeHub) -> None:
    source = served(hub)
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(sources.obtain, [source, source]))
    assert paths[0] == paths[1]
    assert hub.sent() == len(CONTENT)


def test_how_long_a_server_asks_to_wait() -> None:
    assert web.retry_after("12") == 12.0
    assert web.retry_after(None) is None
    assert web.retry_after("soon") is None
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert web.retry_after(date) == pytest.approx(100, abs=3)
    with pytest.raises(SourceError, match="asks to wait 7200 seconds"):
        web.pause("http://a", 7200.0, 1)


def test_progress_is_shown_on_a_terminal_only(hub: FakeHub, monkeypatch, capsys) -> None:
    path = sources.obtain(served(hub))
    assert capsys.readouterr().err == ""
    path.unlink()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    sources.obtain(served(hub))
    shown = capsys.readouterr().err
    assert "copy.bin: 3 of 3 MB, 100%" in shown
    assert shown.endswith("\r\033[K")


def test_a_published_file_from_a_mirror(mirror: Path, home: Path, monkeypatch) -> None:
    monkeypatch.setenv("LEDGER_MIRROR", str(mirror))
    if not (mirror / "gsm8k-test.jsonl").is_file():
        pytest.skip("LEDGER_MIRROR holds no gsm8k-test.jsonl")
    source = UrlSource(
        kind="url",
        url="https://raw.githubusercontent.com/openai/grade-school-math/"
        "3101c7d5072418e28b9008a6636bde82a006892c/grade_school_math/data/test.jsonl",
        file="gsm8k-test.jsonl",
        sha256="3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
    )
    assert sources.check_available({"gsm8k": source}) == []
    assert len(sources.obtain(source).read_text("utf-8").splitlines()) == 1319


def test_what_another_name_left_is_no_obstacle(hub: FakeHub, home: Path) -> None:
    """A partial file of the same bytes under an older name lies in the same folder."""
    hub.files["/copy.bin"] = b"bytes"
    wanted = UrlSource(
        kind="url", url=f"{hub.endpoint}/copy.bin", file="copy.bin", sha256=sha256(b"bytes")
    )
    older = cache.partial_path(wanted.sha256, "older.bin")
    older.parent.mkdir(parents=True)
    older.write_bytes(b"by")
    assert sources.obtain(wanted).read_bytes() == b"bytes"
    assert not older.parent.exists()
