"""The stage from files to files, on completions that were scored by hand."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import pytest

from lora_ledger.common.errors import KeyProblem
from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.readers.smoke import read as smoke
from lora_ledger.data.corpora.store import load as load_rows
from lora_ledger.data.corpora.store import save
from lora_ledger.records.atomic import jsonl_gz
from lora_ledger.records.record import Record
from lora_ledger.stages.score import score
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study
from made_records import write_record

SMOKE = Path(__file__).parents[2] / "config" / "smoke.yaml"


@pytest.fixture(scope="module")
def study() -> Study:
    return load(str(SMOKE))


def scored(
    study: Study,
    run_name: str,
    data: Path,
    completions: list[list[str]],
    out: Path,
    work: Path | None = None,
) -> tuple[Record, list[dict[str, str]]]:
    """Score completions, by problem, in reversed order of the problems."""
    documents = load_rows(data, "test")
    problems = list(range(len(completions)))[::-1]
    rows = [
        {
            "problem": p,
            "id": documents[p]["id"],
            "sample": j,
            "prompt": documents[p]["prompt"],
            "completion": text,
            "tokens": 1,
            "finish": "stop",
        }
        for p in problems
        for j, text in enumerate(completions[p])
    ]
    out.mkdir(exist_ok=True)
    (out / "g.jsonl.gz").write_bytes(jsonl_gz(rows))
    write_record(
        out / "g.json", stage="generate", cell="base", inputs={}, code="", settings={},
        results={
            "problems": problems,
            "ids": [documents[p]["id"] for p in problems],
            "groups": [documents[p]["group"] for p in problems],
            "samples": len(completions[0]),
            "companion": {"nats": [1.0] * len(problems), "bytes": [1] * len(problems)},
        },
    )  # fmt: skip
    record = score(
        study, run_name, "base", out / "g.jsonl.gz", out / "g.json", data, out / "s.json",
        out / "s.csv.gz", 2, work,
    )  # fmt: skip
    table = gzip.decompress((out / "s.csv.gz").read_bytes()).decode().splitlines()
    return record, list(csv.DictReader(table))


def test_code(study: Study, tmp_path: Path) -> None:
    examples = list(smoke({}, {"kind": "code"}))[:3]
    save({"test": examples}, tmp_path / "data")
    rows = load_rows(tmp_path / "data", "test")
    right = [row["response"] for row in rows]
    stub, broken = "    pass\n", "    return undefined\n"
    made = [[right[0], right[0]], [right[1], stub], [stub, broken]]
    record, items = scored(study, "code", tmp_path / "data", made, tmp_path)
    assert record.results["problems"] == [2, 1, 0]
    assert record.results["metrics"] == {"pass@1": [0.0, 0.5, 1.0], "pass@2": [0.0, 1.0, 1.0]}
    assert record.results["reasons"] == {"exception": 1, "passed": 3, "wrong": 2}
    assert [(i["problem"], i["sample"], i["passed"], i["reason"]) for i in items] == [
        ("2", "0", "0", "wrong"),
        ("2", "1", "0", "exception"),
        ("1", "0", "1", "passed"),
        ("1", "1", "0", "wrong"),
        ("0", "0", "1", "passed"),
        ("0", "1", "1", "passed"),
    ]
    assert record.run["sandbox"]["distinct_programs"] == 5
    assert record.run["sandbox"]["confinement"]["level"] == 3
    assert record.results["proof"]["solutions"] == {"passed": 3, "total": 3, "odd": []}
    assert record.results["proof"]["stubs"] == {"passed": 0, "total": 3, "odd": []}
    assert record.results["proof"]["cheats"]["passed"] == 0
    assert record.results["proof"]["cheats"]["total"] > 50


def test_two_jobs_and_one_proof(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_ledger.sandbox import proof

    made, prove = [], proof.prove
    monkeypatch.setattr(proof, "prove", lambda *a: made.append(a) or prove(*a))
    save({"test": list(smoke({}, {"kind": "code"}))[:2]}, tmp_path / "data")
    right = [[row["response"]] for row in load_rows(tmp_path / "data", "test")]
    records = [
        scored(study, "code", tmp_path / "data", right, tmp_path / out, work)[0]
        for out, work in (("1", tmp_path / "w"), ("2", tmp_path / "w"), ("3", None))
    ]
    assert len(made) == 2
    assert [one.run["sandbox"]["proof"] for one in records] == ["made", "kept", "made"]
    for record in records:
        assert record.results["metrics"] == {"pass@1": [1.0, 1.0]}
        assert record.run["sandbox"]["confinement"]["level"] == 3
        assert record.results["proof"]["solutions"] == {"passed": 2, "total": 2, "odd": []}
        assert record.results["proof"]["cheats"]["total"] > 50
        assert (record.id, record.results) == (records[0].id, records[0].results)
        first = records[0].run["sandbox"] | {"proof": ""}
        assert record.run["sandbox"] | {"proof": ""} == first


def test_words(study: Study, tmp_path: Path) -> None:
    def example(i: int, answer: str) -> Example:
        return Example(
            group=f"g{i}", prompt=f"Question: {i}?\nAnswer:", response=f" so.\n#### {answer}",
            fields={"question": f"{i}?", "answer": answer},
        )  # fmt: skip

    save({"test": [example(i, a) for i, a in enumerate(["42", "1,200", "7", "3"])]}, tmp_path / "d")
    made = [
        [" It is 42.\n#### 42"],
        [" so 1200\n#### 1200"],
        [" The answer is 7."],
        [" 3 and then 5\n####5"],
    ]
    record, items = scored(study, "words", tmp_path / "d", made, tmp_path)
    # Without "#### " nothing is extracted strictly; flexibly the last number counts.
    assert record.results["metrics"] == {
        "strict-match": [0.0, 0.0, 1.0, 1.0],
        "flexible-extract": [0.0, 1.0, 1.0, 1.0],
    }
    assert [i["extracted"] for i in items] == ["5", "7.", "1200", "42"]
    assert [i["strict"] for i in items] == ["0", "0", "1", "1"]


MBPP = {
    "text": "Write a function to add.",
    "code": "def add(a, b):\r\n    return a + b",
    "task_id": 11,
    "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0", "assert add(-1, 1) == 0"],
}


def test_mbpp(study: Study, tmp_path: Path) -> None:
    """The completion alone is the program: neither the prompt nor a fence is taken away."""
    raw: dict[str, Any] = study.model_dump(mode="json", exclude_unset=True)
    raw["evaluation"]["generate"]["mbpp"] = {"task": "mbpp"}
    item = Example(group="mbpp 11", prompt="[BEGIN]\n", response="x", fields=dict(MBPP))
    save({"test": [item]}, tmp_path / "data")
    code = str(MBPP["code"])
    made = [[code, "def add(a, b):\n    return 3\n", f"```python\n{code}\n```", "add = 1"]]
    record, items = scored(Study.model_validate(raw), "mbpp", tmp_path / "data", made, tmp_path)
    assert [i["reason"] for i in items] == ["passed", "wrong", "exception", "exception"]
    assert record.results["metrics"]["pass@1"] == [0.25]


def test_gsm8k_answers_with_the_marks_of_the_calculator(study: Study, tmp_path: Path) -> None:
    raw: dict[str, Any] = study.model_dump(mode="json", exclude_unset=True)
    raw["evaluation"]["generate"]["gsm"] = {"task": "gsm8k"}
    fields = {"question": "How many?", "answer": "It is 2*3=<<2*3=6>>6.\n#### 6"}
    examples = [
        Example(group=str(i), prompt="Question: How many?\nAnswer:", fields=fields)
        for i in range(3)
    ]
    save({"test": examples}, tmp_path / "data")
    made = [[" 2*3=<<2*3=6>>6\n#### 6"], [" so it is $6."], [" 5\n#### 5 and 6"]]
    record, _ = scored(Study.model_validate(raw), "gsm", tmp_path / "data", made, tmp_path)
    # Problems come in reverse order.
    assert record.results["metrics"] == {
        "strict-match": [0.0, 0.0, 1.0],
        "flexible-extract": [1.0, 1.0, 1.0],
    }


def test_a_machine_that_confines_too_little_is_refused(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_ledger.sandbox import client

    monkeypatch.setattr(client.confine, "level_of", lambda layers, failed: 2)
    save({"test": list(smoke({}, {"kind": "code"}))[:1]}, tmp_path / "data")
    raw: dict[str, Any] = study.model_dump(mode="json", exclude_unset=True)
    raw["evaluation"]["sandbox_level"] = 3
    strict = Study.model_validate(raw)
    with pytest.raises(client.SandboxError, match=r"sandbox_level: found 2 .*expected 3"):
        scored(strict, "code", tmp_path / "data", [["    pass\n"]], tmp_path)
    raw["evaluation"]["sandbox_level"] = 2
    record, _ = scored(
        Study.model_validate(raw), "code", tmp_path / "data", [["    pass\n"]], tmp_path
    )
    assert record.run["sandbox"]["confinement"]["level"] == 2


def test_code_needs_consent(study: Study, tmp_path: Path) -> None:
    raw: dict[str, Any] = study.model_dump(mode="json", exclude_unset=True)
    raw["evaluation"]["allow_code_execution"] = False
    with pytest.raises(KeyProblem, match="allow_code_execution"):
        score(
            Study.model_validate(raw), "code", "base", tmp_path, tmp_path, tmp_path, tmp_path,
            tmp_path, 1,
        )  # fmt: skip


def test_another_corpus_is_refused_before_anything_is_judged(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = list(smoke({}, {"kind": "code"}))
    save({"test": examples[:2]}, tmp_path / "data")
    scored(study, "code", tmp_path / "data", [["    pass\n"]] * 2, tmp_path)
    save({"test": examples[2:4]}, tmp_path / "data")
    monkeypatch.setattr("lora_ledger.sandbox.proof.prove", None)
    with pytest.raises(ValueError, match="generate again"):
        score(
            study, "code", "base", tmp_path / "g.jsonl.gz", tmp_path / "g.json",
            tmp_path / "data", tmp_path / "s.json", tmp_path / "s.csv.gz", 1,
        )  # fmt: skip


def test_a_diverged_cell_passes_its_status_on(study: Study, tmp_path: Path) -> None:
    (tmp_path / "g.jsonl.gz").write_bytes(jsonl_gz([]))
    write_record(
        tmp_path / "g.json", stage="generate", cell="c", inputs={}, code="", settings={},
        results={}, status="diverged",
    )  # fmt: skip
    record = score(
        study, "code", "c", tmp_path / "g.jsonl.gz", tmp_path / "g.json", tmp_path,
        tmp_path / "s.json", tmp_path / "s.csv.gz", 1,
    )  # fmt: skip
    assert (record.status, record.results) == ("diverged", {})
