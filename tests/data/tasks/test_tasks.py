"""The task files against upstream's, and what lm-eval renders from them."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lora_ledger.catalogue import CorpusEntry, entries
from lora_ledger.common.yaml import load
from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.store import save
from lora_ledger.data.tasks import TaskError, describe, names, read


def upstream(path: str) -> dict[str, Any]:
    """A task file of the installed lm-eval, read without running what it names."""
    spec = find_spec("lm_eval")
    assert spec is not None
    assert spec.origin is not None
    text = (Path(spec.origin).parent / "tasks" / path).read_text("utf-8")
    content: dict[str, Any] = load(text, functions=True)
    return content


def test_every_task_describes_itself() -> None:
    found = {name: describe(name) for name in names()}
    kinds: dict[str, set[str]] = {}
    for name, info in found.items():
        kinds.setdefault(info.kind, set()).add(name)
    assert kinds["continuation"] == {"lambada"}
    assert kinds["choices"] == {
        "arc-challenge", "arc-easy", "factbook-facts", "hellaswag", "hellaswag-klosax",
        "openbookqa", "piqa", "smoke-facts", "winogrande",
    }  # fmt: skip
    assert {n: i.judge for n, i in found.items() if i.executes_code} == {
        "humaneval": "humaneval",
        "mbpp": "mbpp",
        "smoke-code": "humaneval",
    }
    assert {n for n, i in found.items() if i.judge and not i.executes_code} == set()
    assert found["gsm-symbolic-unseen"].split == "test-unseen"
    assert found["gsm-symbolic"].split == "test-seen"
    assert len({i.digest for i in found.values()}) == len(found)


def test_every_task_says_what_changed_with_its_version() -> None:
    for name in names():
        said = read(name)["metadata"]
        versions = [change["version"] for change in said["changes"]]
        assert versions == sorted(set(versions))
        assert describe(name).version == str(versions[-1])
        assert all(change["change"] for change in said["changes"])


def test_an_account_of_changes_that_stops_short_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    said = read("gsm8k")
    said["metadata"]["version"] = 3.1
    monkeypatch.setattr("lora_ledger.data.tasks.read", lambda name: said)
    with pytest.raises(TaskError, match=r"'3\.1', expected '3\.0' as the last of its"):
        describe.__wrapped__("gsm8k")


def test_the_digest_is_blind_to_the_account_of_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = describe("gsm8k").digest
    said = read("gsm8k")
    said["metadata"]["changes"].insert(0, {"version": 2.0, "change": "another one"})
    monkeypatch.setattr("lora_ledger.data.tasks.read", lambda name: said)
    assert describe.__wrapped__("gsm8k").digest == before
    said["num_fewshot"] = 4
    assert describe.__wrapped__("gsm8k").digest != before


@pytest.mark.parametrize("name", [n for n in names() if "upstream" in read(n)["metadata"]])
def test_metrics_and_version_are_upstreams(name: str) -> None:
    ours = read(name)
    path = ours["metadata"]["upstream"]
    theirs = upstream(path)
    if "include" in theirs:
        theirs = {**upstream(str(Path(path).parent / theirs["include"])), **theirs}
    assert ours["metadata"]["version"] == theirs["metadata"]["version"]
    assert ours["output_type"] == theirs["output_type"]
    assert ours.get("num_fewshot", 0) == theirs.get("num_fewshot", 0)
    for key in ("target_delimiter", "fewshot_delimiter", "description", "repeats"):
        default = {"repeats": 1}.get(key)
        assert ours.get(key, default) == theirs.get(key, default)
    assert ours.get("generation_kwargs") == theirs.get("generation_kwargs")
    if not describe(name).executes_code:
        assert ours["metric_list"] == theirs["metric_list"]
        assert ours.get("filter_list") == theirs.get("filter_list")


def test_where_examples_come_from() -> None:
    found = {
        (name, corpus): describe(name, corpus).exemplars
        for name, corpus in (
            ("gsm8k", "gsm8k"), ("mbpp", "mbpp"), ("humaneval", "human-eval"),
            ("arc-easy", "arc-easy"), ("arc-easy", "arc-easy-hub"), ("hellaswag", "hellaswag"),
        )
    }  # fmt: skip
    assert list(found.values()) == [
        "exemplars", "listed", "", "own items", "exemplars", "own items",
    ]  # fmt: skip
    assert [describe(n).num_fewshot for n in ("gsm8k", "mbpp", "piqa")] == [5, 3, 0]
    assert [describe("gsm8k").shots(n) for n in (None, 0, 8)] == [5, 0, 8]


def test_a_task_names_corpora_of_the_catalogue_with_the_split_it_reads() -> None:
    for name in names():
        for corpus in read(name)["metadata"]["corpora"]:
            info = describe(name, corpus)
            entry = entries()[corpus]
            assert isinstance(entry, CorpusEntry)
            assert entry.splits[info.split].role == "test"
            if info.exemplars not in ("", "listed", "own items"):
                assert entry.splits[info.exemplars].role in ("exemplars", "train")


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    with pytest.raises(TaskError, match=r"one of arc-challenge, .*; did you mean 'humaneval'\?"):
        describe("human-eval")


def test_describing_needs_neither_torch_nor_lm_eval() -> None:
    program = (
        "import sys; from lora_ledger.data.tasks import describe; describe('humaneval'); "
        "print({'torch', 'lm_eval', 'datasets', 'transformers'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout == "set()\n", found.stderr


@pytest.mark.parametrize("name", ["gsm-symbolic", "gsm-symbolic-unseen", "smoke-words"])
def test_word_problems_are_judged_as_upstreams_gsm8k(name: str) -> None:
    ours, theirs = read(name), upstream("gsm8k/gsm8k.yaml")
    for key in ("filter_list", "metric_list", "output_type"):
        assert ours[key] == theirs[key]
    assert ours["generation_kwargs"]["until"] == theirs["generation_kwargs"]["until"]


def words(folder: Path, count: int = 9) -> Path:
    def row(i: int) -> Example:
        return Example(
            group=f"g{i}",
            prompt=f"Question: How many is {i} and 1?\nAnswer:",
            response=f" It is {i + 1}.\n#### {i + 1}",
            fields={"question": f"How many is {i} and 1?", "answer": str(i + 1)},
        )

    save({"test": [row(i) for i in range(count)], "train": [row(i) for i in range(50, 60)]}, folder)
    return folder


def test_a_partial_run_is_a_prefix_of_the_full_one(tmp_path: Path) -> None:
    from lora_ledger.data.tasks.loading import build

    loaded = build("smoke-words", words(tmp_path))
    whole = loaded.chosen(None)
    assert sorted(whole) == list(range(9))
    assert whole != sorted(whole)
    assert loaded.chosen(4) == whole[:4]
    prompts = [one[0].args[0] for one in loaded.instances]
    assert prompts == [document["prompt"] for document in loaded.documents]


def test_examples_come_before_the_prompt(tmp_path: Path) -> None:
    from lora_ledger.data.tasks.loading import build

    loaded = build("smoke-words", words(tmp_path), num_fewshot=2)
    again = build("smoke-words", tmp_path, num_fewshot=2)
    for document, (one,), (other,) in zip(
        loaded.documents, loaded.instances, again.instances, strict=True
    ):
        parts = one.args[0].split("\n\n")
        assert len(parts) == 3
        assert parts[2] == document["prompt"]
        assert all(int(part.split("#### ")[1]) > 50 for part in parts[:2])
        assert one.args[0] == other.args[0]


def test_examples_are_refused_where_there_are_none(tmp_path: Path) -> None:
    from lora_ledger.data.tasks.loading import build

    save({"test": [Example(group="a", prompt="def f():\n", response="    pass")]}, tmp_path)
    with pytest.raises(TaskError, match="expected 0"):
        build("smoke-code", tmp_path, num_fewshot=1)


def test_more_examples_than_there_are_are_refused(tmp_path: Path) -> None:
    from lora_ledger.data.tasks.loading import build

    with pytest.raises(TaskError, match="found num_fewshot 11, expected at most 10"):
        build("smoke-words", words(tmp_path), num_fewshot=11)
    fields = {"choices": ["a", "b"], "gold": 0}
    items = [Example(group=str(i), prompt=f"{i}?", fields=fields) for i in range(3)]
    save({"test": items}, tmp_path / "choices")
    assert len(build("smoke-facts", tmp_path / "choices", num_fewshot=2).documents) == 3
    with pytest.raises(TaskError, match="found num_fewshot 3, expected at most 2"):
        build("smoke-facts", tmp_path / "choices", num_fewshot=3)


def test_a_field_may_stand_in_place_of_a_column_but_not_name_the_row(tmp_path: Path) -> None:
    from lora_ledger.data.tasks.loading import build

    passage = Example(group="a", prompt="x", response=" y", fields={"text": "one two\nthree four"})
    save({"test": [passage]}, tmp_path / "passages")
    loaded = build("lambada", tmp_path / "passages")
    assert loaded.instances[0][0].args == ("one two\nthree", " four")
    assert loaded.documents[0]["response"] == " y"
    save({"test": [Example(group="a", prompt="x", fields={"id": 3})]}, tmp_path / "named")
    with pytest.raises(TaskError, match="found the fields id, expected other names"):
        build("lambada", tmp_path / "named")
    for number, pair in enumerate(((2**70, 1), (1, "a"), ([1], {"a": 1}))):
        folder = tmp_path / f"odd-{number}"
        odd = [Example(group=str(n), prompt="x", fields={"n": n}) for n in pair]
        save({"test": odd}, folder)
        with pytest.raises(TaskError, match="the field 'n': found values of several types, or a"):
            build("lambada", folder)


def test_a_function_is_taken_without_running_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    from lora_ledger.data.tasks.loading import function

    # What the module calls when it is imported.
    monkeypatch.setattr("evaluate.load", None)

    made = function("lm_eval.tasks.mbpp.utils.list_fewshot_samples")
    assert [sample["task_id"] for sample in made()] == [2, 3, 4]
    with pytest.raises(TaskError, match=r"found no module 'lm_eval\.tasks\.nowhere"):
        function("lm_eval.tasks.nowhere.utils.f")
    with pytest.raises(TaskError, match=r"found no function 'f', expected one in lm"):
        function("lm_eval.tasks.mbpp.utils.f")


def test_winogrande_scores_one_continuation_after_either_option(tmp_path: Path) -> None:
    from lora_ledger.data.tasks.loading import build

    fields = {
        "sentence": "Ann beat Ben, so _ was glad.", "option1": "Ann", "option2": "Ben",
        "answer": "1",
    }  # fmt: skip
    save({"test": [Example(group="a", prompt="x", fields=fields)]}, tmp_path)
    (several,) = build("winogrande", tmp_path).instances
    assert [request.args for request in several] == [
        ("Ann beat Ben, so Ann", " was glad."),
        ("Ann beat Ben, so Ben", " was glad."),
    ]


def test_choices_become_one_request_each(tmp_path: Path) -> None:
    from lora_ledger.data.tasks.loading import build

    fields = {"choices": ["Paris", "Rome"], "gold": 1}
    save({"test": [Example(group="a", prompt="Question: x?\nAnswer:", fields=fields)]}, tmp_path)
    loaded = build("smoke-facts", tmp_path)
    assert [r.args for r in loaded.instances[0]] == [
        ("Question: x?\nAnswer:", " Paris"),
        ("Question: x?\nAnswer:", " Rome"),
    ]
    # The first choice is likelier by its sum, the second per character.
    found = loaded.task.process_results(loaded.documents[0], [(-4.0, False), (-4.5, False)])
    assert (found["acc"], found["acc_norm"]) == (0.0, 0.0)
    found = loaded.task.process_results(loaded.documents[0], [(-5.1, False), (-4.0, False)])
    assert (found["acc"], found["acc_norm"]) == (1.0, 1.0)


def test_the_corpus_of_choices_gives_one_blank_before_each(tmp_path: Path) -> None:
    from lora_ledger.data.corpora import reader
    from lora_ledger.data.tasks.loading import build

    items = [one for one in reader("smoke")({}, {"kind": "choices"}) if one.split == "test"]
    save({"test": items}, tmp_path)
    loaded = build("smoke-facts", tmp_path)
    for document, requests in zip(loaded.documents, loaded.instances, strict=True):
        sent = [request.args[1] for request in requests]
        assert sent == [f" {choice}" for choice in document["choices"]]
        assert not any(text.startswith("  ") for text in sent)
