"""Values into the tokens of the wire: the worker's half of it, which the judge uses for arguments.

In: any value of a program. Out: a flat list of tokens as `wire` lists them, or Unsendable with the
reason. What equals plain data in Python becomes that: subclasses of the built-in types are taken
apart by the built-in type's own methods, so an overridden `__eq__`, `__iter__` or `__len__` has no
say, and mappings, sets and what stands for a built-in type likewise. Of any other object its truth,
length and items are told. It compares nothing, and whoever lies here lies about what his own
functions return. Standard library only.
"""

from __future__ import annotations

import array
import collections
import contextlib
import decimal
import fractions
import itertools
import re
from collections import abc
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from .caps import (
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_DIGITS_INSIDE,
    MAX_DIGITS_RANGE,
    MAX_FRACTION,
    MAX_TOKENS,
    MRO,
    Unsendable,
    too_much,
    type_name,
)
from .opaque import NotPlain, Opaque, name_of, traits_of

_HALVES = re.compile("[\ud800-\udfff]")


class _Tokens(list[Any]):
    """Tokens, and the objects among them: by id the number, and the object, which keeps its id."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, tuple[int, Any]] = {}
        self.inside = False


def encode(value: object) -> list[Any]:
    """The tokens of a value. Raises Unsendable, with the type or what there is too much of."""
    tokens = _Tokens()
    _flatten(value, tokens, 0)
    return tokens


def _sequence(tag: str, base: Any) -> Callable[[Any, _Tokens, int], None]:
    def write(value: Any, out: _Tokens, depth: int) -> None:
        out += (tag, base.__len__(value))
        for item in base.__iter__(value):
            _flatten(item, out, depth)

    return write


def _dict(value: Any, out: _Tokens, depth: int) -> None:
    out += ("d", dict.__len__(value))
    for key, item in dict.items(value):
        _flatten(key, out, depth)
        _flatten(item, out, depth)


def _ordered(value: Any, out: _Tokens, depth: int) -> None:
    # A dict's own order stays as it was after `move_to_end`.
    out.append("x")
    _dict(dict(collections.OrderedDict.items(value)), out, depth)


def _counter(value: Any, out: _Tokens, depth: int) -> None:
    out.append("C")
    _dict(value, out, depth)


def _default(value: Any, out: _Tokens, depth: int) -> None:
    factory = value.default_factory
    if factory is None or type_name(factory):
        out.append("F")
        _flatten(factory, out, depth)
    _dict(value, out, depth)


def _view(tag: str) -> Callable[[Any, _Tokens, int], None]:
    def write(value: Any, out: _Tokens, depth: int) -> None:
        out.append(tag)
        # `mapping` is a read-only proxy of the dict that is viewed.
        _dict(dict(value.mapping), out, depth)

    return write


def _text(value: Any, out: _Tokens, depth: int) -> None:
    # JSON writes two halves that stand side by side as it writes the character they would make.
    text = str.__str__(value)
    if text.isascii() or not _HALVES.search(text):
        out += ("s", text)
    else:
        out += ("u", text.encode("utf-8", "surrogatepass").hex())


def _array(value: Any, out: _Tokens, depth: int) -> None:
    out += ("A", value.typecode)
    _flatten(array.array.tolist(value), out, depth)


def _memory(value: Any, out: _Tokens, depth: int) -> None:
    if value.ndim != 1 or value.format not in f"B{array.typecodes}":
        _opaque(value, out, depth)
        return
    out.append("w")
    if value.format != "B":
        _array(array.array(value.format, value.tolist()), out, depth)
    else:
        _flatten((bytes if value.readonly else bytearray)(value), out, depth)


def _mapping(value: Any, out: _Tokens, depth: int) -> None:
    # As `Mapping.__eq__` has it.
    _dict(dict(_drawn(value.items())), out, depth)


def _unique(value: Any, out: _Tokens, depth: int) -> None:
    # Keys equal a set of them, as these do, and keep the order that the program's have.
    out.append("k")
    _dict(dict.fromkeys(_drawn(value)), out, depth)


def _pairs(value: Any, out: _Tokens, depth: int) -> None:
    out.append("m")
    _dict(dict(_drawn(value)), out, depth)


def _slice(value: Any, out: _Tokens, depth: int) -> None:
    out.append("S")
    for part in (value.start, value.stop, value.step):
        _flatten(part, out, depth)


def _drawn(value: Any) -> list[Any]:
    drawn = list(itertools.islice(value, MAX_TOKENS))
    if len(drawn) == MAX_TOKENS:
        raise Unsendable(f"{type(value).__name__[:80]} of {MAX_TOKENS} items or more")
    return drawn


def _opaque(value: Any, out: _Tokens, depth: int) -> None:
    """Truth and items by Python's own protocol, as the program has them.

    An object whose items do not end, or that fails over them, has none. Where items hold too much
    it is the outermost object that has none: else objects that make others would be walked for
    hours. One that stands there already is told by its number.
    """
    if id(value) in out.known:
        out += ("R", out.known[id(value)][0])
        return
    out.known[id(value)] = len(out.known), value
    count = len(out.known)
    kind = type(value)
    name = kind.__name__[:80]
    truth = length = None
    with contextlib.suppress(Exception):
        truth = bool(value)
    if hasattr(kind, "__len__"):
        with contextlib.suppress(Exception):
            length = len(value)
    said = (name, truth, length, traits_of(value))
    drawn = None
    # Python goes through what has `__getitem__` alone by its index.
    if hasattr(kind, "__iter__") or hasattr(kind, "__getitem__"):
        with contextlib.suppress(Exception):
            drawn = _drawn(value)
    if drawn is None:
        out += ("o", *said)
        return
    place, outermost = len(out), not out.inside
    out.inside = True
    try:
        out += ("O", *said)
        _flatten(drawn, out, depth)
    except Exception:
        if not outermost:
            raise
        out[place:] = ("o", *said)
        while len(out.known) > count:
            out.known.popitem()
    finally:
        out.inside = not outermost


def _ours(value: Any, out: _Tokens, depth: int) -> None:
    raise NotPlain(f"the tests pass on a value of type {name_of(value)}")


def _iterator(value: Any, out: _Tokens, depth: int) -> None:
    drawn = _drawn(value)
    out += ("g", len(drawn))
    for item in drawn:
        _flatten(item, out, depth)


def _int(value: Any, out: _Tokens, depth: int) -> None:
    if int.bit_length(value) < 63:
        out.append(int.__pos__(value))
    else:
        if int.bit_length(value) > 4 * (MAX_DIGITS if depth == 1 else MAX_DIGITS_INSIDE):
            raise Unsendable(f"an integer of {int.bit_length(value)} bits")
        # Hexadecimal takes linear time and is not subject to Python's limit on digits.
        out += ("i", int.__format__(value, "x"))


def _float(value: Any, out: _Tokens, depth: int) -> None:
    out += ("f", float.hex(value))


def _complex(value: Any, out: _Tokens, depth: int) -> None:
    plain = complex.__pos__(value)
    out += ("c", plain.real.hex(), plain.imag.hex())


def _fraction(value: Any, out: _Tokens, depth: int) -> None:
    for part in (value.numerator, value.denominator):
        if int.bit_length(part) > 4 * MAX_FRACTION:
            raise Unsendable(f"a fraction of {int.bit_length(part)} bits")
    out.append("Q")
    _int(value.numerator, out, depth)
    _int(value.denominator, out, depth)


def _decimal(value: Any, out: _Tokens, depth: int) -> None:
    text = decimal.Decimal.__str__(value)
    if too_much(text):
        raise Unsendable(f"a decimal of {len(text)} characters or a large exponent")
    out += ("D", text)


def _range(value: Any, out: _Tokens, depth: int) -> None:
    parts = value.start, value.stop, value.step
    for part in parts:
        if int.bit_length(part) > 4 * MAX_DIGITS_RANGE:
            raise Unsendable(f"a range by an integer of {int.bit_length(part)} bits")
    if value and (value[-1] - value[0]) // value.step >= MAX_TOKENS:
        raise Unsendable("a range that is too long")
    out.append("r")
    for part in parts:
        _int(part, out, depth)


def _class(value: Any, out: _Tokens, depth: int) -> None:
    if name := type_name(value):
        out += ("T", name)
    else:
        _opaque(value, out, depth)


_Writer = Callable[[Any, _Tokens, int], None]
_WRITERS: dict[type, _Writer] = {
    type(None): lambda value, out, depth: out.append(None),
    bool: lambda value, out, depth: out.append(value),
    int: _int,
    float: _float,
    complex: _complex,
    str: _text,
    bytes: lambda value, out, depth: out.extend(("b", bytes.hex(value))),
    bytearray: lambda value, out, depth: out.extend(("y", bytearray.hex(value))),
    list: _sequence("l", list),
    tuple: _sequence("t", tuple),
    set: _sequence("e", set),
    frozenset: _sequence("z", frozenset),
    collections.deque: _sequence("q", collections.deque),
    dict: _dict,
    collections.OrderedDict: _ordered,
    collections.Counter: _counter,
    collections.defaultdict: _default,
    type({}.keys()): _view("k"),
    type({}.values()): _view("v"),
    type({}.items()): _view("m"),
    range: _range,
    type(...): lambda value, out, depth: out.append("."),
    type: _class,
    type(NotImplemented): _class,
    fractions.Fraction: _fraction,
    decimal.Decimal: _decimal,
    array.array: _array,
    # In Python these equal what they hold.
    collections.UserList: lambda value, out, depth: _flatten(value.data, out, depth),
    collections.UserString: lambda value, out, depth: _flatten(value.data, out, depth),
    memoryview: _memory,
    MappingProxyType: _mapping,
    abc.Mapping: _mapping,
    abc.ItemsView: _pairs,
    abc.Set: _unique,
    slice: _slice,
    Opaque: _ours,
}


def _flatten(value: Any, out: _Tokens, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Unsendable(f"a value nested deeper than {MAX_DEPTH}")
    if len(out) > MAX_TOKENS:
        raise Unsendable(f"a value of more than {MAX_TOKENS} parts")
    kind = type(value)
    writer = _WRITERS.get(kind)
    if writer is None:
        for base in MRO(kind)[1:]:
            if base in _WRITERS:
                writer = _WRITERS[base]
                break
        else:
            if _only_iterator(kind):
                writer = _iterator
            elif _from_numpy(kind):
                if value.shape:
                    raise Unsendable(f"a value of type {kind.__name__}")
                value, writer = value.item(), _flatten
            else:
                writer = _opaque
    writer(value, out, depth + 1)


def _only_iterator(kind: type) -> bool:
    # One with a truth, a length or an equality of its own arrives with these.
    return (
        getattr(kind, "__next__", None) is not None
        and hasattr(kind, "__iter__")
        and not (hasattr(kind, "__len__") or hasattr(kind, "__bool__"))
        and getattr(kind, "__eq__", None) is object.__eq__
    )


def _from_numpy(kind: type) -> bool:
    # A class that the program made with `type` need not have a module.
    return getattr(kind, "__module__", "") == "numpy" and hasattr(kind, "item")
