"""Overlap on texts small enough to be worked out by hand, and two facts about GSM8K."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from lora_ledger.analysis.contamination import look, results, verdict
from lora_ledger.analysis.overlap import COMMON, GRAM, Overlap, plain, template, tokens
from lora_ledger.catalogue import CorpusEntry
from lora_ledger.common.errors import KeyProblem
from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.selection import content, identifier
from lora_ledger.data.corpora.store import load as load_rows
from lora_ledger.data.corpora.store import save
from lora_ledger.records.record import Record
from lora_ledger.stages.contaminate import (
    contaminate,
    noise_splits,
    questions,
    training_splits,
)
from lora_ledger.study import cells, sources

# 14 words; the first 13 end in `ninth`, the last 13 begin with `some`.
FOURTEEN = "In some far land the eight small birds sang until the ninth came back?"
TWELVE = "In some far land the eight small birds sang until the ninth"


def words(text: str) -> list[str]:
    return [plain(word) for word in tokens(text)]


def hits(found: Overlap, name: str) -> dict[str, str]:
    """Item id to the id of the training example that was named."""
    return {found.ids[i]: hit.example for i, hit in found.measures[name].hits.items()}


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


SHARES = {"verbatim": Fraction(0), "13-gram": Fraction(0), "template": Fraction(0)}


@pytest.mark.parametrize(
    ("changes", "noise", "stopped"),
    [
        ({}, None, []),
        ({"verbatim": Fraction(1, 5000)}, None, ["verbatim"]),
        ({"13-gram": Fraction(13, 1300)}, None, []),
        ({"13-gram": Fraction(14, 1300)}, None, ["13-gram"]),
        ({"template": Fraction(1)}, None, []),
        ({"template": Fraction(13, 1300)}, Fraction(0), []),
        ({"template": Fraction(14, 1300)}, Fraction(0), ["template"]),
        ({"template": Fraction(15, 1317)}, Fraction(3, 1317), []),
        ({"template": Fraction(16, 1317)}, Fraction(3, 1317), ["template"]),
        ({"13-gram": None, "template": None}, Fraction(0), []),
        (
            {"verbatim": Fraction(1), "13-gram": Fraction(1), "template": Fraction(1)},
            Fraction(1, 10),
            ["verbatim", "13-gram", "template"],
        ),
    ],
)
def test_verdict_at_the_limits(
    changes: dict[str, Fraction | None], noise: Fraction | None, stopped: list[str]
) -> None:
    assert [stop[0] for stop in verdict({**SHARES, **changes}, noise)] == stopped


def entry(**splits: dict[str, Any]) -> CorpusEntry:
    return CorpusEntry.model_validate(
        {
            "type": "corpus",
            "title": "made up",
            "reader": "jsonl",
            "content": "pairs",
            "splits": splits,
            "licence": "CC0-1.0",
            "citation": "none",
        }
    )


def test_which_splits_are_training_and_which_are_noise() -> None:
    train, test = {"role": "train"}, {"role": "test"}
    own = entry(train=train, val={"role": "validation"}, test=test, shots={"role": "exemplars"})
    assert training_splits(own) == noise_splits(own) == ["train", "val"]
    published = entry(shots={"role": "exemplars", "as_published": True}, test=test)
    assert (training_splits(published), noise_splits(published)) == ([], ["shots"])
    handful = entry(shots={"role": "exemplars"}, test=test)
    assert noise_splits(handful) == noise_splits(entry(test=test)) == []


def test_results_name_items_examples_and_reasons() -> None:
    ids = [f"q{i}" for i in range(100)]
    # 14 words, of which both runs of 13 hold the two that are the item's own.
    tail = TWELVE.removeprefix("In ")
    asked = [f"item {chr(97 + i // 10) * 2} {chr(97 + i % 10) * 2} {tail}" for i in range(100)]
    training = [("t0", asked[7]), ("t1", f"{asked[9]}!"), ("t2", " ".join(words(asked[11])[1:]))]
    told = results(look(ids, asked, training), asked, look(ids, asked, [("n", asked[50])]))
    assert told["items"] == 100
    # `t2` lacks the first word: 13 words of 14 in a row.
    assert told["measures"]["verbatim"]["ids"] == ["q7", "q9"]
    assert told["measures"]["13-gram"]["ids"] == told["dirty"] == ["q7", "q9", "q11"]
    assert told["measures"]["13-gram"]["share"] == 0.03
    assert [(one["item"], one["measure"], one["example"]) for one in told["excerpts"]] == [
        ("q7", "verbatim", "t0"),
        ("q9", "verbatim", "t1"),
        ("q11", "13-gram", "t2"),
    ]
    assert told["noise"]["measures"]["template"]["share"] == 0.01
    # Template: 3 of 100 is not above five times 1 of 100.
    assert [(one["measure"], one["share"], one["limit"]) for one in told["stops"]] == [
        ("verbatim", 0.02, 0.0),
        ("13-gram", 0.03, 0.01),
    ]
    assert told["stops"][1]["items"][2] == {"id": "q11", "question": asked[11][:80]}


@dataclass
class Pair:
    """A study of the smoke corpora, with their folders."""

    folder: Path
    study: dict[str, Any]

    def measure(self, **changes: Any) -> Record:
        path = self.folder / "study.yaml"
        path.write_text(yaml.safe_dump({**self.study, **changes}), "utf-8")
        data = self.folder / "smoke-words"
        return contaminate(str(path), "smoke-words", "words", data, data, self.folder / "c.json")


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Two training problems; one test problem is the first with another number, one is unlike."""
    asked = {
        "train": "Ada has 3 boxes with 4 shells in each and loses 2 of them. How many are left?",
        "validation": "A bus with 40 seats left the town at nine and met another one at noon.",
        "seen": "Ben has 8 boxes with 9 shells in each and loses 5 of them. How many are left?",
        "new": "Jun reads a book of ninety pages, ten each day. How many days does that take?",
    }

    def example(name: str) -> Example:
        question = asked[name]
        return Example(
            group=name,
            prompt=f"Question: {question}\nAnswer:",
            response=" 4\n#### 4",
            fields={"question": question, "answer": "4"},
        )

    splits = {
        "train": [example("train")],
        "validation": [example("validation")],
        "test": [example("seen"), example("new")],
    }
    save(splits, tmp_path / "smoke-words")
    study = {
        "name": "pair",
        "title": "one pair",
        "model": "tiny-random-llama",
        "seeds": [1],
        "settings": {"math": {"corpus": "smoke-words", "regime": "ift", "tasks": ["words"]}},
        "methods": {"full": {"kind": "full", "learning_rates": [1.0e-3]}},
        "budgets": {"tokens": {"tokens": 100}},
        "evaluation": {"generate": {"words": {"task": "smoke-words"}}},
    }
    return Pair(tmp_path, study)


