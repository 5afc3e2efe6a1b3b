"""What is said of a key that cannot be used: the key, what was found, what was expected.

In: a key, a value and what would have been right. Out: a `KeyProblem`, which is a ValueError, so
that pydantic takes it up into its own. It decides nothing about studies.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class KeyProblem(ValueError):
    """One thing that is wrong: the key, what was found, what was expected."""

    def __init__(self, key: str, found: object, expected: str, near: str = "") -> None:
        hint = f"; did you mean {near!r}?" if near else ""
        super().__init__(f"{key}: found {found!r}, expected {expected}{hint}")


def nearest(found: str, known: Iterable[str]) -> str:
    """The known name most like `found`, or an empty string."""
    return next(iter(get_close_matches(found, list(known), n=1, cutoff=0.5)), "")


def require(key: str, found: str, known: Iterable[str], what: str) -> None:
    """Refuse a name that is not among those known."""
    names = list(known)
    if found not in names:
        raise KeyProblem(
            key, found, f"{what}: {', '.join(names) or 'none is there'}", nearest(found, names)
        )
