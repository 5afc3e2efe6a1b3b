"""The user's own JSONL: what is read, and the message for each thing that cannot be."""

import json
from pathlib import Path

import pytest

from lora_ledger.corpora.jsonl import read


def written(tmp_path: Path, *lines: object) -> dict[str, Path]:
    path = tmp_path / "mine.jsonl"
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
        ({"text": "a"}, {"group": "g"}, r"line 2: no key 'g', found text"),
        ({"text": "a"}, {"txt": "text"}, r"options: found 'txt'.* did you mean 'text'"),
        ({"text": "a"}, {"text": "t", "prompt": "p"}, r"found text beside prompt"),
    ],
)
def test_errors_name_line_and_key(
    tmp_path: Path, line: object, options: dict[str, object], message: str
) -> None:
    good = {"text": "x", "prompt": "x", "response": "x", "g": "x"}
    with pytest.raises(ValueError, match=message):
        list(read(written(tmp_path, good, line), options))
