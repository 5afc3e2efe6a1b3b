"""Small texts and problems written for the project, for tests and the smoke study.

In: no source; the option `kind` (text, pairs, code, words or choices) and, for a repeat with other
content, `seed`. Out: 200 documents, 200 pairs, 8 code problems in HumanEval's layout, 60 word
problems that end in `#### n`, or 80 multiple-choice items. They are easy, alike and of no interest
in themselves: no number measured on them says anything about a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random

from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.checks import known, one_of

NOUNS = ("apple", "book", "card", "coin", "lamp", "letter", "marble", "pencil", "shell", "stone")
PEOPLE = ("Ada", "Ben", "Carla", "Deng", "Emil", "Fatima", "Goran", "Hana", "Ivo", "Jun")
VERBS = ("count", "list", "move", "pack", "read", "sort")
# Name, argument, what it does, the body's expression, and a call with its value.
FUNCTIONS = (
    ("double", "n", "Return twice the number n.", "n * 2", "4", "8"),
    ("square", "n", "Return the number n times itself.", "n * n", "5", "25"),
    ("is_even", "n", "Return True if n is even, else False.", "n % 2 == 0", "6", "True"),
    ("last", "items", "Return the last of the items.", "items[-1]", "[1, 2, 3]", "3"),
    ("total", "items", "Return the sum of the items.", "sum(items)", "[1, 2, 3]", "6"),
    ("largest", "items", "Return the largest of the items.", "max(items)", "[4, 9, 2]", "9"),
    ("shout", "text", "Return the text in capitals.", "text.upper()", "'abc'", "'ABC'"),
    ("mirror", "text", "Return the text backwards.", "text[::-1]", "'abc'", "'cba'"),
)


def read(sources: Mapping[str, Path], options: Mapping[str, object]) -> Iterator[Example]:
    """Examples of the kind that `options` names, the same ones for the same seed."""
    known(options, "kind", "seed")
    makers = {"text": texts, "pairs": pairs, "code": code, "words": words, "choices": choices}
    kind = one_of(options, "kind", makers)
    yield from makers[kind](Random(f"{kind} {options.get('seed', 0)}"))


def texts(random: Random) -> Iterator[Example]:
    """200 documents that look like small Python modules; the group is the document."""
    for number in range(200):
        noun, verb = random.choice(NOUNS), random.choice(VERBS)
        size, step = random.randint(2, 90), random.randint(2, 9)
        text = (
            f'"""Helpers that {verb} {noun}s, number {number}."""\n\n'
            f"SIZE = {size}\n\n\n"
            f"def {verb}_{noun}s(items):\n"
            f'    """Return each {noun} of items with its place, from {step}."""\n'
            f"    return [(place, one) for place, one in enumerate(items, {step})]\n\n\n"
            f"def {noun}_is_small(count):\n"
            f"    return count < SIZE - {step}\n"
        )
        yield Example(group=f"smoke-text/{number}", text=text)


def pairs(random: Random) -> Iterator[Example]:
    """200 pairs of signature with docstring and body; the group is the pair."""
    for number in range(200):
        noun = random.choice(NOUNS)
        factor, offset = random.randint(2, 60), random.randint(1, 60)
        prompt = (
            f"def price_of_{noun}s_{number}(count):\n"
            f'    """Return the price of count {noun}s at {factor} each, plus {offset}."""\n'
        )
        yield Example(
            group=f"smoke-pairs/{number}",
            prompt=prompt,
            response=f"    return count * {factor} + {offset}\n",
        )


def code(random: Random) -> Iterator[Example]:
    """Eight one-line problems in HumanEval's layout, in the split `test`."""
    del random
    for number, (name, argument, purpose, body, given, value) in enumerate(FUNCTIONS):
        prompt = f'def {name}({argument}):\n    """{purpose}\n    >>> {name}({given})\n'
        prompt += f'    {value}\n    """\n'
        yield Example(
            group=f"smoke-code/{number}",
            prompt=prompt,
            response=f"    return {body}\n",
            split="test",
            fields={
                "task_id": f"Smoke/{number}",
                "test": f"\n\ndef check(candidate):\n    assert candidate({given}) == {value}\n",
                "entry_point": name,
            },
        )


def words(random: Random) -> Iterator[Example]:
    """60 word problems with worked answers, 20 of them in the split `test`."""
    for number in range(60):
        person, noun = random.choice(PEOPLE), random.choice(NOUNS)
        boxes, each, lost = random.randint(2, 9), random.randint(3, 12), random.randint(1, 5)
        left = boxes * each - lost
        question = (
            f"{person} has {boxes} boxes with {each} {noun}s in each and loses {lost} of them. "
            f"How many {noun}s are left?"
        )
        answer = (
            f"There are {boxes} * {each} = {boxes * each} {noun}s.\n"
            f"Then {boxes * each} - {lost} = {left} are left.\n#### {left}"
        )
        yield Example(
            group=f"smoke-words/{number}",
            prompt=f"Question: {question}\nAnswer:",
            response=f" {answer}",
            split=("test", "validation", "train", "train", "train", "test")[number % 6],
            fields={"question": question, "answer": str(left), "template": "boxes", "seed": number},
        )


def choices(random: Random) -> Iterator[Example]:
    """80 items on which of four numbers or words comes next; half of them in the split `test`."""
    for number in range(80):
        start, step = number + 1, random.randint(2, 9)
        right = start + 3 * step
        wrong = [right + step + 1, right - 1, right + 2]
        gold = random.randrange(4)
        options = [*wrong[:gold], right, *wrong[gold:]]
        question = f"Which number follows {start}, {start + step}, {start + 2 * step}?"
        yield Example(
            group=f"smoke-choices/{number}",
            prompt=f"Question: {question}\nAnswer:",
            response=f" {right}",
            split=("train", "test")[number % 2],
            fields={
                "question": question,
                "choices": [str(one) for one in options],
                "gold": gold,
                "kind": "sequence",
            },
        )
