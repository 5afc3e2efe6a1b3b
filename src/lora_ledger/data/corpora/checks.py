"""The options of a corpus entry, checked the same way by every reader.

In: the entry's options. Out: nothing, or the value asked for; ValueError for a name that the reader
does not know or a value that it cannot use. `near_duplicates` is always allowed: `select` reads it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping


def known(options: Mapping[str, object], *names: str) -> None:
    """Refuse options other than `names`, with the nearest valid name."""
    allowed = (*names, "near_duplicates")
    for name in sorted(set(options) - set(allowed)):
        near = difflib.get_close_matches(name, allowed, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ValueError(
            f"options: found '{name}', expected one of {', '.join(allowed)}{hint} "
            "Correct the options of the corpus entry"
        )


def whole(options: Mapping[str, object], name: str, default: int, least: int) -> int:
    """The whole number that option `name` holds, at least `least`."""
    value = options.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(
            f"options, {name}: found {value!r}, expected a whole number of at least {least}; "
            "correct the options of the corpus entry"
        )
    return value
