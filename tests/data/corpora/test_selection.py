"""De-duplication and splitting against a brute-force count and closed forms."""

import functools
import itertools
import json
import random
import time

import pytest

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.selection import identifier, near_copies, select, side


@functools.cache
def shingles(text: str) -> frozenset[str]:
    words = text.casefold().split()
    return frozenset(" ".join(words[i : i + 8]) for i in range(len(words) - 7))


def similarity(one: str, other: str) -> float:
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b) if a or b else 0.0


def made(count: int, length: int, seed: int) -> list[str]:
    """Texts of which about half are edits, from light to heavy, of an earlier one."""
    draw = random.Random(seed)
    texts: list[str] = []
    for _ in range(count):
        if texts and draw.random() < 0.5:
            words = draw.choice(texts).split()
            for _ in range(draw.randint(0, 6)):
                words[draw.randrange(len(words))] = f"w{draw.randint(0, 999)}"
        else:
            words = [f"w{draw.randint(0, 999)}" for _ in range(draw.randint(5, length))]
        texts.append(" ".join(words))
    return texts


def test_near_copies_equal_brute_force() -> None:
    texts = made(300, 120, seed=1)
    kept: list[str] = []
    expected = set()
    for position, text in enumerate(texts):
        if any(similarity(text, other) > 0.7 for other in kept):
            expected.add(position)
        else:
            kept.append(text)
    assert near_copies(texts) == expected
    assert 30 < len(expected) < 200


def test_threshold_is_exclusive() -> None:
    # 24 words make 17 grams; the prefix of n words shares n - 7 of them, so J = (n - 7) / 17.
    words = [f"w{i}" for i in range(24)]
    for n in range(8, 24):
        texts = [" ".join(words), " ".join(words[:n])]
        assert near_copies(texts) == ({1} if (n - 7) / 17 > 0.7 else set())
    ten = [f"w{i}" for i in range(17)]  # 10 grams; 7 of 10 are shared: exactly 0.7 stays
    assert near_copies([" ".join(ten), " ".join(ten[:14])]) == set()


@pytest.mark.slow
def test_no_near_copy_is_left_and_five_thousand_take_seconds() -> None:
    texts = made(5_000, 300, seed=2)
    examples = [Example(group=str(i), text=text) for i, text in enumerate(texts)]
    start = time.process_time()
    splits, counts = select(examples)
    assert time.process_time() - start < 20
    kept = [one.text for examples in splits.values() for one in examples]
    draw = random.Random(3)
    pairs = itertools.combinations(draw.sample(kept, 150), 2)
    assert all(similarity(a, b) <= 0.7 for a, b in pairs)
    assert counts["read"] == 5_000
    assert counts["read"] == len(kept) + counts["exact_duplicates"] + counts["near_duplicates"]


def test_counts_and_normalisation() -> None:
    examples = [
        Example(group="a", text="One  text\nhere"),
        Example(group="b", text="one TEXT here "),
        Example(group="c", text="  \n"),
        Example(group="d", prompt="one", response="text here"),
        Example(group="e", text="another"),
    ]
    splits, counts = select(examples)
    assert counts["read"] == 5
    assert counts["empty"] == 1
    assert counts["exact_duplicates"] == 2
    assert counts["near_duplicates"] == 0
    assert sum(map(len, splits.values())) == 2


def test_order_follows_from_content_alone() -> None:
    examples = [Example(group=str(i % 40), text=f"text {i}", fields={"n": i}) for i in range(400)]
    shuffled = random.Random(0).sample(examples, len(examples))
    assert select(examples) == select(shuffled)
    for rows in select(examples)[0].values():
        names = [identifier(one) for one in rows]
        assert names == sorted(names)
        assert len(set(names)) == len(names)


def test_sides_have_their_shares_and_groups_stay_whole() -> None:
    sides = [side(f"group {i}") for i in range(10_000)]
    for name, share in {"train": 0.8, "validation": 0.1, "test": 0.1}.items():
        deviation = (share * (1 - share) * 10_000) ** 0.5
        assert abs(sides.count(name) - share * 10_000) < 4 * deviation
    splits, _ = select(Example(group=str(i % 50), text=f"t {i}") for i in range(500))
    groups = [{one.group for one in rows} for rows in splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 50


def test_published_split_is_kept_and_near_copies_may_stay() -> None:
    text = " ".join(f"w{i}" for i in range(60))
    examples = [Example(group="g", text=f"{text} {i}", split="test-seen") for i in range(5)]
    splits, counts = select(examples, near_duplicates=False)
    assert {name: len(rows) for name, rows in splits.items()} == {"test-seen": 5}
    assert select(examples)[1]["near_duplicates"] == 4
    assert counts["test-seen"] == 5


def test_identifier_is_the_hash_of_canonical_json() -> None:
    import hashlib

    example = Example(group="g", text="é", split="test", fields={"b": 1, "a": [2]})
    line = '{"fields":{"a":[2],"b":1},"group":"g","prompt":"","response":"","text":"é"}'
    assert json.loads(line)["fields"] == example.fields
    assert identifier(example) == hashlib.sha256(line.encode()).hexdigest()[:16]


def test_shares_must_add_to_one() -> None:
    with pytest.raises(ValueError, match=r"add to 0\.9"):
        select([Example(group="g", text="t")], shares={"train": 0.8, "test": 0.1})


def test_a_split_as_published_is_untouched_and_takes_nothing_from_the_others() -> None:
    """Copies, near-copies, an empty row and the order of the reader all stay."""
    text = " ".join(f"w{i}" for i in range(60))
    rows = ["zebra", text, "", f"{text} x", "zebra", "apple"]
    test = [Example(group=f"test {i}", text=one, split="test") for i, one in enumerate(rows)]
    train = [
        Example(group="a", text="Zebra ", split="train"),  # a copy of two rows of test
        Example(group="b", text=f"{text} y", split="train"),  # a near-copy of two more
        Example(group="c", text="zebra", split="train"),
        Example(group="d", text=" ", split="train"),
    ]
    mixed = [row for pair in itertools.zip_longest(test, train) for row in pair if row]
    splits, counts = select(mixed, published=["test"])
    assert splits["test"] == test
    assert sorted(one.text.casefold().strip() for one in splits["train"]) == [f"{text} y", "zebra"]
    assert counts == {
        "read": 10,
        "empty": 1,
        "exact_duplicates": 1,
        "near_duplicates": 0,
        "test": 6,
        "train": 2,
    }
    # Unnamed, all are de-duplicated together: of 5 texts, 3 are near-copies of one another.
    assert sum(map(len, select(mixed)[0].values())) == 3


def test_a_published_split_may_be_filled_by_the_hash_of_the_group() -> None:
    examples = [Example(group=str(i), text="same") for i in range(200)]
    splits, counts = select(examples, published={"test"})
    assert [one.group for one in splits["test"]] == [
        one.group for one in examples if side(one.group) == "test"
    ]
    assert len(splits["test"]) > 5
    assert counts["exact_duplicates"] == 200 - len(splits["test"]) - 1