def test_the_stage_on_a_corpus_and_its_own_test_split(pair: Pair) -> None:
    record = pair.measure()
    (seen,) = [
        row["id"]
        for row in load_rows(pair.folder / "smoke-words", "test")
        if row["fields"]["question"].startswith("Ben")
    ]
    told = record.results
    assert (record.stage, record.cell) == ("contaminate", "smoke-words/words")
    assert told["training"]["splits"] == ["train", "validation"]
    assert told["training"]["examples"] == 2
    assert told["items"] == 2
    # No 13 words stand between two numbers, but the template is the same.
    assert told["measures"]["13-gram"]["ids"] == told["dirty"] == []
    assert told["measures"]["template"]["ids"] == [seen]
    # The corpus is the task's own: what is measured is the noise, and stops nothing.
    assert told["noise"]["measures"] == told["measures"]
    assert told["stops"] == []
    assert record.science.settings["permitted"] is None


def test_a_permission_stands_in_the_record(pair: Pair) -> None:
    reason = "the same template with other numbers, by design"
    permission = {"corpus": "smoke-words", "task": "words", "reason": reason}
    record = pair.measure(contamination=[permission])
    assert record.science.settings["permitted"] == reason
    assert record.id != pair.measure().id


def test_errors_name_what_is_missing(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match=r"metadata\.question: found 'query'.*question"):
        questions(pair.folder / "smoke-words", "test", "query")
    (pair.folder / "smoke-words" / "validation").rename(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="the split 'validation' that the catalogue names"):
        pair.measure()


def gsm8k(mirror: Path, split: str) -> list[dict[str, str]]:
    lines = (mirror / f"gsm8k-{split}.jsonl").read_text("utf-8").rstrip("\n").split("\n")
    return [json.loads(line) for line in lines]


def gsm8k_found(mirror: Path, training: list[tuple[str, str]]) -> tuple[Overlap, list[str]]:
    asked = [row["question"] for row in gsm8k(mirror, "test")]
    return look([f"test-{i}" for i in range(len(asked))], asked, training), asked


def published_train(mirror: Path) -> list[tuple[str, str]]:
    return [
        (f"train-{i}", f"{row['question']}\n{row['answer']}")
        for i, row in enumerate(gsm8k(mirror, "train"))
    ]


