"""Text that looks like an item of a task and is written otherwise."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest

from lora_ledger.analysis.contamination import look
from lora_ledger.analysis.overlap import ALIKE, COMMON, GRAM, Overlap, plain, seen, template, tokens

QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May "
    "to her oldest cousin's office."
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
    "entities": lambda text: text.replace(" ", "&nbsp;").replace("N", "&#78;"),
    "entities escaped twice": lambda text: text.replace(" ", "&amp;#x20;"),
    "soft hyphens as entities": lambda text: text.replace("l", "&shy;l"),
    "apostrophes that are letters": lambda text: text.replace("'", "\u02bc"),
    "line breaks of Windows": lambda text: text.replace(" ", "\r\n"),
    "tabs": lambda text: text.replace(" ", "\t"),
    "ligatures": lambda text: text.replace("fi", "\ufb01"),
    "Turkish": lambda text: text.replace("i", "i\u0307").replace("I", "\u0130"),
    "dotless": lambda text: text.replace("i", "\u0131"),
    "Armenian and Latin's own": lambda text: text.translate(
        str.maketrans("aognh", "\u0251օ\u0261ոհ")
    ),
    "more Cyrillic": lambda text: text.translate(str.maketrans("dlq", "ԁӏԛ")),
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
    assert all(
        unicodedata.name(chr(code)).split()[0] in ("CYRILLIC", "GREEK", "LATIN", "ARMENIAN")
        for code in ALIKE
    )


def test_what_separates_words_still_does() -> None:
    assert tokens("one\ttwo\nthree\x0bfour\x0cfive\rsix\x85seven\u2028eight") == [
        *("one", "two", "three", "four", "five", "six", "seven", "eight")
    ]


# 14 words; the first 13 end in `ninth`, the last 13 begin with `some`.
FOURTEEN = "In some far land the eight small birds sang until the ninth came back?"
TWELVE = "In some far land the eight small birds sang until the ninth"


def hits(found: Overlap, name: str) -> dict[str, str]:
    """Item id to the id of the training example that was named."""
    return {found.ids[i]: hit.example for i, hit in found.measures[name].hits.items()}


def words(text: str) -> list[str]:
    return [plain(word) for word in tokens(text)]


def test_words() -> None:
    assert words("The cat's 3rd (best) day_job — naïve?") == [
        *("the", "cat", "s", "3", "rd", "best", "day", "job", "naïve"),
    ]
    assert words("$1,250.50, 1,000,000 and 3.5.") == ["1250.50", "1000000", "and", "3.5"]
    # Not thousands: three numbers, and two.
    assert words("[1,2,30] 1,2000") == ["1", "2", "30", "1", "2000"]
    # A combining accent and full-width digits are brought to their usual form.
    assert words("cafe\u0301 \uff11\uff12") == ["café", "12"]


def test_masks() -> None:
    def of(text: str) -> str:
        return " ".join(template(tokens(text)))

    assert of("Then Mary Ann paid $1,250.50 for 3 kg.") == "<name> paid <number> for <number> kg"
    # Whatever starts a sentence is masked, name or not, and the same in both texts.
    assert of("Natalia sold 48 clips. How many are left?") == (
        "<name> sold <number> clips <name> many are left"
    )
    assert of("and Natalia sold 7 clips. How many are left?") == (
        "and " + of("Max sold 48 clips. How many are left?")
    )
    # A row of like masks is one; numbers in words stay.
    assert of("1, 2.5, 30 and two of McDonald's") == "<number> and two of <name> s"
    assert of("Question: Max has") == of("Max has") == "<name> has"


def test_verbatim_is_the_whole_question_and_blind_to_case_and_marks() -> None:
    found = look(
        ["whole", "cut", "short", "tiny"],
        [FOURTEEN, f"{FOURTEEN} Why so?", "Is the tall tree, an oak?", "What is it?"],
        [
            ("a", "Nothing of the kind; what is it, is the tall tree."),
            ("b", f"Before. {FOURTEEN.upper().replace(' ', ' -- ')} Why? After."),
            ("c", "so is the\ntall tree an OAK then"),
            ("d", FOURTEEN),
        ],
    )
    assert hits(found, "verbatim") == {"whole": "b", "short": "c"}
    assert found.measures["verbatim"].measurable == [0, 1, 2]
    # `What is it?` has three words: it is in `a` and in any large text.
    assert found.measures["verbatim"].too_short == 1
    # Example `a`: 11 words; `b`: 1 + 14 + 2; `c`: 8; `d`: 14.
    assert (found.examples, found.words) == (4, 11 + 17 + 8 + 14)


def test_thirteen_words_in_a_row() -> None:
    assert len(words(FOURTEEN)) == 14
    assert len(words(TWELVE)) == 12
    found = look(
        ["long", "edge", "none", "twelve"],
        [
            FOURTEEN,
            f"{TWELVE} left",
            "one two three four five six seven eight nine ten eleven twelve fourteen",
            TWELVE,
        ],
        [
            ("a", f"{TWELVE} and one two three four five six seven eight nine ten eleven twelve"),
            ("b", "thirteen; some far land the eight small birds sang until the ninth came back"),
            ("c", f"but {TWELVE.lower()} left"),
        ],
    )
    # `a` has 12 words of each, `b` the last 13 of the first, `c` all 13 of the second.
    assert hits(found, "13-gram") == {"long": "b", "edge": "c"}
    measure = found.measures["13-gram"]
    assert (measure.measurable, measure.too_short, measure.common_only) == ([0, 1, 2], 1, 0)
    assert measure.hits[0].words == " ".join(words(FOURTEEN)[1:])


def test_nothing_matches_across_two_examples() -> None:
    half = FOURTEEN.split()
    first, second = " ".join(half[:7]), " ".join(half[7:])
    apart = look(["q"], [FOURTEEN], [("a", first), ("b", second)])
    assert not any(measure.hits for measure in apart.measures.values())
    together = look(["q"], [FOURTEEN], [("a", f"{first}\n{second}")])
    assert all(measure.hits for measure in together.measures.values())


@pytest.mark.parametrize("count", [COMMON, COMMON + 1])
def test_a_gram_of_more_than_ten_items_is_ignored(count: int) -> None:
    """Each question has the 13 shared words and one of its own: a shared gram, and one that ends
    in the own word. Only the latter is left when eleven items share the former."""
    shared = "read the list of small words and write down only the longest one:"
    assert len(words(shared)) == GRAM
    ids = [f"q{i}" for i in range(count)]
    asked = [f"{shared} {chr(ord('a') + i) * 3}" for i in range(count)]
    found = look(ids, asked, [("a", shared), ("b", asked[3])])
    expected = dict.fromkeys(ids, "a") if count == COMMON else {"q3": "b"}
    assert hits(found, "13-gram") == hits(found, "template") == expected
    assert found.measures["13-gram"].measurable == list(range(count))


def test_an_item_of_common_grams_alone_is_not_measurable() -> None:
    shared = "read the list of small words and write down only the longest one"
    found = look([f"q{i}" for i in range(11)], [shared] * 11, [("a", shared)])
    measure = found.measures["13-gram"]
    assert (measure.measurable, measure.common_only, measure.hits) == ([], 11, {})
    assert len(found.measures["verbatim"].hits) == 11


TEMPLATE = (
    "{0} picked {1} ripe red apples from the old tree and gave away half of them. How many "
    "are left?"
)


def test_a_template_is_found_under_other_names_and_numbers() -> None:
    found = look(
        ["made", "other"],
        [TEMPLATE.format("Mary", "48"), "Mary ate 48 pears, then slept in the old barn until dawn"],
        [("a", "Some text."), ("b", f"Question: {TEMPLATE.format('Old Mr Lee', '1,200.5')}")],
    )
    assert hits(found, "template") == {"made": "b"}
    # Between the number and the question's end stand 17 words, so plain 13-grams are shared too.
    assert hits(found, "13-gram") == {"made": "b"}
    assert hits(found, "verbatim") == {}
    # With a number in every eight words no plain run of 13 is left, but the template's is.
    asked = "Each of the 6 girls has 7 boxes and each of the boxes holds 8 pens"
    found = look(["q"], [asked], [("a", asked.translate(str.maketrans("678", "123")))])
    assert hits(found, "13-gram") == {}
    assert hits(found, "template") == {"q": "a"}


def test_a_gram_that_is_mostly_masks_is_no_template() -> None:
    """13 words of which five are masks leave eight, one too few; four leave nine."""
    asked = [f"Ben is 3 times older than Ann and {who} is 5 years old" for who in ("Bob", "she")]
    assert [len(template(tokens(text))) for text in asked] == [13, 13]
    training = [
        (who, f"Sue is 30 times older than Max and {who} is 50 years old") for who in ("Tim", "she")
    ]
    found = look(["five", "four"], asked, training)
    assert hits(found, "template") == {"four": "she"}
    assert found.measures["template"].measurable == [1]
    assert found.measures["template"].common_only == 1


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    training = [(f"x{i}", f"{i} {FOURTEEN if i == 37 else TWELVE}") for i in range(60)]
    whole = look(["q"], [FOURTEEN], training)
    monkeypatch.setattr(Overlap, "BATCH", 5)
    parts = look(["q"], [FOURTEEN], training)
    for name in ("verbatim", "13-gram", "template"):
        assert hits(parts, name) == hits(whole, name) == {"q": "x37"}
    assert (parts.examples, parts.words) == (whole.examples, whole.words)
