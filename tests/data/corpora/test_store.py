"""What is saved is what is loaded, byte for byte the same each time."""

import hashlib
from pathlib import Path

import pytest

from lora_ledger.data.corpora import Example, store
from lora_ledger.data.corpora.store import COLUMNS, load, parts, save


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_round_trip(tmp_path: Path) -> None:
    fields = {"choices": [" a", " ü"], "gold": 1, "test": "assert x == '\\n'\n"}
    splits = {
        "train": [Example(group="g", text="Text\n  with\tblanks ∑")],
        "test-seen": [Example(group="h", prompt="p", response=" r\n", fields=fields)],
    }
    save(splits, tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["test-seen", "train"]
    (row,) = load(tmp_path, "test-seen")
    assert tuple(row) == COLUMNS
    assert (row["group"], row["prompt"], row["response"], row["text"]) == ("h", "p", " r\n", "")
    assert row["fields"] == fields
    assert load(tmp_path, "train")[0]["text"] == "Text\n  with\tblanks ∑"


def test_same_bytes_twice_and_over_an_earlier_run(tmp_path: Path) -> None:
    splits = {"train": [Example(group=str(i), text=f"text {i}") for i in range(50)]}
    save(splits, tmp_path / "a")
    save({"train": splits["train"][:10]}, tmp_path / "b")
    save(splits, tmp_path / "b")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_empty_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'validation' has no example"):
        save({"validation": []}, tmp_path)


def test_missing_split_names_those_there(tmp_path: Path) -> None:
    save({"train": [Example(group="g", text="t")]}, tmp_path)
    with pytest.raises(FileNotFoundError, match="no split 'test'; found train"):
        load(tmp_path, "test")


def test_no_part_holds_more_than_arrow_can_count(monkeypatch: pytest.MonkeyPatch) -> None:
    # Arrow's offsets into a column of strings are numbers below 2 to the 31st.
    assert 0 < store.PART_BYTES < 2**31
    monkeypatch.setattr(store, "PART_BYTES", 100)
    blank = dict.fromkeys(COLUMNS, "")
    # "é" has two bytes: 40 + 60 fill a part to the brim, one byte more begins the next.
    rows = [blank | {"text": "é" * n} for n in (20, 30, 20, 30)] + [blank | {"prompt": "x" * 100}]
    rows += [blank | {"text": "x"}, blank | {"text": "y" * 100}, blank]
    found = list(parts(iter(rows)))
    assert [len(part) for part in found] == [2, 3, 1, 2]
    assert [one for part in found for one in part] == rows
    with pytest.raises(ValueError, match="a: found 101 bytes in the column 'text', expected at"):
        list(parts([blank | {"id": "a", "text": "x" * 101}]))


def test_a_split_of_several_parts_is_one_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {"train": [Example(group=str(i), text=f"text {i}") for i in range(50)]}
    save(splits, tmp_path / "one")
    monkeypatch.setattr(store, "PART_BYTES", 40)
    save(splits, tmp_path / "many")
    assert load(tmp_path / "many", "train") == load(tmp_path / "one", "train")
