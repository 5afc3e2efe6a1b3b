"""Values there and back, and frames that are none."""

from __future__ import annotations

import collections
import decimal
import enum
import fractions
import json
import math
import random
from typing import Any

import pytest

from lora_ledger.sandbox import caps, flatten, wire


def there_and_back(value: object) -> Any:
    kind, nonce, tokens = wire.unframe(wire.frame("value", 7, flatten.encode(value))[4:])
    assert (kind, nonce) == ("value", 7)
    return wire.decode(tokens)


PLAIN = [
    None, True, False, 0, 1, -1, 2**62 - 1, 2**62, 2**63, -(2**63), 10**5000, -(7**3000),
    0.1, 1e308,
    5e-324, math.inf, -math.inf, 1j, complex(-0.0, math.inf), "", "s",
    '"[{\\', "\ud800", "é\u2028😀\0",
    b"", b"\x00\xff", bytearray(b"a"), [], (), set(), frozenset(), {}, [1, [2, (3, {4})]],
    {1: {"a": [None]}, (1, 2): 3.5, None: True}, frozenset({frozenset(), 1}), range(3),
    range(5, -7, -2),
    ..., int, fractions.Fraction(-3, 7), decimal.Decimal("-1.50"), collections.deque([1, 2]),
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=range(len(PLAIN)))
def test_plain_values_come_back_equal_and_of_the_same_type(value: object) -> None:
    back = there_and_back(value)
    assert type(back) is type(value)
    assert back == value


def test_minus_zero_and_nan_keep_what_equality_does_not_see() -> None:
    assert math.copysign(1, there_and_back(-0.0)) == -1
    assert math.copysign(1, there_and_back(0.0)) == 1
    assert math.isnan(there_and_back(float("nan")))
    assert [type(x) for x in there_and_back([1, True, 1.0])] == [int, bool, float]


def test_subclasses_come_back_as_what_they_are_made_of() -> None:
    class Lying(list):  # type: ignore[type-arg]
        def __eq__(self, other: object) -> bool:
            return True

        def __iter__(self) -> Any:
            return iter("lies")

        def __len__(self) -> int:
            return 99

    class Word(str):
        def __str__(self) -> str:
            return "lies"

    class Number(float):
        def __repr__(self) -> str:
            return "lies"

        def hex(self) -> str:
            return "0x1p+5"

    class Colour(enum.IntEnum):
        RED = 3

    point = collections.namedtuple("point", "x y")
    given = [Lying([1, 2]), Word("a"), Number(-0.0), Colour.RED, point(1, 2)]
    given += [
        collections.Counter("aab"),
        collections.OrderedDict(a=1),
        collections.defaultdict(int),
    ]
    back = there_and_back(given)
    assert back == [[1, 2], "a", 0.0, 3, (1, 2), {"a": 2, "b": 1}, {"a": 1}, {}]
    assert [type(x) for x in back] == [
        list, str, float, int, tuple,
        collections.Counter, collections.OrderedDict, collections.defaultdict,
    ]  # fmt: skip
    assert back[7].default_factory is int
    assert type(there_and_back(collections.defaultdict(lambda: 1))) is dict
    assert math.copysign(1, back[2]) == -1


def test_iterators_and_views() -> None:
    assert list(there_and_back(x * x for x in range(4))) == [0, 1, 4, 9]
    assert list(there_and_back(map(str, [1]))) == ["1"]
    # As in Python, an iterator equals no list.
    assert there_and_back(iter([1])) != [1]
    assert there_and_back({1: 2}.keys()) == {1}
    assert there_and_back({1: 2}.items()) == {(1, 2)}
    assert list(there_and_back({1: 2}.values())) == [2]


def test_numpy_scalars_are_numbers_and_arrays_are_not() -> None:
    np = pytest.importorskip("numpy")
    back = there_and_back([np.int64(3), np.float64(0.5), np.float32(0.5), np.bool_(True)])
    assert back == [3, 0.5, 0.5, True]
    assert [type(x) for x in back] == [int, float, float, bool]
    with pytest.raises(caps.Unsendable, match="ndarray"):
        flatten.encode(np.zeros(2))


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def cycle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (iter(int, 1), "items or more"),
        (range(10**9), "range"),
        (range(0, 2**2000, 2**1990), "bits"),
        ([1 << 4 * caps.MAX_DIGITS_INSIDE + 1], "bits"),
        (fractions.Fraction(1, 3**3000), "fraction"),
        (decimal.Decimal("0." + "3" * 20_000), "decimal"),
        (decimal.Decimal("1e20000"), "decimal"),
        (nested(caps.MAX_DEPTH + 2), "deeper"),
        (cycle(), "deeper"),
        ([[0]] * caps.MAX_TOKENS, "parts"),
        ("x" * wire.MAX_BYTES, "bytes"),
        (1 << 4 * caps.MAX_DIGITS + 1, "bits"),
    ],
    ids=range(12),
)
def test_what_is_no_plain_data_or_too_much_is_named(value: object, words: str) -> None:
    with pytest.raises(caps.Unsendable, match=words):
        wire.frame("value", 1, flatten.encode(value))


