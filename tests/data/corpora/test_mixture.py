"""Mixtures: shares of bytes on parts worked by hand, copies across parts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from lora_ledger.catalogue import CorpusEntry, entries
from lora_ledger.common.errors import KeyProblem
from lora_ledger.data.corpora import Example, reader
from lora_ledger.data.corpora.readers import mixture
from lora_ledger.data.corpora.readers.mixture import across, check, draw, mix, of_role, size
from lora_ledger.data.corpora.selection import content_hash

COMMON = {"type": "corpus", "title": "t", "licence": "CC0-1.0", "citation": "none"}
SPLITS = {"train": {"role": "train"}, "validation": {"role": "validation"}}


def text(*sizes: int, letter: str = "a") -> list[Example]:
    """Documents of these many bytes, all different."""
    return [Example(group=f"{letter}{i}", text=f"{i:{letter}>{n}}") for i, n in enumerate(sizes)]


def test_bytes_follow_the_weights_document_by_document() -> None:
    # a:b = 3:1. The part with the fewest bytes by weight goes next, a first among equals:
    # a 6 (2.0), b 4 (4.0), a 3 (3.0), a 9 (6.0), b 2 (6.0), a 3 (7.0), b 2 (8.0), a: none left.
    pools = {"a": text(6, 3, 9, 3, letter="x"), "b": text(4, 2, 2, 5, letter="y")}
    taken, bound = draw(pools, {"a": 3, "b": 1})
    assert bound == "a"
    assert taken == {"a": pools["a"], "b": pools["b"][:3]}
    # The other way round b is wanted more: a 6 (6.0), b 4+2+2+5 (13/3), b: none left.
    assert draw(pools, {"a": 1, "b": 3}) == ({"a": pools["a"][:1], "b": pools["b"]}, "b")


def test_shares_are_right_up_to_one_document() -> None:
    weights = {"a": 0.5, "b": 0.3, "c": 0.2}
    pools = {
        "a": text(*[7 + i % 5 for i in range(200)], letter="x"),
        "b": text(*[40] * 30, letter="y"),
        "c": text(*[3] * 600, letter="z"),
    }
    taken, bound = draw(pools, weights)
    got = {part: sum(map(size, examples)) for part, examples in taken.items()}
    # 1,800 bytes at 0.5 are the least for a weight: 3,600 in all; b has 1,200 and c 1,800.
    assert bound == "a"
    assert len(taken["a"]) == 200
    largest = {"a": 11, "b": 40, "c": 3}
    for part, weight in weights.items():
        assert abs(got[part] - 3600 * weight) <= largest[part], part


def test_bytes_are_of_utf8_and_of_both_sides_of_a_pair() -> None:
    assert size(Example(group="g", text="é漢")) == 5
    assert size(Example(group="g", prompt="é", response="ab", fields={"x": "long"})) == 4


def test_only_train_and_validation_are_drawn_from() -> None:
    splits = {
        "train": {"role": "train"},
        "more": {"role": "train"},
        "dev": {"role": "validation"},
        "test": {"role": "test"},
        "shots": {"role": "exemplars"},
    }
    entry = CorpusEntry.model_validate(
        {**COMMON, "reader": "jsonl", "content": "text", "splits": splits}
    )
    given = {name: [Example(group="g", text=name)] for name in splits}
    assert of_role(entry, given) == {
        "train": given["train"] + given["more"],
        "validation": given["dev"],
    }


WORDS = [f"word{i}" for i in range(40)]


def test_copies_across_parts_are_removed_and_within_a_part_are_not() -> None:
    one = Example(group="1", text=" ".join(WORDS))
    same = Example(group="2", text=" ".join(WORDS).upper())
    # One word of 40 changed at the end: 32 of 34 8-grams are shared, Jaccard 32/34 = 0.94.
    near = Example(group="3", text=" ".join([*WORDS[:-1], "other"]))
    twin = Example(group="4", text=" ".join([*WORDS[:-1], "another"]))
    far = Example(group="5", text="nothing of the kind " * 5)
    first = min((one, same), key=content_hash)
    kept, counts = across({"a": {"train": [one]}, "b": {"validation": [same]}})
    assert counts == {"exact_duplicates": 1, "near_duplicates": 0}
    assert [x for part in kept.values() for xs in part.values() for x in xs] == [first]
    parts = {"a": {"train": [one, far]}, "b": {"validation": [near]}}
    kept, counts = across(parts)
    assert counts == {"exact_duplicates": 0, "near_duplicates": 1}
    gone = max((one, near), key=content_hash)
    left = [x for part in kept.values() for xs in part.values() for x in xs]
    assert {x.group for x in left} == {"1", "3", "5"} - {gone.group}
    kept, counts = across(parts, near_duplicates=False)
    assert counts == {"exact_duplicates": 0, "near_duplicates": 0}
    kept, counts = across({"a": {"train": [near, twin]}, "b": {"train": [far]}})
    assert counts["near_duplicates"] == 0
    assert kept["a"]["train"] == sorted([near, twin], key=content_hash)


def test_the_whole_account() -> None:
    parts = {
        "a": {"train": text(10, 10, 10, 10, letter="x"), "validation": text(5, letter="p")},
        "b": {"train": text(10, 10, letter="y"), "validation": text(5, 5, letter="q")},
    }
    splits, account = mix(parts, {"a": 2, "b": 2})
    # One for one, a first; b has two documents: a b a b a, then b has none left.
    assert account["train"] == {
        "parts": {
            "a": {"documents": 3, "bytes": 30, "left": 1},
            "b": {"documents": 2, "bytes": 20, "left": 0},
        },
        "bounded_by": "b",
    }
    # a b, then a has none left.
    assert account["validation"]["bounded_by"] == "a"
    assert account["validation"]["parts"]["b"] == {"documents": 1, "bytes": 5, "left": 1}
    assert account["counts"] == {
        "exact_duplicates": 0,
        "near_duplicates": 0,
        "train": 5,
        "validation": 2,
    }
    for examples in splits.values():
        assert examples == sorted(examples, key=content_hash)
    drawn = [x.group for x in splits["train"] if x.group.startswith("x")]
    first = sorted(parts["a"]["train"], key=content_hash)[:3]
    assert drawn == [x.group for x in first]


def entry(**changes: Any) -> CorpusEntry:
    raw = {
        **COMMON,
        "reader": "mixture",
        "content": "text",
        "mixture": {"python-source": 0.7, "factbook": 0.3},
        "splits": SPLITS,
    }
    return CorpusEntry.model_validate({**raw, **changes})


def test_a_mixture_of_committed_corpora_passes_and_so_does_any_other_entry() -> None:
    check(entry(), entries())
    for one in entries().values():
        if isinstance(one, CorpusEntry):
            check(one, entries())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"mixture": {"python-source": 1}},
            r"mixture: found \{'python-source': 1.0\}, expected two",
        ),
        ({"reader": "jsonl"}, r"mixture\.reader: found 'jsonl', expected mixture"),
        (
            {"mixture": {"python-source": 1, "fact-book": 1}},
            r"mixture\.fact-book: found 'fact-book', expected a corpus.*did you mean 'factbook'",
        ),
        (
            {"mixture": {"python-source": 1, "tiny-random-llama": 1}},
            r"mixture\.tiny-random-llama: found",
        ),
        (
            {"mixture": {"python-source": 1, "documented-functions": 1}},
            r"expected a corpus of text \(it holds pairs\)",
        ),
        ({"content": "problems"}, r"a corpus of problems \(it holds text\)"),
        (
            {"mixture": {"python-source": 1, "nested": 1}},
            r"nested.*expected a corpus that is no mix",
        ),
        ({"mixture": {"python-source": 1, "held": 1}}, r"mixture\.held: .* whose role is train"),
        ({"splits": {"train": {"role": "validation"}}}, r"mixture\.splits: found"),
        ({"splits": {**SPLITS, "test": {"role": "test"}}}, r"no split but train and validation"),
        ({"splits": {"validation": {"role": "validation"}}}, r"expected train of role train"),
        (
            {"sources": {"data": {"kind": "generated"}}},
            r"mixture\.sources: found \['data'\], expected none",
        ),
    ],
)
def test_what_cannot_be_mixed_is_refused(changes: dict[str, Any], message: str) -> None:
    held = entry(reader="jsonl", mixture={}, splits={"test": {"role": "test"}})
    known = {**entries(), "nested": entry(), "held": held}
    with pytest.raises(KeyProblem, match=message):
        check(entry(**changes), known)


def test_a_mixture_without_parts_has_no_reader() -> None:
    with pytest.raises(ValueError, match="found no `mixture`"):
        list(reader("mixture")({}, {}))
    assert mixture.ROLES == ("train", "validation")
