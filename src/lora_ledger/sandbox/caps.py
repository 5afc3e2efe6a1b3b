"""What may cross the wire: how much of it, and the types that have a name there.

In: a decimal's text, a type. Out: whether it is too much, its name. It writes and reads nothing;
`flatten` keeps these limits for the worker's sake, `wire` for the judge's. Standard library only.
"""

from __future__ import annotations

import builtins
import collections
import decimal
import fractions
from typing import Any

MAX_TOKENS = 400_000
MAX_DEPTH = 200
# Hexadecimal digits of an integer: more would let one operation of a test take hours.
MAX_DIGITS = 2**18
# The same inside containers, where one operation meets many of them, and of a range's parts, whose
# items are made by the thousand.
MAX_DIGITS_INSIDE = 2**14
MAX_DIGITS_RANGE = 2**8
# Hexadecimal digits of a fraction's parts: each operation looks for a common divisor.
MAX_FRACTION = 2**10
# What an exception may have been given, to arrive with it.
TOLD = (str, bytes, int, float, bool, type(None))

# The order that Python goes by; a metaclass's `mro` may differ from it.
MRO: Any = vars(type)["__mro__"].__get__
# MBPP passes `int` as an argument; programs tell the type of what they are given.
TYPES: dict[str, Any] = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and not name.startswith("_")
} | {
    kind.__name__: kind
    for kind in (
        type(None), collections.deque, collections.OrderedDict, collections.Counter,
        collections.defaultdict, decimal.Decimal, fractions.Fraction,
    )
} | {"NotImplemented": NotImplemented}  # fmt: skip


class Unsendable(ValueError):
    """A value that is no plain data, or more of it than the wire takes."""


def too_much(text: str) -> bool:
    """Whether a decimal has more digits, or a larger exponent, than the tests should meet."""
    if len(text) > MAX_DIGITS_INSIDE:
        return True
    number = decimal.Decimal(text)
    return number.is_finite() and abs(number.adjusted()) > MAX_DIGITS_INSIDE


def type_name(value: Any) -> str:
    # By identity, since a metaclass may say that it equals any.
    return next((name for name, kind in TYPES.items() if kind is value), "")
