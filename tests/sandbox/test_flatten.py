"""What arrives of a program's values: what equals plain data, and of objects what may be asked.

A file in `right/` is a program that is right in Python and of a kind that was refused once, one in
`wrong/` is wrong in Python and of a kind that passed once or that gave no verdict: its function
`f`, then the tests, which begin at `check`.
"""

from __future__ import annotations

import array
import collections
import decimal
import itertools
import re
import sys
import types
from collections import abc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lora_ledger.sandbox import flatten, opaque
from lora_ledger.sandbox.client import Problem, Sandbox

from .test_wire import there_and_back

RIGHT, WRONG = (
    {
        path.stem: path.read_text("utf-8")
        for path in sorted(Path(__file__).with_name(kind).glob("*.txt"))
    }
    for kind in ("right", "wrong")
)


def in_python(name: str, text: str) -> None:
    """Run a program with its tests, as a module that can be found."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        # This file has a `from __future__` that the program must not inherit.
        exec(compile(text, name, "exec", dont_inherit=True), vars(module))
        module.check(module.f)
    finally:
        del sys.modules[name]


def reasons(sandbox: Sandbox, programs: dict[str, str]) -> dict[str, str]:
    problems = []
    for text in programs.values():
        program, mark, tests = text.partition("def check(candidate):\n")
        problems.append(Problem("", program, mark + tests, "f", context=""))
    return {
        name: verdict.reason
        for name, verdict in zip(programs, sandbox.judge_all(problems), strict=True)
    }


def test_right_programs_are_right_in_python_and_pass(sandbox: Sandbox) -> None:
    for name, text in RIGHT.items():
        in_python(f"right_{name}", text)
    found = reasons(sandbox, RIGHT)
    assert {name: reason for name, reason in found.items() if reason != "passed"} == {}
    assert len(found) >= 38


def test_wrong_programs_are_wrong_in_python_and_do_not_pass(sandbox: Sandbox) -> None:
    """Nor does any end the judge."""
    for name, text in WRONG.items():
        with pytest.raises((AssertionError, AttributeError)):
            in_python(f"wrong_{name}", text)
    found = reasons(sandbox, WRONG)
    assert set(found.values()) <= {"wrong", "non_literal"}, found
    assert len(found) >= 10


class Match:
    """Neither true by itself nor equal to anything; with items of its own."""

    def __init__(self, truth: bool) -> None:
        self.truth = truth

    def __bool__(self) -> bool:
        return self.truth

    def __iter__(self) -> Iterator[int]:
        return iter([3, 1, 2])

    def __eq__(self, other: object) -> bool:
        return True


@pytest.mark.parametrize("truth", [True, False])
def test_of_an_object_its_truth_and_its_items_arrive(truth: bool) -> None:
    found = there_and_back(Match(truth))
    assert bool(found) is truth
    assert found is not None
    assert tuple(found) == (3, 1, 2)
    assert sorted(found) == [1, 2, 3]
    assert not isinstance(found, list | bool)
    with pytest.raises(TypeError, match="has no len"):
        len(found)
    Match.__len__ = lambda self: 3  # type: ignore[attr-defined]
    try:
        assert len(there_and_back(Match(truth))) == 3
    finally:
        del Match.__len__  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "ask",
    [
        lambda one: one == 1,
        lambda one: one != 1,
        lambda one: [one] == [1],
        lambda one: one < 1,
        lambda one: hash(one),
        lambda one: {one},
        lambda one: one == one,
        lambda one: one[0],
        lambda one: one.group(0),
        lambda one: one + 1,
        lambda one: 1 - one,
        lambda one: float(one),
        lambda one: f"{one}",
    ],
)
def test_whatever_else_is_asked_of_an_object_ends_the_tests(ask: Callable[[Any], Any]) -> None:
    """Also where the tests would go on after any Exception."""
    with pytest.raises(opaque.NotPlain, match="Match"):
        ask(there_and_back(Match(True)))


class Plain:
    """Without a method of its own."""


class Pairs:
    """Goes through pairs, and has no other method."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(1, 2), (3, 4)])


class Old:
    """A sequence by its index alone."""

    def __getitem__(self, place: int) -> int:
        return [5, 6][place]


def test_what_the_class_of_an_object_lacks_is_lacking() -> None:
    """Else `callable(f())` or `isinstance(f(), Iterator)` would hold for anything."""
    for value, kinds in (
        (Plain(), ()),
        (Pairs(), (abc.Iterable,)),
        (lambda: 1, (abc.Callable,)),
        (re.match("a", "a"), ()),
    ):
        found = there_and_back(value)
        asked = (abc.Iterable, abc.Iterator, abc.Sized, abc.Callable, abc.Container, abc.Reversible)
        assert tuple(kind for kind in asked if isinstance(found, kind)) == kinds
        assert callable(found) == callable(value)
    for ask in (iter, len, next, reversed, lambda one: one(), lambda one: 3 in one):
        with pytest.raises(TypeError):
            ask(there_and_back(Plain()))


def test_an_object_without_equality_of_its_own_equals_nothing_else() -> None:
    found = there_and_back([re.match("a", "a"), Plain(), Plain()])
    assert found != [None, None, None]
    assert found[0] != None  # noqa: E711
    assert found[1] not in (1, "a", None)
    assert found[1] == found[1]
    assert len(there_and_back({Plain(), Plain()})) == 2
    assert found[1] != found[2]
    with pytest.raises(opaque.NotPlain):
        assert found[1] == there_and_back(Plain())
    with pytest.raises(opaque.NotPlain):
        assert found[1] == there_and_back(Match(True))


