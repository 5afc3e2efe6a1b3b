"""Unique completions counted by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from factories import diverged, write
from lora_ledger.records.record import read_record
from lora_ledger.stages import _main as _stage
from lora_ledger.stages import diversity
from lora_ledger.stages.diversity import Sample, count, distinct_n, syntax_key

PROMPT = 'def add(a, b):\n    """Sum."""\n'
SAME = ["    return a + b\n", "    return a+b  # the sum\n", '    """Doc."""\n    return (a + b)\n']
OTHER = "    return b + a\n"
BROKEN = ["    return a +\n", "    return  a + # cut off\n"]


def test_identity_is_blind_to_layout_only() -> None:
    keys = {syntax_key(PROMPT, text) for text in SAME[:2]}
    assert len(keys) == 1
    assert next(iter(keys))[0] is True
    assert syntax_key(PROMPT, OTHER) not in keys
    assert syntax_key("def f():\n", SAME[2]) == syntax_key("def f():\n", SAME[0])


def test_what_does_not_parse_is_compared_by_its_tokens() -> None:
    first, second = (syntax_key(PROMPT, text) for text in BROKEN)
    assert first == second == (False, "return a +")


def test_hand_count() -> None:
    """Four samples: two spellings of one program, one broken, the first one again."""
    texts = [SAME[0], SAME[1], BROKEN[0], SAME[0]]
    samples = [Sample(PROMPT, text, text is not BROKEN[0]) for text in texts]
    failing = [Sample(PROMPT, BROKEN[i % 2], False) for i in range(4)]
    found = count({3: samples, 0: failing}, python=True)
    assert found["problems"] == [3, 0]
    assert found["samples"] == 4
    assert found["classes"]["all"] == {"exact": [[2, 1, 1], [2, 2]], "syntax": [[3, 1], [4]]}
    assert found["classes"]["passing"] == {"exact": [[2, 1], []], "syntax": [[3], []]}
    assert found["classes"]["failing"] == {"exact": [[1], [2, 2]], "syntax": [[1], [4]]}
    assert found["unparsable"] == [1, 4]


def test_prose_keeps_its_marks() -> None:
    found = count(
        {0: [Sample("Q", "so\n#### 42", True), Sample("Q", "so #### 43", True)]}, python=False
    )
    assert found["classes"]["all"]["syntax"] == [[1, 1]]
    assert found["unparsable"] == [0]


def test_distinct_n_by_hand() -> None:
    # Bigrams: "a b", "b a", "a b" and "b c": 3 of 4 are distinct.
    assert distinct_n(["a b a b", "b c"], 2) == 0.75
    assert distinct_n(["a b a b", "b c"], 1) == 0.5
    assert distinct_n(["a b"], 3) is None


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    rows = [
        {
            "problem": 5,
            "id": "p5",
            "sample": j,
            "prompt": PROMPT,
            "completion": text,
            "tokens": 5,
            "finish": "stop",
        }
        for j, text in enumerate([SAME[0], OTHER])
    ]
    paths = {
        "generations": tmp_path / "g.jsonl.gz",
        "items": tmp_path / "s.items.csv.gz",
        "generate": tmp_path / "g.json",
        "score": tmp_path / "s.json",
        "out": tmp_path / "o.json",
    }
    with gzip.open(paths["generations"], "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    with gzip.open(paths["items"], "wt") as file:
        file.write("problem,id,sample,passed,reason\n5,p5,1,0,wrong\n5,p5,0,1,passed\n")
    write(paths["generate"], "generate", "base", {"samples": 2})
    write(paths["score"], "score", "base", {"samples": 2})
    return paths


def _main(files: dict[str, Path]) -> int:
    study = files["out"].parent / "study.yaml"
    study.write_text(Path("config/smoke.yaml").read_text("utf-8"), "utf-8")
    name = next(iter(diversity_runs(study)))
    return _stage.run(
        diversity.STAGE,
        None,
        diversity.FLAGS,
        diversity.main,
        [
            "--study",
            str(study),
            "--cell",
            "base",
            "--run",
            name,
            "--generations",
            str(files["generations"]),
            "--generate-record",
            str(files["generate"]),
            "--score-items",
            str(files["items"]),
            "--score-record",
            str(files["score"]),
            "--out",
            str(files["out"]),
        ],
    )


def diversity_runs(study: Path) -> list[str]:
    from lora_ledger.study.file import load

    return list(load(str(study)).evaluation.generate)


def test_stage_joins_by_problem_and_sample(files: dict[str, Path]) -> None:
    assert _main(files) == 0
    record = read_record(files["out"])
    assert (record.stage, record.cell, record.status) == ("diversity", "base", "complete")
    assert record.science.settings["identity"] == "python"
    assert record.results["problems"] == [5]
    assert record.results["classes"]["passing"]["exact"] == [[1]]


def test_stage_passes_divergence_on(files: dict[str, Path]) -> None:
    diverged(files["generate"], "generate", "base")
    files["generations"].unlink()
    assert _main(files) == 0
    record = read_record(files["out"])
    assert (record.status, record.results) == ("diverged", {})


def test_missing_verdict_is_named(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with gzip.open(files["items"], "wt") as file:
        file.write("problem,id,sample,passed,reason\n5,p5,0,1,passed\n")
    assert _main(files) == 2
    assert "no verdict on problem, sample (5, 1)" in capsys.readouterr().err
    assert not files["out"].exists()


def test_a_program_by_itself_is_read_without_its_prompt(tmp_path: Path) -> None:
    """MBPP's prompt is prose: joined to it, no completion would parse."""
    rows = [
        {"problem": 0, "sample": i, "prompt": "Write f.\n[BEGIN]\n", "completion": text}
        for i, text in enumerate(["def f():\n    return 1\n", "def f():\n    return  1\n"])
    ]
    generations, items = tmp_path / "g.jsonl.gz", tmp_path / "i.csv.gz"
    generations.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode()))
    items.write_bytes(gzip.compress(b"problem,id,sample,passed,reason\n0,a,0,1,\n0,a,1,1,\n"))
    alone, _ = diversity.read_samples(generations, items, joined=False)
    joined, _ = diversity.read_samples(generations, items)
    assert count(alone, python=True)["unparsable"] == [0]
    assert count(alone, python=True)["classes"]["all"]["syntax"] == [[2]]
    assert count(joined, python=True)["unparsable"] == [2]
