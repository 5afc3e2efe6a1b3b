"""The wire between judge and worker: values as flat JSON, each frame with its length before it.

In: plain Python values. Out: bytes, and plain values of the built-in types again. A frame is
four bytes of length (big-endian) and one JSON list without any list or mapping inside: kind, nonce,
and the tokens of a value in prefix order. Ints, strings after a tag, booleans and null stand for
themselves; a tag says what follows:

    s text | u hex | i hex | f hex | c hex hex | b hex | y hex | . (Ellipsis) | Q num den | D text
    T name (a built-in type itself)
    l n … | t n … | e n … | z n … | q n … | d n key value … | g n … | k d… | v d… | m d…
    r start stop step | A code l… | o name truth len | O name truth len l…

(text with halves of surrogate pairs; list, tuple, set, frozenset, deque, dict, iterator, views of a
dict, range, array, any other object without and with items). Size, number of tokens and depth are
capped before anything is parsed, and no part of a frame is ever evaluated. Subclasses of the
built-in types are flattened by the built-in type's own methods, so an overridden `__eq__`,
`__iter__` or `__len__` has no say; those of `collections` that stand for a built-in type are
flattened to it. It knows nothing of processes. Standard library only, since the worker imports it
too.
"""

from __future__ import annotations

import array
import collections
import contextlib
import decimal
import fractions
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

MAX_BYTES = 4 * 2**20
MAX_TOKENS = 400_000
MAX_DEPTH = 200
# Hexadecimal digits of an integer: more would let one operation of a test take hours.
MAX_DIGITS = 2**18
# The same inside containers, where one operation meets many of them, and of a range's parts, whose
# items are made by the thousand.
MAX_DIGITS_INSIDE = 2**14
MAX_DIGITS_RANGE = 2**8
MAX_FRACTION = 2**10
_HALVES = re.compile("[\ud800-\udfff]")
# One list of scalars, strings skipped whole: possessive, so the time is linear in the length.
_FLAT = re.compile(rb'\[(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+\]', re.DOTALL)


class WireError(ValueError):
    """A frame that is not one of ours: for the judge a verdict, never a crash."""


class Unsendable(ValueError):
    """A value that is no plain data, or more of it than the wire takes."""


class NotPlain(BaseException):
    """Tests want more of an object than its truth and its items; no `except` of theirs goes on."""


class Opaque:
    """What is left of an object that is no plain data: its truth, its length and its items.

    Whatever else is asked of it ends the tests, since the answer would be the program's own word:
    first of all whether it equals something.
    """

    __slots__ = ("_items", "_length", "_name", "_truth")

    def __init__(self, name: str, truth: bool, length: int | None, items: list[Any] | None) -> None:
        self._name, self._truth, self._length, self._items = name, truth, length, items

    def __bool__(self) -> bool:
        return self._truth

    def __iter__(self) -> Iterator[Any]:
        if self._items is None:
            raise TypeError(f"{self._name!r} object is not iterable")
        return iter(self._items)

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError(f"object of type {self._name!r} has no len()")
        return self._length

    def __getattr__(self, name: str) -> Any:
        raise NotPlain(f"a value of type {self._name}")


def _not_plain(self: Opaque, *others: Any) -> Any:
    raise NotPlain(f"a value of type {self._name}")


_ASKED = """
    eq ne lt le gt ge hash call contains getitem setitem delitem reversed next
    int float complex index round trunc floor ceil abs neg pos invert bytes fspath enter exit format
    str add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor
    radd rsub rmul rmatmul rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand ror rxor
    iadd isub imul imatmul itruediv ifloordiv imod ipow ilshift irshift iand ior ixor
"""
for _name in _ASKED.split():
    setattr(Opaque, f"__{_name}__", _not_plain)
del _name


def _refuse(text: str) -> Any:
    raise WireError(f"a bare number {text[:20]}, expected a tagged one")


