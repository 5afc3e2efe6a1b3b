"""The user's own data: what is read from which kind of file, and the message for what cannot be."""

import datetime
import decimal
import gzip
import json
from pathlib import Path

import pytest

from lora_ledger.data.corpora import Example, tables
from lora_ledger.data.corpora.readers.jsonl import read


def written(tmp_path: Path, *lines: object, name: str = "mine.jsonl") -> dict[str, Path]:
    path = tmp_path / name
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return {"data": path}


def test_texts_pairs_groups_and_other_keys(tmp_path: Path) -> None:
    sources = written(tmp_path, {"text": "a", "year": 1}, "", {"text": "b"})
    found = list(read(sources, {}))
    assert [(one.text, one.group, one.fields) for one in found] == [
        ("a", "line 1", {"year": 1}),
        ("b", "line 3", {}),
    ]
    sources = written(tmp_path, {"q": "1+1?", "a": "2", "topic": "sums", "hint": None})
    (one,) = read(sources, {"prompt": "q", "response": "a", "group": "topic"})
    assert (one.prompt, one.response, one.group, one.fields) == (
        "1+1?",
        "2",
        "sums",
        {"hint": None},
    )
    (one,) = read(written(tmp_path, {"prompt": "p", "response": "r"}), {})
    assert (one.text, one.prompt, one.response) == ("", "p", "r")


@pytest.mark.parametrize(
    ("line", "options", "message"),
    [
        ("{", {}, r"line 2: not JSON .* expected one JSON object"),
        ([1], {}, r"line 2: found list, expected an object"),
        (
            {"txet": "a"},
            {"text": "text"},
            r"line 2: no key 'text', found txet; did you mean 'txet'",
        ),
        ({"text": 3}, {}, r"line 2, key 'text': found int, expected a string"),
        ({"text": "a"}, {"group": "g"}, r"line 2, key 'g': found nothing, .* the row has text"),
        ({"text": "a"}, {"txt": "text"}, r"options: found 'txt'.* did you mean 'text'"),
        ({"text": "a"}, {"text": "t", "prompt": "p"}, r"found text beside prompt"),
        ({}, {"text": "t", "prompt_template": "{p}"}, r"found text beside prompt_template"),
        ({}, {"prompt": "p", "prompt_template": "{p}"}, r"found prompt beside prompt_template"),
        ({"a": "b"}, {"prompt_template": "{g} {q}"}, r"line 2: no key 'g', found a"),
        ({"g": None}, {"prompt_template": "{g}"}, r"key 'g': found NoneType, expected a string"),
        ({}, {"prompt_template": "{g!r}"}, r"prompt_template: found '\{g!r\}'.* without conv"),
        ({}, {"prompt_template": "{g:>9}"}, r"expected plain names of columns"),
        ({}, {"prompt_template": "{} {g}"}, r"expected plain names of columns"),
        ({}, {"prompt_template": "{g"}, r"prompt_template: .*write \{\{ and \}\}"),
        ({}, {"prompt_template": "Question:"}, r"expected text with a column in braces"),
    ],
)
def test_errors_name_line_and_key(
    tmp_path: Path, line: object, options: dict[str, object], message: str
) -> None:
    good = {"text": "x", "prompt": "x", "response": "x", "g": "x", "q": "x"}
    with pytest.raises(ValueError, match=message):
        list(read(written(tmp_path, good, line), options))


def test_templates_over_columns(tmp_path: Path) -> None:
    row = {"query": "1+{1}?", "n": 2, "how": "add", "response": "2", "a.b": "dot", "type": "sum"}
    options = {"prompt_template": "{{Q}} {query}\n{a.b}:", "response_template": " {how} {n}"}
    (one,) = read(written(tmp_path, row), options)
    assert one.prompt == "{Q} 1+{1}?\ndot:"
    assert one.response == " add 2"
    assert one.fields == {"response": "2", "type": "sum"}
    (one,) = read(written(tmp_path, row), {"prompt_template": "{query}"})
    assert (one.prompt, one.response) == ("1+{1}?", "2")


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-1e400", "true", "null", "[1]"])
def test_what_is_no_number_fills_no_template(tmp_path: Path, written: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"x": {written}, "r": "a"}}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 1, key 'x': found "):
        list(read({"data": path}, {"prompt_template": "Q {x}", "response": "r"}))


