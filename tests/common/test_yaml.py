"""What is read as what, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_ledger.common.yaml import YamlError, load, read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 0.0001),
        ("1.0e-4", 0.0001),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("+3", 3),
        ("010", 10),
        ("8_000", 8000),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        *((text, text) for text in ("no", "on", "12:30", "0x10", "0o7", ".inf", ".nan")),
        *((text, text) for text in ("2024-01-31", "1.2.3", "1e", "tRue", "1a")),
    ],
)
def test_plain_values(text: str, value: Any) -> None:
    found = load(f"key: {text}")["key"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", ["-0.0", "-.0", "-0e0", "-1e-400", "-0"])
def test_zero_has_one_sign(text: str) -> None:
    assert str(load(text)) in ("0.0", "0")


def test_quotes_make_text_and_keys_are_text() -> None:
    assert load("1: '1'\ntrue: \"true\"\n? 2.0\n: |\n  a\n  b\n") == {
        "1": "1",
        "true": "true",
        "2.0": "a\nb\n",
    }
    assert load("") is None
    assert load("- [a, {b: c}]\n- é\n".encode()) == [["a", {"b": "c"}], "é"]
    assert load(b"\xef\xbb\xbfa: 1") == {"a": 1}


def test_an_anchor_is_the_same_value_again() -> None:
    assert load("a: &x {b: [1]}\nc: *x\n") == {"a": {"b": [1]}, "c": {"b": [1]}}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' stands twice, expected it once"),
        ("a: {b: 1,\n  b: 2}", 2, "the key 'b' stands twice"),
        ("1: a\n'1': b", 2, "the key '1' stands twice"),
        ("a: 1\n[b, c]: 2", 2, "a list as a key, expected text"),
        ("a:\n  ? {b: c}\n  : 2", 2, "a map as a key, expected text"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "the key '<<', which merges maps"),
        ("a: &x [1, *x]", 1, "an anchor that refers to itself, expected an end to it"),
        ("a: 1\nb: &x\n  c: [*x]", 2, "an anchor that refers to itself"),
        ("a: *x", 1, "undefined alias"),
        (b"a: 1\nb: caf\xe9\n", 2, "the byte 0xe9, which is not UTF-8, expected a file in UTF-8"),
        ("a: 1\nb: \x07", 2, r"the character '\x07', expected printable text"),
        ("a: !!python/object:os.system {}", 1, "the tag 'tag:yaml.org,2002:python/object"),
        ("a: !!set {b}", 1, "the tag 'tag:yaml.org,2002:set'"),
        ("a: !!int b", 1, "the tag 'tag:yaml.org,2002:int'"),
        ("a: !function m.f", 1, "the tag '!function'"),
        ("a: 1e999", 1, "the number 1e999, expected one below"),
        ("a: " + "9" * 5000, 1, "the number 99999999999999999999, expected one below"),
        ("a: 1\nb: [1, 2\nc: 3", 3, "expected YAML 1.2"),
        ("a: 1\n---\nb: 2", 2, "another document"),
        ("a:\n\t- 1", 2, "expected YAML 1.2"),
    ],
)
def test_what_is_refused_says_the_line(text: str | bytes, line: int, said: str) -> None:
    with pytest.raises(YamlError) as caught:
        load(text)
    assert str(caught.value).startswith(f"line {line}: found ")
    assert said in str(caught.value)
    assert ", expected " in str(caught.value)


def test_functions_are_text_where_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text("process: !function utils.process\n")
    assert read(path, functions=True) == {"process": "!function utils.process"}
    with pytest.raises(YamlError, match=r"task\.yaml: line 1: found the tag '!function'"):
        read(path)