_parser = json.JSONDecoder(parse_float=_refuse, parse_constant=_refuse, strict=False)
_write = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def frame(kind: str, nonce: int, tokens: Iterable[Any] = ()) -> bytes:
    """One message, ready to be written. Raises Unsendable when it is too large."""
    body = _write([kind, nonce, *tokens]).encode("ascii")
    if len(body) > MAX_BYTES:
        raise Unsendable(f"a value of {len(body)} bytes, the limit is {MAX_BYTES}")
    return len(body).to_bytes(4, "big") + body


def unframe(body: bytes) -> tuple[str, int, list[Any]]:
    """Kind, nonce and tokens of a frame without its length. Raises WireError."""
    if len(body) > MAX_BYTES or not _FLAT.fullmatch(body):
        raise WireError("a frame that is too long or no flat list")
    if body.count(b",") >= MAX_BYTES // 4:
        raise WireError("a frame of too many tokens")
    try:
        parts = _parser.decode(body.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"a frame that is no JSON ({str(error)[:80]})") from None
    if len(parts) < 2 or type(parts[0]) is not str or type(parts[1]) is not int:
        raise WireError("a frame without kind and nonce")
    if len(parts) > MAX_TOKENS:
        raise WireError("a frame of too many tokens")
    return parts[0], parts[1], parts[2:]


def unframe_trusted(body: bytes) -> tuple[str, int, list[Any]]:
    """`unframe` for the worker, to whom the judge sends nothing else."""
    kind, nonce, *tokens = _parser.raw_decode(body.decode("ascii"))[0]
    return kind, nonce, tokens


def encode(value: object) -> list[Any]:
    """The tokens of a value. Raises Unsendable, with the type, for what is no plain data."""
    tokens: list[Any] = []
    _flatten(value, tokens, 0)
    return tokens


