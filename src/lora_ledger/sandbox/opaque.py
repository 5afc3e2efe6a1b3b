"""What tests get of an object that is no plain data: its truth, its length and its items.

In: those, as the worker says that the program has them. Out: an object of which the rest can be
asked only so far as the answer is not the program's own word. Whether it equals what the tests
expect is never that word: where its class has no `__eq__` of its own it equals nothing but itself,
as Python has it (nan does no more), and where it has one the question ends the tests. Standard
library only.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

OWN_EQUALITY, OWN_CONTAINS, CALLABLE, KEYS = "=", "n", "c", "k"
TRAITS = OWN_EQUALITY + OWN_CONTAINS + CALLABLE + KEYS


class NotPlain(BaseException):
    """Tests want more of an object than is known; no `except` of theirs goes on."""


class Opaque:
    """What all of them have; `make` adds what this one's class has in the program too."""

    __slots__ = ("_items", "_length", "_name", "_traits", "_truth")

    _traits: str

    def __init__(
        self, name: str, truth: bool | None, length: int | None, items: list[Any] | None
    ) -> None:
        self._name, self._truth, self._length, self._items = name, truth, length, items

    def __bool__(self) -> bool:
        if self._truth is None:
            raise NotPlain(f"a value of type {self._name}, which is neither true nor false")
        return self._truth

    def __eq__(self, other: object) -> bool:
        if self is not other and isinstance(other, Opaque):
            # Two that came one after the other may be the same in the program.
            raise NotPlain(f"a value of type {self._name}")
        return NotImplemented

    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> Any:
        # `dict` asks for this one, to tell mappings from pairs.
        if name == "keys" and KEYS not in self._traits:
            raise AttributeError(name)
        raise NotPlain(f"a value of type {self._name}")


def make(
    name: str, truth: bool | None, length: int | None, items: list[Any] | None, traits: str
) -> Opaque:
    """One of these; `traits` are letters of TRAITS."""
    found = _kind(length is not None, items is not None, frozenset(traits))(
        name, truth, length, items
    )
    found._traits = traits
    return found


def _not_plain(self: Opaque, *others: Any, **named: Any) -> Any:
    raise NotPlain(f"a value of type {self._name}")


def _iterate(self: Opaque) -> Iterator[Any]:
    return iter(self._items or ())


def _len(self: Opaque) -> int:
    return self._length or 0


@lru_cache(maxsize=128)
def _kind(sized: bool, iterable: bool, traits: frozenset[str]) -> type[Opaque]:
    """A class without what the program's lacks: `isinstance` and `callable` look at that."""
    # None has Python say "not iterable", and not try `__getitem__`.
    members: dict[str, Any] = {"__slots__": (), "__iter__": _iterate if iterable else None}
    if sized:
        members["__len__"] = _len
    if CALLABLE in traits:
        members["__call__"] = _not_plain
    if OWN_CONTAINS in traits:
        members["__contains__"] = _not_plain
    if OWN_EQUALITY in traits:
        members |= dict.fromkeys(("__eq__", "__ne__", "__hash__"), _not_plain)
    return type("Opaque", (Opaque,), members)


_ASKED = """
    lt le gt ge getitem setitem delitem
    int float complex index round trunc floor ceil abs neg pos invert bytes fspath enter exit format
    str add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor
    radd rsub rmul rmatmul rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand ror rxor
    iadd isub imul imatmul itruediv ifloordiv imod ipow ilshift irshift iand ior ixor
"""
for _name in _ASKED.split():
    setattr(Opaque, f"__{_name}__", _not_plain)
del _name
