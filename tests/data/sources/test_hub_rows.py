"""Rows up to a budget: where it stops, what is written, and how little of a large file is read."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import random
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from fake_hub import FakeHub, sha256
from lora_ledger.catalogue import HubSource
from lora_ledger.data import sources
from lora_ledger.data.sources import SourceError

REPO = "someone/words"
# 100 bytes of UTF-8 a row, 98 characters: é has two.
ROWS = [{"text": f"{i:06d} éé".ljust(98, "."), "n": i} for i in range(20)]


def source(*files: str, tokens: int = 100, **keys: object) -> HubSource:
    stream = {"column": "text", "tokens": tokens, "bytes_per_token": 4.0} | keys.pop("stream", {})
    wanted = list(files) or ["data/*"]
    return HubSource(kind="hub", repo=REPO, type="dataset", files=wanted, stream=stream, **keys)


def lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def table(rows: list[dict], **keys: object) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer, **keys)
    return buffer.getvalue()


def packed(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def read(folder: Path) -> list[dict]:
    assert [path.name for path in folder.iterdir()] == ["stream.jsonl"]
    return [json.loads(line) for line in (folder / "stream.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", lines(ROWS)),
        ("a.json", lines(ROWS)),
        ("a.jsonl.gz", gzip.compress(lines(ROWS[:3])) + gzip.compress(lines(ROWS[3:]))),
        ("a.jsonl.zst", packed(lines(ROWS))),
        ("a.parquet", table(ROWS)),
    ],
)
def test_the_row_that_crosses_the_budget_is_the_last(
    hub: FakeHub, name: str, content: bytes
) -> None:
    hub.commit("dataset", REPO, {f"data/{name}": content})
    # 100 tokens of 4 bytes: 400 bytes are four rows exactly; 101 need a fifth.
    assert read(sources.obtain(source(tokens=100))) == ROWS[:4]
    assert read(sources.obtain(source(tokens=101))) == ROWS[:5]
    assert read(sources.obtain(source(tokens=1))) == ROWS[:1]


def test_files_are_read_pattern_by_pattern_then_by_name(hub: FakeHub) -> None:
    parts = {
        f"data/{c}.jsonl": lines(ROWS[i : i + 2]) for i, c in zip((4, 2, 0), "abc", strict=True)
    }
    hub.commit("dataset", REPO, parts)
    found = read(sources.obtain(source("data/c*", "data/*", tokens=125)))
    assert [row["n"] for row in found] == [0, 1, 4, 5, 2]


def test_canonical_lines_and_what_pins_them(hub: FakeHub) -> None:
    row = {"text": "é", "b": 1, "a": [1.5, None]}
    commit = hub.commit("dataset", REPO, {"data/a.jsonl": lines([row])})
    wanted = source(stream={"tokens": 1, "bytes_per_token": 2.0})
    folder = sources.obtain(wanted)
    written = '{"a":[1.5,null],"b":1,"text":"é"}\n'.encode()
    assert (folder / "stream.jsonl").read_bytes() == written
    asked = len(hub.requests)
    found = sources.provenance(wanted)
    assert found["files"] == {"stream.jsonl": sha256(written)}
    assert (found["commit"], found["type"]) == (commit, "dataset")
    assert len(hub.requests) == asked
    pinned = wanted.model_copy(update={"sha256": {"stream.jsonl": "0" * 64}})
    with pytest.raises(SourceError, match="0" * 64) as caught:
        sources.obtain(pinned)
    assert sha256(written) in str(caught.value)


def test_only_a_part_of_a_large_parquet_is_read(hub: FakeHub) -> None:
    noise = random.Random(11)
    rows = [{"id": i, "text": noise.randbytes(500).hex()} for i in range(12_000)]
    # Both shapes that are common: many row groups, and a single one of 12 MB.
    for name, size in (("many", 500), ("one", 12_000)):
        content = table(rows, row_group_size=size, compression="none", use_dictionary=False)
        assert len(content) > 12_000_000
        hub.commit("dataset", f"someone/{name}", {"data/a.parquet": content})
        wanted = source(tokens=25_000).model_copy(update={"repo": f"someone/{name}"})
        # 100,000 bytes at 1,000 a row.
        assert read(sources.obtain(wanted)) == rows[:100]
        assert 100_000 < hub.sent(f"{name}/resolve") < 3_000_000
        assert all("range" in r.headers for r in hub.asked(f"{name}/resolve"))


def test_only_a_part_of_a_long_file_of_lines_is_read(hub: FakeHub) -> None:
    rows = [{"text": "x" * 1000, "n": i} for i in range(8_000)]
    hub.commit("dataset", REPO, {"data/a.jsonl": lines(rows), "data/b.jsonl": lines(rows)})
    assert read(sources.obtain(source(tokens=500_000))) == rows[:2000]
    assert 2_000_000 < hub.sent("/resolve/") < 5_000_000
    assert hub.asked("b.jsonl") == []


def test_a_stream_that_was_killed_begins_again(hub: FakeHub, home: Path, naps) -> None:
    hub.commit("dataset", REPO, {"data/a.jsonl": lines(ROWS)})
    hub.answer("/resolve/", 500, times=50)
    with pytest.raises(SourceError, match="500"):
        sources.obtain(source())
    (half,) = (home / "hub" / "partial").iterdir()
    (half / "stream.jsonl").write_bytes(lines(ROWS)[:77])
    hub.answers.clear()
    assert read(sources.obtain(source())) == ROWS[:4]


def test_a_gated_stream_names_token_and_page(hub: FakeHub) -> None:
    hub.commit("dataset", REPO, {"data/a.parquet": table(ROWS)}, gated=True)
    with pytest.raises(SourceError, match=r"gated.*401.*HF_TOKEN") as caught:
        sources.obtain(source())
    assert f"{hub.endpoint}/datasets/{REPO}" in str(caught.value)


def test_a_stream_waits_where_it_is_told_to(hub: FakeHub, naps: list[float]) -> None:
    hub.commit("dataset", REPO, {"data/a.parquet": table(ROWS)})
    hub.answer("/resolve/", 429, Retry_After="4")
    hub.cut("/resolve/", 10)
    assert read(sources.obtain(source())) == ROWS[:4]
    # The library adds a second to what the server asks for; its own second pause is two.
    assert sorted(naps) == [2, 5]


def test_the_mirror_is_read_first(hub: FakeHub, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "m" / REPO / "data"
    folder.mkdir(parents=True)
    (folder / "a.parquet").write_bytes(table(ROWS))
    (folder / "b.jsonl").write_bytes(lines(ROWS[4:]))
    monkeypatch.setenv("LEDGER_MIRROR", str(tmp_path / "m"))
    wanted = source(tokens=600)
    first = sources.obtain(wanted)
    assert read(first) == ROWS + ROWS[4:8]
    assert sources.obtain(wanted) == first
    found = sources.provenance(wanted)
    assert found["commit"] is None
    assert found["files"] == {"stream.jsonl": sha256((first / "stream.jsonl").read_bytes())}
    # Another file in its place is another stream.
    (folder / "b.jsonl").write_bytes(lines(ROWS[10:]))
    assert read(sources.obtain(wanted)) == ROWS + ROWS[10:14]
    with pytest.raises(SourceError, match="LEDGER_MIRROR has the wrong bytes"):
        sources.obtain(wanted.model_copy(update={"sha256": {"data/a.parquet": "0" * 64}}))
    assert hub.requests == []


def test_values_that_json_lacks(hub: FakeHub) -> None:
    day = datetime.datetime(2024, 2, 29, 12, 30)
    rows = [{"text": "four", "when": day, "x": float("nan")}]
    hub.commit("dataset", REPO, {"data/a.parquet": table(rows)})
    found = read(sources.obtain(source(tokens=1)))
    assert found == [{"text": "four", "when": "2024-02-29T12:30:00", "x": None}]
    hub.commit("dataset", REPO, {"data/a.parquet": table([{"text": "four", "x": b"\xff"}])}, "raw")
    with pytest.raises(SourceError, match=r"data/a.parquet.*, row 1, column 'x': found bytes"):
        sources.obtain(source(tokens=1, revision="raw"))


@pytest.mark.parametrize(
    ("files", "keys", "words"),
    [
        ({"data/a.jsonl": lines(ROWS)}, {"tokens": 501}, r"found 2000 bytes.*all 20 rows.*2004"),
        ({"data/a.csv": b"text\n"}, {}, r"a\.csv.*expected \.jsonl.* or \.parquet"),
        ({"data/a.jsonl": b'{"txt": "a"}\n'}, {}, r"no column 'text'.*'txt'"),
        ({"data/a.jsonl": b'{"text": 3}\n'}, {}, "holds a int, expected text"),
        ({"data/a.jsonl": b'{"text": "a"}\n{"te'}, {}, "data/a.jsonl of .*, line 2: not JSON"),
        ({"data/a.jsonl": b"[1]\n"}, {}, "found list, expected an object"),
        ({"data/a.parquet": b"PAR1" + bytes(50)}, {}, "row 1: not Parquet"),
    ],
)
def test_what_cannot_be_streamed(hub: FakeHub, files, keys, words: str) -> None:
    hub.commit("dataset", REPO, files)
    with pytest.raises(SourceError, match=words):
        sources.obtain(source(**keys))


def test_rows_without_text_count_nothing(hub: FakeHub) -> None:
    rows = [{"text": None}, {"text": ""}, {"text": "four"}, {"text": "more"}]
    hub.commit("dataset", REPO, {"data/a.jsonl": lines(rows)})
    assert read(sources.obtain(source(tokens=1))) == rows[:3]