def test_the_deepest_value_allowed_passes() -> None:
    assert there_and_back(nested(caps.MAX_DEPTH - 1)) == nested(caps.MAX_DEPTH - 1)


BAD_BODIES = [
    b"", b"[", b"[]", b"{}", b"null", b'["value"]', b'["value","1"]', b"[1,1]", b'["value",true,1]',
    b'["value",1,[1]]', b'["value",1,{"a":1}]', b"[" * 10**6, b"[" * 10**6 + b"]" * 10**6,
    b'["value",1,1.5]', b'["value",1,NaN]', b'["value",1,1e999]', b'["value",1,Infinity]',
    b'["value",1,"s","a"', b'["value",1,"s","\xff"]', b"\xff" * 9, b'["value",1]x',
    b'["value",1,' + b"9" * 5000 + b"]", b'["value",1,' + b"1," * 10**6 + b"1]",
]  # fmt: skip


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_frames_that_are_none(body: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.unframe(body)


BAD_TOKENS: list[list[Any]] = [
    [], [1, 2], ["l"], ["l", 2, 1], ["l", -1], ["l", "1"], ["l", True, 1], ["l", 10**9],
    ["?"], [""],
    ["s"], ["s", 1], ["i", "xyz"], ["i", 5], ["i", "f" * (caps.MAX_DIGITS + 2)],
    ["f", "x"], ["f", 1],
    ["b", "0"], ["e", 1, "l", 0], ["d", 1, "l", 0, 1], ["d", 1, 1], ["r", 1, 2],
    ["r", 1, 2, 0], ["r", 0, 10**15, 1],
    ["Q", 1, 0], ["Q", 1], ["D", "x"], ["D", "1e999999999"], ["k", 1], ["T", "eval"],
    ["f", "0x1p99999"],
    [1.5], ["l", 1] * 1000 + [1], ["Q", "i", "f" * 2000, 1],
]  # fmt: skip


@pytest.mark.parametrize("tokens", BAD_TOKENS, ids=range(len(BAD_TOKENS)))
def test_tokens_that_make_no_value(tokens: list[Any]) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(tokens)


def test_ten_thousand_random_bodies_are_refused_or_read_and_nothing_else() -> None:
    rng = random.Random(0)
    honest = wire.frame("value", 5, flatten.encode([1, {"a": (0.5, 10**30)}, "ü", {1}]))[4:]
    refused = 0
    for place in range(10_000):
        if place % 2:
            body = rng.randbytes(rng.randrange(200))
        else:
            changed = bytearray(honest)
            for _ in range(rng.randrange(1, 4)):
                changed[rng.randrange(len(changed))] = rng.choice(b'[]{},"0918defls\\\xff ')
            body = bytes(changed)
        try:
            wire.decode(wire.unframe(body)[2])
        except wire.WireError:
            refused += 1
    assert 6_000 < refused < 10_000


def test_a_frame_is_what_the_docstring_says() -> None:
    data = wire.frame("value", 3, flatten.encode([True, {"k": 1.5}]))
    body = json.loads(data[4:])
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    assert body == ["value", 3, "l", 2, True, "d", 1, "s", "k", "f", "0x1.8000000000000p+0"]


@pytest.mark.parametrize(
    "tokens",
    [
        ["A", "i"], ["A", "i", "l", 1, "s", "x"], ["A", 1, "l", 0], ["A", "zz", "l", 0],
        ["o", "x", 1, None, ""], ["o", 1, True, None, ""], ["o", "x", True, None, "!"],
        ["O", "x", True, None, "", 1], ["o", "x", True, -1, ""], ["o", "x", True, None, 1],
        ["o", "x", True, None], ["u", "zz"], ["u", "ff"], ["w", "l", 0], ["w", 1], ["S", 1, 2],
        ["D", "9" * 20_000], ["D", "1e20000"], ["D", "nan" + "9" * 20_000],
        ["l", 1, "i", "f" * (caps.MAX_DIGITS_INSIDE + 2)],
        ["r", 0, "i", "f" * 400, "i", "f" * 300],
    ],
)  # fmt: skip
def test_malformed_tokens_of_the_newer_tags(tokens: list[Any]) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(tokens)
