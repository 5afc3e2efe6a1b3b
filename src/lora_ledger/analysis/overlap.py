"""Which items of a task occur in a stream of training text: whole, by a 13-gram, by a template.

In: the items' ids and questions, then training examples one after another.
Out: for each of three measures, which items were hit and by which training example first. A match
is of whole words and exact: hashes only propose. Memory is that of the task, not of the stream.
It judges nothing, compares no answers and reads no file.

A *word* is a run of letters or a number: digits, a decimal part, and thousands separators, which
are dropped. All else separates words. Text is compared as it is seen: HTML's entities become their
characters, characters without a width (soft hyphens, zero-width spaces, marks of direction,
controls) are taken out, Unicode's NFKC makes one of the forms of a letter, and letters that look
like Latin ones or like an apostrophe become these, in the task and in the corpus alike. Case is no
difference.

A *masked* text has every number and every capitalised word masked, a run of like masks as one. A
word that starts a sentence is masked with the names: which of them is a name would take a lexicon
of the language to say, and as both texts are masked alike, `Natalia sold 48` still meets `Max sold
7`, and `How many` meets `How many`. Numbers in words stay. An n-gram of masked text counts when
most of it is left.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape

import numpy as np
import numpy.typing as npt

GRAM = 13
"""Words of an n-gram, as in Brown et al. 2020, appendix C."""
COMMON = 10
"""An n-gram that occurs in more items than this says nothing about one of them."""
PLAIN = 9
"""Unmasked words that an n-gram of masked text must have: `<name> is <number> times older than
<name> is <number> times older than <name>` is an idiom of arithmetic and no problem's template."""
SHORTEST = 5
"""A question of fewer words, such as `ice box`, occurs in any large text."""
MEASURES = ("verbatim", "13-gram", "template")
NUMBER, NAME = "<number>", "<name>"
MASKS = {NUMBER: 1, NAME: 2}

WORD = re.compile(r"[^\W\d_]+|\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?")
CONTROLS = bytes({*range(32), 127} - set(b"\t\n\v\f\r\x1c\x1d\x1e\x1f"))
# Unicode's Default_Ignorable_Code_Point, and the controls.
INVISIBLE = re.compile(
    f"[{re.escape(CONTROLS.decode())}\x80-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
# Cyrillic, Greek, then Latin's own and Armenian. A pair of cases is named where either of the two
# looks like a Latin letter, so that case stays no difference.
LATIN = "abehijkmopcstxywdql" + "abezhikmnoptyx" + "agounh"
ALIKE = str.maketrans("авеһіјкморсѕтхуԝԁԛӏ" + "αβεζηικμνορτυχ" + "ɑɡօսոհ", LATIN) | str.maketrans(
    "АВЕҺІЈКМОРСЅТХУԜԀԚӀ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ" + "ⱭꞬՕՍՈՀ", LATIN.upper()
)
# Letters to Unicode, marks to the eye; and Turkish's two, of which Python's `lower` makes a pair.
ALSO = ALIKE | dict.fromkeys(map(ord, "ʹʺʻʼʽʾʿˈˮꞌ"), "'") | str.maketrans("ıİ", "iI")
Ids = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint64]


def tokens(text: str) -> list[str]:
    """The words of `text` as seen; `plain` and `masked` say what each is compared as."""
    return WORD.findall(seen(text))


def seen(text: str) -> str:
    """The text without what has no width, with one form of each letter."""
    # An entity may have been escaped once more, as in `&amp;#39;`.
    for _ in range(2 if "&" in text else 0):
        text = ENTITY.sub(lambda found: unescape(found[0]), text)
    if text.isascii():
        return text.encode().translate(None, CONTROLS).decode()
    one = unicodedata.normalize("NFKC", INVISIBLE.sub("", text))
    return one.translate(ALSO).replace("i\u0307", "i")


def plain(word: str) -> str:
    """The word in lower case, a number without thousands separators."""
    return word.lower() if word[0].isalpha() else word.replace(",", "")


def masked(word: str) -> str:
    """The word in lower case, or the mask of a number or a capitalised word."""
    if not word[0].isalpha():
        return NUMBER
    return NAME if word[0].isupper() else word.lower()


def template(words: Iterable[str]) -> list[str]:
    """The masked words, a run of like masks as one."""
    found: list[str] = []
    for word in map(masked, words):
        if word not in (NUMBER, NAME) or not found or found[-1] != word:
            found.append(word)
    return found