def test_single_precision_is_written_as_it_was(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = [0.1, 1e-45, 3.4e38, -0.5, None]
    columns = {
        "text": pa.array(["a"] * 5),
        "x": pa.array(numbers, pa.float32()),
        "at": pa.array([3_600_000_000_001] * 5, pa.time64("ns")),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = list(read({"data": tmp_path / "a.parquet"}, {}))
    assert [one.fields["x"] for one in found] == numbers
    assert {one.fields["at"] for one in found} == {"01:00:00.000000001"}
    options = {"prompt_template": "Q {x}", "response": "text"}
    assert next(read({"data": tmp_path / "a.parquet"}, options)).prompt == "Q 0.1"


def test_a_template_cannot_reach_into_python(tmp_path: Path) -> None:
    options = {"prompt_template": "{query.__class__}"}
    with pytest.raises(ValueError, match=r"line 1: no key 'query.__class__'"):
        list(read(written(tmp_path, {"query": "q", "response": "r"}), options))


ROWS = [{"text": "é", "n": 1}, {"text": "b", "n": 2}]
EXPECTED = [("é", {"n": 1}), ("b", {"n": 2})]


def texts(found: list[Example]) -> list[tuple[str, dict[str, object]]]:
    return [(one.text, one.fields) for one in found]


def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    for name, data in [
        ("a.jsonl", lines),
        ("a.txt", lines),
        ("a.jsonl.gz", gzip.compress(lines)),
        ("a.json", json.dumps(ROWS, indent=2).encode()),
        ("lines.json", lines),
    ]:
        (tmp_path / name).write_bytes(data)
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    units = {"a.json": "item", "a.parquet": "row"}
    for name in ["a.jsonl", "a.txt", "a.jsonl.gz", "a.json", "lines.json", "a.parquet"]:
        found = list(read({"hub": tmp_path / name}, {}))
        assert texts(found) == EXPECTED, name
        assert [one.group for one in found] == [f"{units.get(name, 'line')} {n}" for n in (1, 2)]


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    (folder / "python").mkdir(parents=True)
    (folder / ".cache").mkdir()
    for path, text in [
        ("b.jsonl", "last"),
        ("python/1.jsonl", "later"),
        ("a.jsonl", "first"),
        (".cache/c.jsonl", "hidden"),
        ("README.md", "no row"),
    ]:
        (folder / path).write_text(json.dumps({"text": text}) + "\n")
    found = list(read({"hub": folder}, {}))
    assert [(one.text, one.group) for one in found] == [
        ("first", "a.jsonl line 1"),
        ("last", "b.jsonl line 1"),
        ("later", "python/1.jsonl line 1"),
    ]
    for name in ("b.jsonl", "python/1.jsonl"):
        (folder / name).unlink()
    # A single file's rows have the names that they have without the folder.
    assert [one.group for one in read({"hub": folder}, {})] == ["line 1"]
    (folder / "a.jsonl").unlink()
    with pytest.raises(ValueError, match=r"found \.cache, README\.md, python, expected files that"):
        list(read({"hub": folder}, {}))


def test_parquet_values_become_plain_json(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = {"text": "a", "day": datetime.date(2023, 12, 3), "tags": ["x", None]}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    (one,) = read({"data": tmp_path / "a.parquet"}, {})
    assert one.fields == {"day": "2023-12-03", "tags": ["x", None]}


def test_a_byte_order_mark_and_whole_characters_are_read(tmp_path: Path) -> None:
    line = b'{"text": "\\ud83d\\ude00 \\\\ud83d"}\n'
    for name, data in [("a.jsonl", line), ("a.json", line), ("b.json", b"\n [" + line + b"]")]:
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + data)
        (one,) = read({"data": tmp_path / name}, {})
        assert one.text == "\U0001f600 \\ud83d"


def test_lines_of_any_length_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["x" * n for n in (0, 1, 6, 7, 8, 90)] * 2
    lines = "\r\n".join(json.dumps({"text": text}) for text in texts)
    for size in (1, 7, 1 << 20):
        monkeypatch.setattr(tables, "READ_BYTES", size)
        for name, data in [
            ("a.jsonl", lines.encode()),
            ("a.jsonl.gz", gzip.compress(lines.encode())),
        ]:
            (tmp_path / name).write_bytes(data)
            assert [one.text for one in read({"data": tmp_path / name}, {})] == texts


def test_whole_numbers_are_groups(tmp_path: Path) -> None:
    sources = written(tmp_path, {"text": "a", "topic": 12}, {"text": "b", "topic": True})
    found = read(sources, {"group": "topic"})
    assert next(found).group == "12"
    with pytest.raises(ValueError, match=r"line 2, key 'topic': found bool, expected a string or"):
        next(found)


def test_parquet_text_of_type_binary_is_text(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"binary": pa.binary(), "large": pa.large_binary(), "fixed": pa.binary(2)}
    columns = {name: pa.array(["é".encode()], kind) for name, kind in kinds.items()}
    inner = pa.array([[{"b": "é".encode()}]], pa.list_(pa.struct([("b", pa.binary())])))
    pq.write_table(
        pa.table({"text": pa.array([b"a"]), **columns, "in": inner}), tmp_path / "a.parquet"
    )
    (one,) = read({"data": tmp_path / "a.parquet"}, {})
    assert one.text == "a"
    assert one.fields == {**dict.fromkeys(kinds, "é"), "in": [{"b": "é"}]}


def test_parquet_values_that_are_no_text_are_refused_by_row_and_column(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"a", b"\xff"]).buffers())
    for column, message in [
        (pa.array([b"a", b"\xff"]), "found bytes that are no UTF-8"),
        (broken, "found bytes that are no UTF-8"),
        (pa.array([None, decimal.Decimal("1.5")]), "found a Decimal, expected text"),
        (pa.array([None, datetime.timedelta(1)]), "found a timedelta, expected text"),
    ]:
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"text": ["a", "b"], "x": column}), path)
        found = read({"data": path}, {})
        next(found) if column is not broken else None
        with pytest.raises(ValueError, match=rf"a\.parquet, row 2, column 'x': {message}"):
            next(found)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.parquet", b"PAR1 cut", r"a\.parquet, row 1: not Parquet"),
        ("a.json", b'[{"text": "a"}', r"a\.json: not JSON"),
        ("a.json", b'[{"text": "a"}, 3]', r"a\.json, item 2: found int, expected an object"),
        ("a.jsonl.gz", b"no gzip", r"a\.jsonl\.gz, line 1: cannot be read .* whole gzip file"),
        (
            "a.jsonl.gz",
            gzip.compress(b'{"text": "a"}\n' * 9)[:-9],
            r"line 10: cannot be read .* ended before",
        ),
        ("a.jsonl.zst", b"no zstd", r"a\.jsonl\.zst, line 1: cannot be read .* whole gzip .* zstd"),
        (
            "a.jsonl",
            b'{"text": "a"}\n{"text": "\\ud83d"}\n',
            r"a\.jsonl, line 2, key 'text': found U\+D83D, half of a pair of surrogates",
        ),
        (
            "a.json",
            b'[{"text": "a", "tags": ["\\uDE00"]}]',
            r"a\.json, item 1, key 'tags': found U\+DE00, half of a pair",
        ),
        ("a.jsonl", b'\n{"n": ' + b"9" * 5000 + b"}", r"a\.jsonl, line 2: .* as text or leave it"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl, line 1: not readable as JSON"),
        (
            "a.jsonl",
            '{"text": "a"}'.encode("utf-16"),
            r"a\.jsonl, line 1: cannot be .* expected UTF-8",
        ),
        ("a.jsonl", b'{"text": "a"}\n\xff\n', r"a\.jsonl, line \d: cannot be read .* UTF-8"),
    ],
)
def test_spoilt_files_are_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        list(read({"data": tmp_path / name}, {}))


def test_sources_of_another_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sources: found wheel, expected one .* data or hub"):
        list(read({"wheel": tmp_path}, {}))
