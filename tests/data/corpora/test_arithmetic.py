"""Statements read out of solutions, against values worked out by hand."""

from fractions import Fraction

import pytest

from lora_ledger.data.corpora.arithmetic import statements, value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She paid 7 x $13 = $91 in all.", [(91, 91)]),
        ("240 mushroom / 4 mushroom/minute = 60 minutes", [(60, 60)]),
        ("After 2 weeks, it is 525 patients/week * 2 weeks = 1050 patients", [(1050, 1050)]),
        ("a fee of $360,000 x 6/100 = $21,600.", [(21600, 21600)]),
        ("$270 * 40% = $108", [(108, 108)]),
        ("139 spools / 556 spools * 100% = 25%", [(Fraction(1, 4), Fraction(1, 4))]),
        ("20% of 50 apples = 10 apples", [(10, 10)]),
        ("5+2(21)=47 minutes", [(47, 47)]),
        ("2(73+57) = 260", [(260, 260)]),
        ("12 ÷ 4 = 3 and then 3 − 1 = 2", [(3, 3), (2, 2)]),
        ("   - So 90 plants needed - 18 owned = 72 plants", [(72, 72)]),
        ("20 oz/5 = 4 oz", [(4, 4)]),
        ("10 ÷ 3 = 3.33", [(Fraction(10, 3), Fraction(333, 100))]),
    ],
)
def test_true_statements_hold(text: str, expected: list[tuple[object, object]]) -> None:
    found = list(statements(text))
    assert [(one.left, one.right) for one in found] == expected
    assert all(one.holds for one in found)


@pytest.mark.parametrize(
    "text",
    [
        "143 / 22 = 6 racks",
        "10 / 3 = 3.3333334",
        "14÷1/3=42 minutes",
        "7 x $13 = $92",
        "2 + 2 = 4 and 2 + 3 = 6",
        "15=15 emails",
        "0.58*40 = 23 students",
    ],
)
def test_false_and_empty_statements_do_not(text: str) -> None:
    assert not all(one.holds for one in statements(text))


@pytest.mark.parametrize("text", ["75 + 32 + T = 107 + T", "we get 2x=162", "Mary = 20 points"])
def test_unknowns_are_told_apart(text: str) -> None:
    assert [one.algebraic for one in statements(text)] == [True]


def test_value_is_exact_and_refuses_the_rest() -> None:
    assert value(["0.1", "+", "0.2"]) == Fraction(3, 10)
    assert value(["(", "1", "+", "2", ")", "*", "3"]) == 9
    assert value(["1", "/", "0"]) is None
    assert value(["1", "+"]) is None
    assert value([]) is None
