"""The wire between judge and worker: values as flat JSON, each frame with its length before it.

In: plain Python values. Out: bytes, and plain values of the built-in types again. A frame is
four bytes of length (big-endian) and one JSON list without any list or mapping inside: kind, nonce,
and the tokens of a value in prefix order, as `flatten` makes them. Ints, strings after a tag,
booleans and null stand for themselves; a tag says what follows:

    s text | u hex | i hex | f hex | c hex hex | b hex | y hex | . (Ellipsis) | Q num den | D text
    T name (a built-in type itself, or NotImplemented)
    l n … | t n … | e n … | z n … | q n … | d n key value … | g n … | k d… | v d… | m d…
    x d… | C d… | F factory d…
    r start stop step | S start stop step | A code l… | w b… or y… or A…
    o name truth len traits | O name truth len traits l… | R number

(text with halves of surrogate pairs; list, tuple, set, frozenset, deque, dict, iterator, views of a
dict, OrderedDict, Counter, defaultdict, range, slice, array, memoryview, any other object without
and with items, the object with that number, counted from 0 through the answer). Size, number of
tokens, depth and numbers are capped, the first three before anything is parsed, and no part of a
frame is ever evaluated. It knows nothing of processes. Standard library only, since the worker
imports it too.
"""

from __future__ import annotations

import array
import collections
import decimal
import fractions
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .caps import (
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_DIGITS_INSIDE,
    MAX_DIGITS_RANGE,
    MAX_FRACTION,
    MAX_TOKENS,
    TYPES,
    Unsendable,
    too_much,
)
from .opaque import TRAITS, Opaque, fill, make

MAX_BYTES = 4 * 2**20
# One list of scalars, strings skipped whole: possessive, so the time is linear in the length.
_FLAT = re.compile(rb'\[(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+\]', re.DOTALL)


class WireError(ValueError):
    """A frame that is not one of ours: for the judge a verdict, never a crash."""


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


def decode(tokens: list[Any]) -> Any:
    """The value that the tokens say, of built-in types only. Raises WireError."""
    reader = iter(tokens)
    try:
        value = _read(reader, 0, [])
    except (StopIteration, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise WireError(f"tokens that make no value ({str(error)[:80]})") from None
    for _ in reader:
        raise WireError("tokens after the value")
    return value


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


def _pairs(reader: Iterator[Any], depth: int, known: list[Opaque]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for _ in _count(next(reader)):
        key = _read(reader, depth, known)
        found[key] = _read(reader, depth, known)
    return found


def _read(reader: Iterator[Any], depth: int, known: list[Opaque]) -> Any:
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
        items = [_read(reader, depth, known) for _ in _count(next(reader))]
        return _MAKERS[token](items)
    if token == "d":
        return _pairs(reader, depth, known)
    if token in ("k", "v", "m"):
        if next(reader) != "d":
            raise WireError("a view of no dict")
        found = _pairs(reader, depth, known)
        return {"k": found.keys, "v": found.values, "m": found.items}[token]()
    if token in ("x", "C", "F"):
        return _mapping(token, reader, depth, known)
    if token == "R":
        return known[next(reader)]
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
        text = _hex(next(reader))
        if too_much(text):
            raise WireError("a decimal of that size")
        return decimal.Decimal(text)
    if token == "T":
        return TYPES[_hex(next(reader))]
    if token == ".":
        return ...
    if token == "A":
        code, items = _said(next(reader)), _read(reader, depth, known)
        return array.array(code, items if type(items) is list else [])
    if token == "w":
        held = _read(reader, depth, known)
        if type(held) not in (bytes, bytearray, array.array):
            raise WireError("a view of no memory")
        return memoryview(held)
    if token == "S":
        return slice(*[_read(reader, depth, known) for _ in range(3)])
    if token in ("o", "O"):
        return _object(token, reader, depth, known)
    raise WireError("an unknown tag")


def _mapping(token: str, reader: Iterator[Any], depth: int, known: list[Opaque]) -> Any:
    factory = _read(reader, depth, known) if token == "F" else None
    if not (factory is None or isinstance(factory, type)) or next(reader) != "d":
        raise WireError("a mapping of no dict")
    pairs = _pairs(reader, depth, known)
    if token == "x":
        return collections.OrderedDict(pairs)
    found: dict[Any, Any] = (
        collections.Counter() if token == "C" else collections.defaultdict(factory)
    )
    # As `Counter.update` would add.
    dict.update(found, pairs)
    return found


def _object(token: str, reader: Iterator[Any], depth: int, known: list[Opaque]) -> Opaque:
    name, truth, length, traits = [next(reader) for _ in range(4)]
    if (
        type(name) is not str
        or type(truth) not in (bool, type(None))
        or not (length is None or (type(length) is int and length >= 0))
        or type(traits) is not str
        or not set(traits) <= set(TRAITS)
    ):
        raise WireError("an object without its truth, its length or its traits")
    made = make(name, truth, length, traits, known, token == "O")
    known.append(made)
    if token == "O":
        items = _read(reader, depth, known)
        if type(items) is not list:
            raise WireError("an object without its items")
        fill(made, items)
    return made


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
