"""Text that looks like an item of a task and is written otherwise."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest

from lora_ledger.analysis.overlap import ALIKE, Overlap, plain, seen, tokens

QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May "
    "to her oldest cousin."
)


def between(mark: str) -> Callable[[str], str]:
    """The mark between every two characters."""
    return mark.join


DISGUISES = {
    "soft hyphen": between("\u00ad"),
    "zero-width space": between("\u200b"),
    "zero-width joiner": between("\u200d"),
    "word joiner": between("\u2060"),
    "byte order mark": between("\ufeff"),
    "combining grapheme joiner": between("\u034f"),
    "variation selector": between("\ufe0f"),
    "left-to-right mark": between("\u200e"),
    "hangul filler": between("\u3164"),
    "tag": between("\U000e0041"),
    "control": between("\x01"),
    "next-line-free C1 control": between("\x9f"),
    "fullwidth": lambda text: "".join(
        chr(ord(c) + 0xFEE0) if "!" <= c <= "~" and c not in ".," else c for c in text
    ),
    "mathematical bold": lambda text: "".join(
        chr(0x1D41A + ord(c) - ord("a")) if "a" <= c <= "z" else c for c in text
    ),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "Cyrillic": lambda text: text.translate(str.maketrans("aceopxyAM", "асеорхуАМ")),
    "Greek": lambda text: text.translate(str.maketrans("oAMN", "οΑΜΝ")),
}


@pytest.mark.parametrize("name", DISGUISES)
def test_a_copy_is_found_however_it_is_written(name: str) -> None:
    written = DISGUISES[name](QUESTION)
    assert written != QUESTION
    for question, text in ((QUESTION, written), (written, QUESTION)):
        overlap = Overlap(["item"], [question])
        overlap.add("example", f"Before. {text} After.")
        overlap.finish()
        found = {measure for measure, what in overlap.measures.items() if what.hits}
        assert {"verbatim", "13-gram"} <= found


def test_case_is_no_difference_after_the_letters_were_replaced() -> None:
    """The word in capitals is the same word, also where only one of the cases looks Latin."""
    for letter in map(chr, ALIKE):
        assert plain(seen(letter.upper())) == plain(seen(letter.lower()))
    assert all(unicodedata.name(chr(code)).split()[0] in ("CYRILLIC", "GREEK") for code in ALIKE)


def test_what_separates_words_still_does() -> None:
    assert tokens("one\ttwo\nthree\x0bfour\x0cfive\rsix\x85seven\u2028eight") == [
        *("one", "two", "three", "four", "five", "six", "seven", "eight")
    ]
