"""The arithmetic statements of a worked solution, recomputed.

In: the text of a solution such as "7 x $13 = $91 and $91 + $9 = $100". Out: each statement with
the value of its left side, the value that the text states, and whether they agree. Units, currency
marks and the words around a statement are passed over; a statement with an unknown in it is told
apart from one that cannot be read. It does not judge whether the steps answer the question.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

NUMBER = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+")
TOKEN = re.compile(
    rf"(?P<number>{NUMBER.pattern})|(?P<unit>/\s*[A-Za-z]+)|(?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*)"
    r"|(?P<operator>[-+*/×÷−()%])|(?P<stop>[.,:;!?•]|\n)|(?P<other>\S)"
)
SIGNS = {"×": "*", "x": "*", "÷": "/", "−": "-"}
BULLET = re.compile(r"^\s*(?:[-•*]\s+|\d+[.)]\s+)", re.MULTILINE)
OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Statement:
    """One equals sign of a text. `left` and `right` are None where a side has no value."""

    text: str
    left: Fraction | None
    right: Fraction | None
    algebraic: bool
    holds: bool


def statements(text: str) -> Iterator[Statement]:
    """The statements of `text` in order; in `a = b = c` both signs count."""
    for line in BULLET.sub("", text).splitlines():
        sides = line.split("=")
        for before, after in pairwise(sides):
            yield _statement(before, after)


def _statement(before: str, after: str) -> Statement:
    left, unknown = _expression(before, backwards=True)
    right, unknown_too = _expression(after, backwards=False)
    text = f"{before.strip()} = {after.strip()}"
    # `Mary = 0.5 * 290` names a value: its first sign states nothing that could be recomputed.
    if unknown or unknown_too or not left:
        return Statement(text, None, None, algebraic=True, holds=False)
    one, other = value(left), value(right)
    if one is None or other is None or (left == right and len(left) == 1):
        return Statement(text, one, other, algebraic=False, holds=False)
    # A stated decimal may be rounded at its last digit; a whole number may not.
    digits = re.search(r"\.(\d+)$", right[0]) if len(right) == 1 else None
    tolerance = Fraction(1, 2 * 10 ** len(digits[1])) if digits else Fraction(0)
    holds = abs(one - other) <= tolerance
    if right[-1:] == ["%"]:
        holds = holds or one == 100 * other
    return Statement(text, one, other, algebraic=False, holds=holds)


def _expression(side: str, *, backwards: bool) -> tuple[list[str], bool]:
    """The tokens of the expression that touches the equals sign, and whether it has an unknown."""
    tokens: list[tuple[str, str]] = []
    for match in TOKEN.finditer(side):
        kind, token = str(match.lastgroup), match.group()
        glued = match.start() > 0 and side[match.start() - 1].isdigit()
        if kind == "word" and token in ("x", "X") and not glued:
            following = side[match.end() :].lstrip()
            previous = any(one in ("number", "sign") for one, _ in tokens)
            if previous and re.match(r"[$€£(]?\d", following):
                tokens.append(("sign", "*"))
                continue
        if kind == "word" and token == "of" and tokens and tokens[-1][1] == "%":
            tokens.append(("sign", "*"))
        elif kind == "word":
            # One letter on its own, or one that follows a digit, stands for a number.
            single = len(token) == 1 and token not in ("a", "A", "I", "s")
            tokens.append(("unknown", token) if single else ("word", token))
        elif kind == "operator":
            tokens.append(("sign", SIGNS.get(token, token)))
        elif kind != "other" or token not in "$€£":
            tokens.append((kind, token))
    if backwards:
        tokens.reverse()
    taken: list[str] = []
    unknown = False
    for kind, token in tokens:
        if kind in ("word", "unit"):
            continue
        if kind == "unknown":
            unknown = True
            break
        if kind in ("stop", "other"):
            break
        both_numbers = kind == "number" and taken and NUMBER.fullmatch(taken[-1])
        if both_numbers:
            break
        taken.append(token.replace(",", ""))
    if backwards:
        taken.reverse()
    while taken and taken[-1] in "+-*/(":
        taken.pop()
    while taken and taken[0] in "+*/)%":
        taken.pop(0)
    return taken, unknown


def value(tokens: list[str]) -> Fraction | None:
    """The exact value of an expression given as tokens; None when it is not one."""
    text = " ".join(tokens).replace("%", "/ 100")
    text = re.sub(r"(\d|\)) \(", r"\1 * (", text)
    text = re.sub(r"\) (\d)", r") * \1", text)
    text = re.sub(r"\b0+(?=\d)", "", text)
    try:
        return _value(ast.parse(text, mode="eval").body, text)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return None


def _value(node: ast.expr, text: str) -> Fraction:
    if isinstance(node, ast.Constant):
        return Fraction(ast.get_source_segment(text, node) or "")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, text)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        return OPERATIONS[type(node.op)](_value(node.left, text), _value(node.right, text))
    raise ValueError(text)
