"""What tests get of an object that is no plain data: its truth, its length and its items.

In: those, as the worker says that the program has them. Out: an object of which the rest can be
asked only so far as the answer is not the program's own word. Whether it equals what the tests
expect is never that word: where its class has no `__eq__` of its own it equals nothing but itself,
as Python has it (nan does no more), and where it has one the question ends the tests. Which of one
answer are the same object arrives; of two answers it does not, and that question ends them too.
Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, ClassVar

from .caps import MRO, TYPES

OWN_EQUALITY, OWN_CONTAINS, CALLABLE, KEYS, NEXT = "=", "n", "c", "k", "x"
UNHASHABLE, NAMED_KIND = "h", "b"
TRAITS = OWN_EQUALITY + OWN_CONTAINS + CALLABLE + KEYS + NEXT + UNHASHABLE + NAMED_KIND
# What such an object never is; a module, a class or a function of the tests it may be.
PLAIN = frozenset(TYPES.values()) - {object, type}


class NotPlain(BaseException):
    """Tests want more of an object than is known; also where a bare `except` of theirs goes on."""

    # How often in this process, for the judge to see.
    count: ClassVar[int] = 0

    def __init__(self, *words: object) -> None:
        super().__init__(*words)
        NotPlain.count += 1


# Its own attributes, which tests do not get: they would be taken for the program's.
_of = object.__getattribute__


class Opaque:
    """What all of them have; `make` adds what this one's class has in the program too."""

    __slots__ = ("_answer", "_items", "_length", "_name", "_traits", "_truth")

    _name: str
    _truth: bool | None
    _length: int | None
    _traits: str
    _answer: object
    _items: Iterable[Any]

    def __bool__(self) -> bool:
        truth: bool | None = _of(self, "_truth")
        if truth is None:
            raise NotPlain(f"a value of type {name_of(self)}, which is neither true nor false")
        return truth

    def __eq__(self, other: object) -> bool:
        if issubclass(type(other), Opaque):
            # Two that came one after the other may be the same in the program.
            known = _of(self, "_answer") is _of(other, "_answer")
        else:
            known = type(other) in PLAIN
        if not known:
            raise NotPlain(f"a value of type {name_of(self)}")
        return NotImplemented

    def __hash__(self) -> int:
        # The same of all, so that sets and dicts of two ask whether they are equal.
        return 1

    def __getattribute__(self, name: str) -> Any:
        # `isinstance` asks for the one, `dict` for the other, to tell mappings from pairs.
        if name == "__class__" and NAMED_KIND not in _of(self, "_traits"):
            return type(self)
        if name == "keys" and KEYS not in _of(self, "_traits"):
            raise AttributeError(name)
        raise NotPlain(f"a value of type {name_of(self)}")


def name_of(value: Opaque) -> str:
    """The name of its class in the program."""
    name: str = _of(value, "_name")
    return name


def traits_of(value: object) -> str:
    """The traits of a program's object."""
    kind = type(value)
    own = any(getattr(kind, n, None) is not getattr(object, n) for n in ("__eq__", "__ne__"))
    # A test can ask whether it is one of these, which the judge's stand-in is not.
    named = any(base is BaseException or base is type for base in MRO(kind))
    return (
        (OWN_EQUALITY if own else "")
        + (OWN_CONTAINS if hasattr(kind, "__contains__") else "")
        + (CALLABLE if callable(value) else "")
        + (KEYS if hasattr(kind, "keys") else "")
        + (NEXT if getattr(kind, "__next__", None) is not None else "")
        + (UNHASHABLE if getattr(kind, "__hash__", None) is None else "")
        + (NAMED_KIND if named else "")
    )


def make(
    name: str,
    truth: bool | None,
    length: int | None,
    traits: str,
    answer: object,
    iterable: bool,
) -> Opaque:
    """One of these; `traits` are letters of TRAITS, `answer` what all of one answer share."""
    found = _kind(name, length is not None, iterable, frozenset(traits))()
    found._name, found._truth, found._length, found._traits = name, truth, length, traits
    found._answer, found._items = answer, ()
    return found


def fill(value: Opaque, items: list[Any]) -> None:
    """Give it its items, which may name it."""
    value._items = iter(items) if NEXT in _of(value, "_traits") else items


def _not_plain(self: Opaque, *others: Any, **named: Any) -> Any:
    raise NotPlain(f"a value of type {name_of(self)}")


def _iterate(self: Opaque) -> Iterator[Any]:
    return iter(_of(self, "_items"))


def _next(self: Opaque) -> Any:
    return next(_of(self, "_items"))


def _len(self: Opaque) -> int:
    length: int = _of(self, "_length")
    return length


@lru_cache(maxsize=128)
def _kind(name: str, sized: bool, iterable: bool, traits: frozenset[str]) -> type[Opaque]:
    """A class without what the program's lacks: `isinstance` and `callable` look at that."""
    # None has Python say "not iterable", and not try `__getitem__`.
    members: dict[str, Any] = {"__slots__": (), "__iter__": _iterate if iterable else None}
    if sized:
        members["__len__"] = _len
    if CALLABLE in traits:
        members["__call__"] = _not_plain
    if NEXT in traits:
        members["__next__"] = _next if iterable else _not_plain
        members["__iter__"] = (lambda self: self) if iterable else None
    if OWN_CONTAINS in traits:
        members["__contains__"] = _not_plain
    if OWN_EQUALITY in traits:
        members |= dict.fromkeys(("__eq__", "__ne__", "__hash__"), _not_plain)
    elif UNHASHABLE in traits:
        members |= {"__eq__": Opaque.__eq__, "__hash__": None}
    return type(name if name.isidentifier() else "Opaque", (Opaque,), members)


_ASKED = """
    lt le gt ge getitem setitem delitem
    int float complex index round trunc floor ceil abs neg pos invert bytes fspath enter exit format
    repr str add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor
    radd rsub rmul rmatmul rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand ror rxor
    iadd isub imul imatmul itruediv ifloordiv imod ipow ilshift irshift iand ior ixor
"""
for _name in _ASKED.split():
    setattr(Opaque, f"__{_name}__", _not_plain)
del _name