def test_items_are_found_by_what_python_goes_through() -> None:
    assert list(there_and_back(Old())) == [5, 6]
    assert 6 in there_and_back(Old())
    assert (1, 2) in there_and_back(Pairs())
    assert dict(there_and_back(Pairs())) == {1: 2, 3: 4}
    with pytest.raises(opaque.NotPlain):
        assert 3 in there_and_back(Holds())
    with pytest.raises(opaque.NotPlain):
        dict(there_and_back(Holds()))


class Holds:
    """Says itself what it contains, and is a mapping of its own."""

    def __contains__(self, one: object) -> bool:
        return True

    def keys(self) -> list[int]:
        return [1]

    def __iter__(self) -> Iterator[int]:
        return iter([1])


def test_objects_that_name_each_other_are_not_walked_without_end() -> None:
    class Node:
        others: ClassVar[list[Any]] = []

        def __iter__(self) -> Iterator[Any]:
            return iter(self.others)

    Node.others = [Node(), 1]
    found = there_and_back([Node.others[0], Pairs()])
    assert len(list(found[0])) == 2
    assert 1 in found[0]
    assert list(found[1]) == [(1, 2), (3, 4)]
    # Each path through these is another one, 12 factorial in all.
    Node.others = [Node() for _ in range(12)]
    found = there_and_back([Node(), Node()])
    assert list(found[0]) == list(found[1])
    assert len(set(found[0])) == 12

    class Maker:
        def __iter__(self) -> Iterator[Any]:
            return iter([Maker(), Maker()])

    # Every one of these makes two more; the second is counted as if the first had held nothing.
    found = there_and_back([Maker(), one := Node(), one])
    assert found[1] is found[2]
    assert found[0]
    with pytest.raises(TypeError, match="not iterable"):
        iter(found[0])


def test_an_object_that_tests_pass_on_is_refused() -> None:
    with pytest.raises(opaque.NotPlain, match="pass on"):
        flatten.encode([there_and_back(Pairs())])


class Numbers(abc.Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        return {"b": 1, "a": 2}[key]

    def __iter__(self) -> Iterator[str]:
        return iter("ba")

    def __len__(self) -> int:
        return 2


class Ordered(abc.Set[int]):
    def __contains__(self, one: object) -> bool:
        return one in (3, 1)

    def __iter__(self) -> Iterator[int]:
        return iter([3, 1])

    def __len__(self) -> int:
        return 2


@pytest.mark.parametrize(
    ("value", "plain", "listed"),
    [
        (Numbers(), {"b": 1, "a": 2}, ["b", "a"]),
        (Numbers().keys(), {"b", "a"}, ["b", "a"]),
        (Numbers().items(), {("b", 1), ("a", 2)}, [("b", 1), ("a", 2)]),
        (Ordered(), {1, 3}, [3, 1]),
        (types.MappingProxyType({"a": 1}), {"a": 1}, ["a"]),
        (memoryview(b"ab"), b"ab", [97, 98]),
        (memoryview(array.array("i", [-3])), array.array("i", [-3]), [-3]),
        (collections.UserDict({1: [2]}).items(), {1: [2]}.items(), [(1, [2])]),
    ],
)
def test_what_equals_plain_data_in_python_is_that(value: Any, plain: Any, listed: Any) -> None:
    assert value == plain
    found = there_and_back(value)
    assert found == plain
    assert list(found) == list(value) == listed
    assert len(found) == len(value)


def test_an_object_that_fails_over_its_items_has_none_and_one_without_truth_none() -> None:
    class Endless(Match):
        def __iter__(self) -> Iterator[int]:
            return itertools.count()

    class Neither(Match):
        def __bool__(self) -> bool:
            raise ValueError

    with pytest.raises(TypeError, match="not iterable"):
        list(there_and_back(Endless(True)))
    found = there_and_back([Neither(True)])
    assert found[0] is not None
    with pytest.raises(opaque.NotPlain, match="neither true nor false"):
        bool(found[0])


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (collections.UserList([1, [2]]), [1, [2]]),
        (collections.UserDict(a=1), {"a": 1}),
        (collections.UserString("é"), "é"),
        (collections.ChainMap({"a": 1}, {"a": 2, "b": 3}), {"a": 1, "b": 3}),
        (array.array("d", [1.5, -0.0]), array.array("d", [1.5, -0.0])),
        (array.array("i"), array.array("i")),
    ],
)
def test_what_stands_for_a_built_in_type(value: Any, plain: Any) -> None:
    assert value == plain
    found = there_and_back(value)
    assert found == plain
    assert type(found) is type(plain)


def test_types_and_slices() -> None:
    for kind in (int, type(None), range, ValueError, decimal.Decimal, collections.deque, type):
        assert there_and_back(kind) is kind
    assert [1, 2, 3][there_and_back(slice(None, 2))] == [1, 2]


def test_an_array_is_no_list() -> None:
    assert there_and_back(array.array("i", [1])) != [1]


def test_two_halves_of_a_pair_stay_two_characters() -> None:
    for text in ("\ud83d\ude00", "\ud83d", "a\ude00\ud83d", "\U0001f600"):
        assert there_and_back(text) == text
    assert len(there_and_back("\ud83d\ude00")) == 2


@pytest.mark.parametrize(
    "one",
    [
        iter("é"), iter("e"), iter(bytearray(b"a")), reversed({1: 2}), iter(collections.deque([1])),
        iter(range(2**70, 2**70 + 2)), iter(array.array("i", [1])),
        re.finditer("a", "aa"),
    ],
)  # fmt: skip
def test_iterators_of_every_type(one: Iterator[Any]) -> None:
    found = there_and_back(one)
    assert next(found, None) is not None
