"""Shares of whole numbers, as they are written.

In: a number as a study says it. Out: the decimal that stands there. 0.29 × 100 is 29, and the
nearest binary number times 100 is a little less.
"""

from __future__ import annotations

from fractions import Fraction


def exactly(value: float) -> Fraction:
    """The shortest decimal that stands for the finite `value`, as a fraction."""
    return Fraction(repr(value))
