"""The smoke corpora: counts, and answers worked out again here."""

import re

import pytest

from lora_ledger.data.corpora.readers.smoke import read
from lora_ledger.data.corpora.selection import select


@pytest.mark.parametrize(
    ("kind", "counts"),
    [("text", 200), ("pairs", 200), ("code", 8), ("words", 60), ("choices", 80)],
)
def test_counts_survive_removal_of_copies(kind: str, counts: int) -> None:
    examples = list(read({}, {"kind": kind}))
    assert len(examples) == counts
    assert examples == list(read({}, {"kind": kind}))
    splits, found = select(examples, near_duplicates=False)
    assert sum(map(len, splits.values())) == counts - found["exact_duplicates"] >= counts - 2
    if kind not in ("code",):
        assert splits["train"]
        assert splits["test"]


def test_code_solutions_pass_their_tests_and_wrong_ones_fail() -> None:
    for one in read({}, {"kind": "code"}):
        for body, passes in ((one.response, True), ("    return None\n", False)):
            space: dict[str, object] = {}
            program = (
                f"{one.prompt}{body}{one.fields['test']}\ncheck({one.fields['entry_point']})\n"
            )
            if passes:
                exec(program, space)
            else:
                with pytest.raises(AssertionError):
                    exec(program, space)


def test_word_problems_and_choices_are_right() -> None:
    for one in read({}, {"kind": "words"}):
        boxes, each, lost = map(int, re.findall(r"\d+", str(one.fields["question"])))
        assert one.fields["answer"] == str(boxes * each - lost)
        assert one.response.endswith(f"\n#### {boxes * each - lost}")
    for one in read({}, {"kind": "choices"}):
        a, b, c = map(int, re.findall(r"\d+", str(one.fields["question"])))
        choices = one.fields["choices"]
        assert isinstance(choices, list)
        assert len(set(choices)) == 4
        assert choices[int(str(one.fields["gold"]))] == f"{c + (b - a)}" == one.response.strip()


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="expected one of text, pairs, code"):
        list(read({}, {"kind": "txet"}))