@dataclass(frozen=True)
class Hit:
    """The first training example in which an item was found, and the words that matched."""

    example: str
    words: str


@dataclass
class Measure:
    """One measure's outcome; items are counted by their place in the task."""

    measurable: list[int]
    too_short: int = 0
    common_only: int = 0
    hits: dict[int, Hit] = field(default_factory=dict)


class _Vocabulary(dict[str, int]):
    """Words of the task to numbers from 1; any other word is 0 and is not kept."""

    def __missing__(self, word: str) -> int:
        return 0


class _Packed(dict[str, int]):
    """A word as written to both its numbers: as it is below, masked above bit 32."""

    LIMIT = 1 << 18

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        super().__init__({"": 0})
        self._vocabulary = vocabulary

    def __missing__(self, word: str) -> int:
        if len(self) > self.LIMIT:
            self.clear()
            self[""] = 0
        value = self._vocabulary[plain(word)] | self._vocabulary[masked(word)] << 32
        self[word] = value
        return value


class _Table:
    """Runs of word numbers, all of one length, each with the items that it is from."""

    def __init__(self, runs: Mapping[bytes, Sequence[int]], codes: Codes, odd: Codes) -> None:
        by_hash: dict[int, list[tuple[bytes, Sequence[int]]]] = {}
        if runs:
            ids = np.frombuffer(b"".join(runs), dtype=np.int64).reshape(len(runs), -1)
            values = (codes[ids] * odd[: ids.shape[1]]).sum(axis=1, dtype=np.uint64)
            for value, run in zip(values.tolist(), runs.items(), strict=True):
                by_hash.setdefault(value, []).append(run)
        self.hashes = np.array(sorted(by_hash), dtype=np.uint64)
        self.entries = [by_hash[value] for value in self.hashes.tolist()]