def decode(tokens: list[Any]) -> Any:
    """The value that the tokens say, of built-in types only. Raises WireError."""
    reader = iter(tokens)
    try:
        value = _read(reader, 0)
    except (StopIteration, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise WireError(f"tokens that make no value ({str(error)[:80]})") from None
    for _ in reader:
        raise WireError("tokens after the value")
    return value


def _sequence(tag: str, base: Any) -> Callable[[Any, list[Any], int], None]:
    def write(value: Any, out: list[Any], depth: int) -> None:
        out += (tag, base.__len__(value))
        for item in base.__iter__(value):
            _flatten(item, out, depth)

    return write


def _dict(value: Any, out: list[Any], depth: int) -> None:
    out += ("d", dict.__len__(value))
    for key, item in dict.items(value):
        _flatten(key, out, depth)
        _flatten(item, out, depth)


def _view(tag: str) -> Callable[[Any, list[Any], int], None]:
    def write(value: Any, out: list[Any], depth: int) -> None:
        out.append(tag)
        # `mapping` is a read-only proxy of the dict that is viewed.
        _dict(dict(value.mapping), out, depth)

    return write


def _text(value: Any, out: list[Any], depth: int) -> None:
    # JSON writes two halves that stand side by side as it writes the character they would make.
    text = str.__str__(value)
    if text.isascii() or not _HALVES.search(text):
        out += ("s", text)
    else:
        out += ("u", text.encode("utf-8", "surrogatepass").hex())


def _array(value: Any, out: list[Any], depth: int) -> None:
    out += ("A", value.typecode)
    _flatten(array.array.tolist(value), out, depth)


def _chain(value: Any, out: list[Any], depth: int) -> None:
    merged: dict[Any, Any] = {}
    for one in reversed(value.maps):
        merged.update(one)
    _dict(merged, out, depth)


def _opaque(value: Any, out: list[Any], depth: int) -> None:
    """Truth and items by Python's own protocol, as the program has them.

    An object whose items do not end, or that fails over them, has none.
    """
    name = type(value).__name__[:80]
    try:
        truth = bool(value)
    except Exception:
        raise Unsendable(f"a value of type {name}, which is neither true nor false") from None
    length = None
    if hasattr(type(value), "__len__"):
        with contextlib.suppress(Exception):
            length = len(value)
    if hasattr(type(value), "__iter__"):
        items: list[Any] = []
        with contextlib.suppress(Exception):
            drawn = list(itertools.islice(value, MAX_TOKENS))
            if len(drawn) < MAX_TOKENS:
                _flatten(drawn, items, depth)
                out += ("O", name, truth, length, *items)
                return
    out += ("o", name, truth, length)


def _iterator(value: Any, out: list[Any], depth: int) -> None:
    drawn = list(itertools.islice(value, MAX_TOKENS))
    if len(drawn) == MAX_TOKENS:
        raise Unsendable(f"an iterator of {MAX_TOKENS} items or more")
    out += ("g", len(drawn))
    for item in drawn:
        _flatten(item, out, depth)


def _int(value: Any, out: list[Any], depth: int) -> None:
    if int.bit_length(value) < 63:
        out.append(int.__pos__(value))
    else:
        if int.bit_length(value) > 4 * (MAX_DIGITS if depth == 1 else MAX_DIGITS_INSIDE):
            raise Unsendable(f"an integer of {int.bit_length(value)} bits")
        # Hexadecimal takes linear time and is not subject to Python's limit on digits.
        out += ("i", int.__format__(value, "x"))


def _float(value: Any, out: list[Any], depth: int) -> None:
    out += ("f", float.hex(value))


def _complex(value: Any, out: list[Any], depth: int) -> None:
    plain = complex.__pos__(value)
    out += ("c", plain.real.hex(), plain.imag.hex())


def _fraction(value: Any, out: list[Any], depth: int) -> None:
    out.append("Q")
    _int(value.numerator, out, depth)
    _int(value.denominator, out, depth)


def _range(value: Any, out: list[Any], depth: int) -> None:
    parts = value.start, value.stop, value.step
    for part in parts:
        if int.bit_length(part) > 4 * MAX_DIGITS_RANGE:
            raise Unsendable(f"a range by an integer of {int.bit_length(part)} bits")
    if value and (value[-1] - value[0]) // value.step >= MAX_TOKENS:
        raise Unsendable("a range that is too long")
    out.append("r")
    for part in parts:
        _int(part, out, depth)


def _class(value: Any, out: list[Any], depth: int) -> None:
    for name, kind in _TYPES.items():
        if kind is value:
            out += ("T", name)
            return
    _opaque(value, out, depth)


# MBPP passes `int` as an argument.
_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (int, float, str, bool, list, tuple, dict, set, frozenset, bytes, complex, object)
}
_Writer = Callable[[Any, list[Any], int], None]
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
    type({}.keys()): _view("k"),
    type({}.values()): _view("v"),
    type({}.items()): _view("m"),
    range: _range,
    type(...): lambda value, out, depth: out.append("."),
    type: _class,
    fractions.Fraction: _fraction,
    decimal.Decimal: lambda value, out, depth: out.extend(("D", decimal.Decimal.__str__(value))),
    array.array: _array,
    # In Python these equal what they hold.
    collections.UserList: lambda value, out, depth: _flatten(value.data, out, depth),
    collections.UserDict: lambda value, out, depth: _flatten(value.data, out, depth),
    collections.UserString: lambda value, out, depth: _flatten(value.data, out, depth),
    collections.ChainMap: _chain,
}