def test_gsm8k_train_is_clean_and_what_is_made_of_its_test_split_is_not(
    mirror: Path, wheel: Callable[[str], Path]
) -> None:
    noise, asked = gsm8k_found(mirror, published_train(mirror))
    told = results(noise, asked, noise)
    assert (told["items"], told["training"]["examples"]) == (1319, 7473)
    assert told["stops"] == []
    # A plain search for the same: no question stands whole, and three share 13 words in a row.
    text = [" ".join(["", *words(one), ""]) for _, one in published_train(mirror)]
    runs = {
        tuple(row[k : k + GRAM]) for row in map(str.split, text) for k in range(len(row) - GRAM + 1)
    }
    plainly = [
        f"test-{i}"
        for i, question in enumerate(asked)
        if any(tuple(words(question)[k : k + GRAM]) in runs for k in range(len(words(question))))
    ]
    assert told["measures"]["13-gram"]["ids"] == plainly
    assert len(plainly) == 3
    everything = "\n".join(text)
    assert not any(" ".join(["", *words(question), ""]) in everything for question in asked)

    from lora_ledger.data.corpora.readers.gsm_symbolic import read

    training = [
        (identifier(one), content(one))
        for one in read({"reasoning-gym": wheel("reasoning-gym")}, {})
        if one.split in ("train", "validation")
    ]
    found, asked = gsm8k_found(mirror, training)
    told = results(found, asked, noise)
    assert [stop["measure"] for stop in told["stops"]] == ["13-gram", "template"]
    # 63 templates are seen in training, each made from one test problem.
    assert 30 < told["measures"]["13-gram"]["hits"] <= told["measures"]["template"]["hits"] <= 63


def test_which_pairs_of_smoke_stop(tmp_path: Path) -> None:
    """Problems of one template share 13 words wherever a number happens to be the same."""
    from lora_ledger.data.corpora import reader
    from lora_ledger.data.corpora.selection import select
    from lora_ledger.study.file import load

    study = load("smoke")
    for name in sources.corpora(study):
        options = study.corpus_entry(name).options
        save(select(reader("smoke")({}, options), near_duplicates=False)[0], tmp_path / name)
    stopped = {}
    for corpus, run in cells.pairs(study):
        data = tmp_path / cells.task_of(study, run).corpus
        out = tmp_path / "c.json"
        told = contaminate("smoke", corpus, run, tmp_path / corpus, data, out).results
        if told["stops"]:
            stopped[corpus, run] = [stop["measure"] for stop in told["stops"]]
    assert stopped == {("smoke-words", "words"): ["13-gram"]}


def test_a_copied_item_is_found_whatever_form_its_question_has() -> None:
    """WinoGrande's blank and HellaSwag's activity stand in no text that holds the item."""
    from lora_ledger.data.corpora.readers.hellaswag import rendered
    from lora_ledger.data.corpora.readers.winogrande import _example
    from lora_ledger.data.tasks import describe

    fields = {
        "sentence": "The trophy does not fit into the case because the _ is too big.",
        "option1": "trophy",
        "option2": "case",
        "answer": "1",
    }
    asked = _example("row 1", "test", fields).fields["asked"]
    assert asked == "The trophy does not fit into the case because the trophy is too big."
    row = {
        "activity_label": "Washing dishes",
        "ctx_a": "A man stands at a sink.",
        "ctx_b": "he",
        "endings": ["sings.", "washes a plate.", "sleeps.", "drives off."],
        "label": "1",
        "source_id": "activitynet~v_1",
    }
    assert rendered(row, "row 1")["asked"] == "A man stands at a sink. He"
    assert rendered(row, "row 1")["query"] == "Washing dishes: A man stands at a sink. He"
    for name in ("winogrande", "hellaswag", "hellaswag-klosax"):
        assert describe(name).question == "asked"


def test_noise_is_measured_on_what_was_published_to_train_on() -> None:
    """A validation split alone is no training set: the published train, kept for prompts, is."""
    from lora_ledger.catalogue import CorpusEntry, entries
    from lora_ledger.stages.contaminate import noise_splits

    entry = entries()["arc-challenge-hub"]
    assert isinstance(entry, CorpusEntry)
    assert set(noise_splits(entry)) == {"validation", "exemplars"}
    gsm8k = entries()["gsm8k"]
    assert isinstance(gsm8k, CorpusEntry)
    assert set(noise_splits(gsm8k)) == {"train", "validation"}
