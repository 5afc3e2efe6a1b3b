"""The options of a corpus entry, checked the same way by every reader.

In: the entry's options. Out: nothing, or the value asked for; ValueError for a name that the reader
does not know or a value that it cannot use. `near_duplicates` is always allowed: `select` reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lora_ledger.common.errors import nearest


def known(options: Mapping[str, object], *names: str) -> None:
    """Refuse options other than `names`, with the nearest valid name."""
    allowed = (*names, "near_duplicates")
    for name in sorted(set(options) - set(allowed)):
        raise ValueError(
            f"options: found '{name}', expected one of {', '.join(allowed)}{_near(name, allowed)}"
        )


def whole(options: Mapping[str, object], name: str, default: int, least: int) -> int:
    """The whole number that option `name` holds, at least `least`."""
    value = options.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(
            f"options.{name}: found {value!r}, expected a whole number of at least {least}; "
            "correct the options of the corpus entry"
        )
    return value


def one_of(
    options: Mapping[str, object], name: str, allowed: Iterable[str], default: str | None = None
) -> str:
    """The value of option `name`, which is one of `allowed`."""
    value, names = options.get(name, default), list(allowed)
    if value not in names:
        raise ValueError(
            f"options.{name}: found {value!r}, expected one of {', '.join(names)}"
            f"{_near(str(value), names)}"
        )
    return str(value)


def _near(found: str, allowed: Iterable[str]) -> str:
    near = nearest(found, allowed)
    return f"; did you mean '{near}'?" if near else "; correct the options of the corpus entry"