class Overlap:
    """The items of a task, looked for in every text that `add` is given.

    `ids` and `questions` are in the task's order. Call `finish` after the last text.
    """

    BATCH = 1 << 18

    def __init__(self, ids: Sequence[str], questions: Sequence[str]) -> None:
        self.ids = list(ids)
        self.examples = 0
        self.words = 0
        vocabulary = _Vocabulary(MASKS)
        rows = [tokens(question) for question in questions]
        views = ([[plain(word) for word in row] for row in rows], [template(row) for row in rows])
        for view in views:
            for row in view:
                for word in row:
                    if word not in vocabulary:
                        vocabulary[word] = len(vocabulary) + 1
        self._names = ["", *vocabulary]
        self._pack = _Packed(vocabulary)
        random = np.random.default_rng(0)
        # Odd, so that no factor is lost modulo 2^64; 0 is the code of a word that is in no item.
        self._codes = random.integers(2**63, size=len(self._names), dtype=np.uint64) * 2 + 1
        self._codes[0] = 0
        self._odd = random.integers(2**63, size=GRAM, dtype=np.uint64) * 2 + 1
        plain_ids, masked_ids = (
            [np.array([vocabulary[word] for word in row], dtype=np.int64) for row in view]
            for view in views
        )
        self._questions = plain_ids
        self.measures = {
            "verbatim": _long_enough(plain_ids),
            "13-gram": Measure([]),
            "template": Measure([]),
        }
        self._starts = self._anchors(plain_ids)
        self._grams = {
            "13-gram": self._tables("13-gram", plain_ids),
            "template": self._tables("template", masked_ids),
        }
        self._buffer: list[str] = []
        self._begins: list[int] = []
        self._found: list[str] = []

    def _anchors(self, rows: Sequence[Ids]) -> dict[int, _Table]:
        """The first words of every question, at most 13 of them, by how many they are."""
        runs: dict[int, dict[bytes, list[int]]] = {}
        for i in self.measures["verbatim"].measurable:
            start = rows[i][:GRAM]
            runs.setdefault(len(start), {}).setdefault(start.tobytes(), []).append(i)
        return {size: _Table(runs[size], self._codes, self._odd) for size in sorted(runs)}

    def _tables(self, name: str, rows: Sequence[Ids]) -> _Table:
        """The grams that count, and with them which items can be measured."""
        behind: dict[bytes, list[int]] = {}
        owned: list[set[bytes]] = []
        for i, row in enumerate(rows):
            until = np.concatenate([[0], np.cumsum(row <= len(MASKS))])
            rich = np.flatnonzero(until[GRAM:] - until[:-GRAM] <= GRAM - PLAIN)
            runs = {row[k : k + GRAM].tobytes() for k in rich.tolist()}
            owned.append(runs)
            for run in runs:
                behind.setdefault(run, []).append(i)
        kept = {run: items for run, items in behind.items() if len(items) <= COMMON}
        measure = self.measures[name]
        for i, (row, runs) in enumerate(zip(rows, owned, strict=True)):
            if len(row) < GRAM:
                measure.too_short += 1
            elif not any(run in kept for run in runs):
                measure.common_only += 1
            else:
                measure.measurable.append(i)
        return _Table(kept, self._codes, self._odd)

    def add(self, identifier: str, text: str) -> None:
        """One training example; `identifier` is what a hit will name."""
        words = tokens(text)
        self.examples += 1
        self.words += len(words)
        self._begins.append(len(self._buffer))
        self._found.append(identifier)
        self._buffer += words
        # Nothing matches the empty word, so nothing matches across two examples.
        self._buffer.append("")
        if len(self._buffer) >= self.BATCH:
            self.finish()

    def finish(self) -> None:
        """Look through what has been gathered."""
        packed = np.fromiter(
            map(self._pack.__getitem__, self._buffer), dtype=np.int64, count=len(self._buffer)
        )
        begins, found = np.array(self._begins, dtype=np.int64), self._found
        self._buffer, self._begins, self._found = [], [], []
        if not len(packed):
            return
        self._search(packed & 0xFFFFFFFF, begins, found, "13-gram", self._starts)
        # A run of like masks is one; so is a run of words of no item, where nothing matches anyway.
        high = packed >> 32
        keep = np.ones(len(high), dtype=bool)
        keep[1:] = (high[1:] != high[:-1]) | (high[1:] > len(MASKS))
        before = np.concatenate([[0], np.cumsum(keep)])
        self._search(high[keep], before[begins], found, "template", {})

    def _search(
        self, ids: Ids, begins: Ids, found: list[str], grams: str, anchors: Mapping[int, _Table]
    ) -> None:
        """Every run of words that a table holds; a run ends at the first word of no item."""
        ids = np.concatenate([ids, np.zeros(GRAM, dtype=np.int64)])
        codes = self._codes[ids]
        at = np.flatnonzero(codes)
        value = np.zeros(len(at), dtype=np.uint64)
        for size in range(1, GRAM + 1):
            code = codes[at + size - 1]
            going = code != 0
            at, value = at[going], value[going] + code[going] * self._odd[size - 1]
            if size in anchors:
                for where, run, items in _matches(anchors[size], at, value, ids, size):
                    begun = [i for i in items if self._stands(i, ids, where)]
                    self._note("verbatim", begun, run, where, begins, found)
        for where, run, items in _matches(self._grams[grams], at, value, ids, GRAM):
            self._note(grams, items, run, where, begins, found)

    def _stands(self, item: int, ids: Ids, where: int) -> bool:
        """Whether the whole question stands at a place where its first words do."""
        question = self._questions[item]
        return np.array_equal(ids[where : where + len(question)], question)

    def _note(
        self,
        name: str,
        items: Sequence[int],
        run: bytes,
        where: int,
        begins: Ids,
        found: list[str],
    ) -> None:
        """Keep the first hit of each item."""
        hits = self.measures[name].hits
        for i in items:
            if i not in hits:
                example = found[int(np.searchsorted(begins, where, side="right")) - 1]
                words = np.frombuffer(run, dtype=np.int64)
                hits[i] = Hit(example, " ".join(self._names[k] for k in words))


def _long_enough(rows: Sequence[Ids]) -> Measure:
    measurable = [i for i, row in enumerate(rows) if len(row) >= SHORTEST]
    return Measure(measurable, too_short=len(rows) - len(measurable))


def _matches(
    table: _Table, at: Ids, value: Codes, ids: Ids, size: int
) -> Iterable[tuple[int, bytes, Sequence[int]]]:
    """(place, run, items) of every run in the table, in the order of the text."""
    if not len(table.hashes) or not len(at):
        return
    place = np.minimum(np.searchsorted(table.hashes, value), len(table.hashes) - 1)
    for k in np.flatnonzero(table.hashes[place] == value).tolist():
        where = int(at[k])
        run = ids[where : where + size].tobytes()
        for known, items in table.entries[int(place[k])]:
            if known == run:
                yield where, run, items