def _flatten(value: Any, out: list[Any], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Unsendable(f"a value nested deeper than {MAX_DEPTH}")
    if len(out) > MAX_TOKENS:
        raise Unsendable(f"a value of more than {MAX_TOKENS} parts")
    kind = type(value)
    writer = _WRITERS.get(kind)
    if writer is None:
        for base in type.mro(kind)[1:]:
            if base in _WRITERS:
                writer = _WRITERS[base]
                break
        else:
            if hasattr(kind, "__next__") and hasattr(kind, "__iter__"):
                writer = _iterator
            elif _from_numpy(kind):
                if value.shape:
                    raise Unsendable(f"a value of type {kind.__name__}")
                value, writer = value.item(), _flatten
            else:
                writer = _opaque
    writer(value, out, depth + 1)


def _from_numpy(kind: type) -> bool:
    # A class that the program made with `type` need not have a module.
    return getattr(kind, "__module__", "") == "numpy" and hasattr(kind, "item")


def _said(token: object) -> str:
    if type(token) is not str:
        raise WireError("a tag without its text")
    return token


def _hex(token: object) -> str:
    if type(token) is not str or not token.isascii():
        raise WireError("a tag without its text")
    return token


def _count(token: object) -> range:
    if type(token) is not int or not 0 <= token <= MAX_TOKENS:
        raise WireError("a tag without its number of items")
    return range(token)


def _integer(token: object, reader: Iterator[Any], digits: int = MAX_DIGITS) -> int:
    if token == "i" and type(token) is str:
        text = _hex(next(reader))
        if len(text) > digits + 1:
            raise WireError(f"an integer of {len(text)} hexadecimal digits")
        return int(text, 16)
    if type(token) is not int:
        raise WireError("expected an integer")
    return token


def _pairs(reader: Iterator[Any], depth: int) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for _ in _count(next(reader)):
        key = _read(reader, depth)
        found[key] = _read(reader, depth)
    return found


def _read(reader: Iterator[Any], depth: int) -> Any:
    token = next(reader)
    kind = type(token)
    if kind is int or kind is bool or token is None:
        return token
    if kind is not str:
        raise WireError(f"a token of type {kind.__name__}")
    if depth > MAX_DEPTH:
        raise WireError(f"a value nested deeper than {MAX_DEPTH}")
    depth += 1
    if token == "s":
        return _said(next(reader))
    if token == "u":
        return bytes.fromhex(_hex(next(reader))).decode("utf-8", "surrogatepass")
    if token in ("l", "t", "e", "z", "q", "g"):
        items = [_read(reader, depth) for _ in _count(next(reader))]
        return _MAKERS[token](items)
    if token == "d":
        return _pairs(reader, depth)
    if token in ("k", "v", "m"):
        if next(reader) != "d":
            raise WireError("a view of no dict")
        found = _pairs(reader, depth)
        return {"k": found.keys, "v": found.values, "m": found.items}[token]()
    if token == "i":
        return _integer(token, reader, MAX_DIGITS if depth == 1 else MAX_DIGITS_INSIDE)
    if token == "f":
        return float.fromhex(_hex(next(reader)))
    if token == "c":
        return complex(float.fromhex(_hex(next(reader))), float.fromhex(_hex(next(reader))))
    if token == "b":
        return bytes.fromhex(_hex(next(reader)))
    if token == "y":
        return bytearray.fromhex(_hex(next(reader)))
    if token == "r":
        numbers = range(*[_integer(next(reader), reader, MAX_DIGITS_RANGE) for _ in range(3)])
        if numbers and (numbers[-1] - numbers[0]) // numbers.step >= MAX_TOKENS:
            raise WireError("a range that is too long")
        return numbers
    if token == "Q":
        return fractions.Fraction(*[_integer(next(reader), reader, MAX_FRACTION) for _ in range(2)])
    if token == "D":
        number = decimal.Decimal(_hex(next(reader)))
        if number.is_finite() and abs(number.adjusted()) > MAX_FRACTION:
            raise WireError("a decimal of that exponent")
        return number
    if token == "T":
        return _TYPES[_hex(next(reader))]
    if token == ".":
        return ...
    if token == "A":
        code, items = _said(next(reader)), _read(reader, depth)
        return array.array(code, items if type(items) is list else [])
    if token in ("o", "O"):
        name, truth, length = _said(next(reader)), next(reader), next(reader)
        if type(truth) is not bool or not (length is None or (type(length) is int and length >= 0)):
            raise WireError("an object without its truth or its length")
        held = _read(reader, depth) if token == "O" else None
        if token == "O" and type(held) is not list:
            raise WireError("an object without its items")
        return Opaque(name, truth, length, held)
    raise WireError("an unknown tag")


def _set(items: list[Any]) -> set[Any]:
    # One at a time, so that a judge's timer can end a build of colliding hashes.
    found = set()
    for item in items:
        found.add(item)
    return found


_MAKERS: dict[str, Callable[[list[Any]], Any]] = {
    "l": list,
    "t": tuple,
    "e": _set,
    "z": lambda items: frozenset(_set(items)),
    "q": collections.deque,
    "g": iter,
}
