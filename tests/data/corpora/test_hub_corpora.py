"""Training corpora of the hub: each entry on rows of its own layout, and Tulu's chat format."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lora_ledger.catalogue import CorpusEntry, HubSource, ModelEntry, entries
from lora_ledger.data.corpora import Example, reader
from lora_ledger.data.corpora.readers.conversations import read

TURNS = [
    {"role": "system", "content": "Be kind.\n"},
    {"role": "user", "content": " Hi"},
    {"role": "assistant", "content": "Hello! "},
    {"role": "user", "content": "1+1?"},
    {"role": "assistant", "content": "\n2"},
    {"role": "user", "content": "Thanks"},
]


def made(name: str, folder: Path, file: str, *rows: object) -> list[Example]:
    """What the committed entry `name` reads from a hub folder with these rows."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry = entries()[name]
    assert isinstance(entry, CorpusEntry)
    return list(reader(entry.reader)({"hub": folder}, entry.options))


def test_rendering_is_tulus(tmp_path: Path) -> None:
    (one,) = made(
        "tulu-v2-mix",
        tmp_path,
        "data/train-00000-of-00001.parquet",
        {"dataset": "lima", "id": "lima_0", "messages": TURNS},
    )
    assert one.prompt == (
        "<|system|>\nBe kind.\n<|user|>\nHi\n<|assistant|>\nHello!\n<|user|>\n1+1?\n<|assistant|>\n"
    )
    assert one.response == "2"
    assert one.fields == {"dataset": "lima", "id": "lima_0"}


def talk(tmp_path: Path, *rows: object) -> dict[str, Path]:
    path = tmp_path / "talk.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"data": path}


def test_marks_after_answers_groups_and_what_is_left_out(tmp_path: Path) -> None:
    silent = [{"role": "user", "content": "?"}, {"role": "assistant", "content": " "}]
    alone = [{"role": "assistant", "content": "Once"}]
    sources = talk(
        tmp_path,
        {"chat": silent, "topic": "a"},
        {"chat": TURNS, "topic": "b"},
        {"chat": [], "topic": "c"},
        {"chat": alone, "topic": "d"},
    )
    options = {"messages": "chat", "end_of_turn": "</s>", "group": "topic"}
    one, two = read(sources, options)
    assert one.prompt.count("</s>") == 1
    assert "<|assistant|>\nHello!</s>\n<|user|>\n1+1?\n" in one.prompt
    assert (one.group, one.response, one.fields) == ("b", "2", {})
    assert (two.group, two.prompt, two.response) == ("d", "<|assistant|>\n", "Once")


def test_sharegpt_is_the_same_conversation(tmp_path: Path) -> None:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    turns = [{"from": names[turn["role"]], "value": turn["content"]} for turn in TURNS]
    rows = {"conversations": turns, "id": 7}, {"messages": TURNS, "id": 7}
    one, two = read(talk(tmp_path, *rows), {"group": "id"})
    assert one == two
    assert (one.group, one.response) == ("7", "2")


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ({"turns": []}, {}, r"line 1, key 'messages': found NoneType, .* the row has turns"),
        ({"messages": [{"role": "robot", "content": "a"}]}, {}, r"line 1, turn 1: .*a role that"),
        ({"messages": [{"role": "user", "content": None}]}, {}, r"a content .*that is text"),
        ({"messages": ["a"]}, {}, r"turn 1: found a, expected a role"),
        ({"messages": TURNS}, {"group": "g"}, r"key 'g': found nothing, expected a string"),
        ({"messages": TURNS}, {"message": "m"}, r"found 'message', .* did you mean 'messages'"),
    ],
)
def test_errors_name_the_turn(
    tmp_path: Path, row: object, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        list(read(talk(tmp_path, row), options))


def test_starcoder_keeps_a_repository_together(tmp_path: Path) -> None:
    row = {
        "max_stars_repo_path": "a.py",
        "max_stars_repo_name": "me/mine",
        "max_stars_count": 3,
        "id": "0",
        "content": "x = 1\n",
    }
    (one,) = made("starcoder-python", tmp_path, "stream.jsonl", row)
    assert (one.text, one.group) == ("x = 1\n", "me/mine")
    assert one.fields == {"max_stars_repo_path": "a.py", "max_stars_count": 3, "id": "0"}


def test_open_web_math(tmp_path: Path) -> None:
    row = {"url": "https://a.b", "text": "$x$", "date": "2023-01-01", "metadata": "{}"}
    (one,) = made("open-web-math", tmp_path, "stream.jsonl", row)
    assert (one.text, one.group, sorted(one.fields)) == (
        "$x$",
        "line 1",
        ["date", "metadata", "url"],
    )


def test_magicoder(tmp_path: Path) -> None:
    file = "data-evol_instruct-decontaminated.jsonl"
    row = {"instruction": "Add {two}.", "response": "def f(): ..."}
    (one,) = made("magicoder-evol-instruct", tmp_path, file, row)
    assert one.prompt == "Instruction:\nAdd {two}.\n\nResponse:\n"
    assert (one.response, one.fields) == ("def f(): ...", {})


def test_metamathqa_keeps_the_wordings_of_a_question_together(tmp_path: Path) -> None:
    row = {
        "type": "GSM_Rephrased",
        "query": "How many?",
        "original_question": "What number?",
        "response": "Two.\nThe answer is: 2",
    }
    (one,) = made("metamathqa", tmp_path, "MetaMathQA-395K.json", row)
    assert one.prompt + one.response == ("Question: How many?\nAnswer: Two.\nThe answer is: 2")
    assert (one.group, one.fields) == ("What number?", {"type": "GSM_Rephrased"})


def test_hub_entries_take_no_pickles_and_are_left_to_be_resolved() -> None:
    found = {}
    for name, entry in entries().items():
        own = [entry.source] if isinstance(entry, ModelEntry) else entry.sources.values()
        for source in own:
            if isinstance(source, HubSource):
                found[name] = source
    ours = {
        "starcoder-python",
        "open-web-math",
        "magicoder-evol-instruct",
        "metamathqa",
        "tulu-v2-mix",
        "smollm2-135m",
        "llama-2-7b",
    }
    assert ours <= set(found)
    for name in ours:
        source = found[name]
        assert not source.resolved, name
        assert not any(re.search(r"bin|pth|\.pt$|^\*$", pattern) for pattern in source.files)
        assert source.type == ("model" if entries()[name].type == "model" else "dataset")
    for name in ("starcoder-python", "open-web-math"):
        stream = found[name].stream
        assert stream is not None
        entry = entries()[name]
        assert isinstance(entry, CorpusEntry)
        assert stream.column == entry.options["text"]
