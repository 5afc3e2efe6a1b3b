"""The stage from files to files, on the random model and corpora made for the project."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_ledger.corpora.smoke import read as smoke
from lora_ledger.corpora.store import save
from lora_ledger.generate import generate
from lora_ledger.inference.loading import load_tokenizer, load_weights
from lora_ledger.records import Record, read_record, write_record
from lora_ledger.study import KeyProblem, Study
from lora_ledger.study_file import load

SMOKE = Path(__file__).parents[1] / "config" / "smoke.yaml"


@pytest.fixture(scope="module")
def study() -> Study:
    return load(str(SMOKE))


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("problems")
    save({"test": list(smoke({}, {"kind": "code"}))}, folder)
    return folder


def run(
    study: Study, tiny_model: Path, data: Path, out: Path, **changes: Any
) -> tuple[Record, list[dict[str, Any]]]:
    arguments = {
        "run_name": "code",
        "cell": "base",
        "seed": 1,
        "model_dir": tiny_model,
        "trained": None,
        "data": data,
        "out": out / "base.jsonl.gz",
        "record": out / "base.json",
        **changes,
    }
    record = generate(study, **arguments)
    lines = gzip.decompress(Path(arguments["out"]).read_bytes()).decode().splitlines()
    return record, [json.loads(line) for line in lines]


def test_rows_and_record(study: Study, tiny_model: Path, problems: Path, tmp_path: Path) -> None:
    record, rows = run(study, tiny_model, problems, tmp_path)
    assert read_record(tmp_path / "base.json") == record
    count = len(record.results["problems"])
    assert sorted(record.results["problems"]) == list(range(count))
    assert [(r["problem"], r["sample"]) for r in rows] == [
        (p, j) for p in record.results["problems"] for j in range(3)
    ]
    assert set(rows[0]) == {
        "problem", "id", "sample", "prompt", "completion", "tokens", "finish",
    }  # fmt: skip
    assert record.results["generated_tokens"] == sum(row["tokens"] for row in rows)
    settings = record.science.settings
    assert settings["until"] == ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]
    assert (settings["max_gen_toks"], settings["temperature"], settings["top_p"]) == (16, 0.8, 0.95)


def test_the_same_bytes_twice(
    study: Study, tiny_model: Path, problems: Path, tmp_path: Path
) -> None:
    one, _ = run(study, tiny_model, problems, tmp_path / "one")
    two, _ = run(study, tiny_model, problems, tmp_path / "two")
    assert one.id == two.id
    names = [tmp_path / name / "base.jsonl.gz" for name in ("one", "two")]
    assert names[0].read_bytes() == names[1].read_bytes()


def test_the_companion_is_the_likelihood_of_the_reference(
    study: Study, tiny_model: Path, problems: Path, tmp_path: Path
) -> None:
    record, rows = run(study, tiny_model, problems, tmp_path)
    model, tokenizer = load_weights(tiny_model).eval(), load_tokenizer(tiny_model)
    examples = list(smoke({}, {"kind": "code"}))
    companion = record.results["companion"]
    for place, problem in enumerate(record.results["problems"]):
        example = examples[problem]
        prompt = tokenizer.encode(example.prompt, add_special_tokens=False)
        ids = tokenizer.encode(example.response, add_special_tokens=False)
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
        expected = -sum(float(logits[len(prompt) + i - 1, t]) for i, t in enumerate(ids))
        assert companion["nats"][place] == pytest.approx(expected, abs=1e-3)
        assert companion["bytes"][place] == len(example.response.encode())
        assert companion["tokens"][place] == len(ids)
        assert rows[3 * place]["prompt"] == example.prompt


def test_a_diverged_cell_passes_its_status_on(study: Study, problems: Path, tmp_path: Path) -> None:
    write_record(
        tmp_path / "cell" / "record.json", stage="train", cell="c", inputs={}, code="", settings={},
        results={}, status="diverged",
    )  # fmt: skip
    model = tmp_path / "no-weights"
    model.mkdir()
    record, rows = run(study, model, problems, tmp_path, cell="c", trained=tmp_path / "cell")
    assert (record.status, record.results, rows) == ("diverged", {}, [])


def test_an_unknown_run_is_refused(study: Study, tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="did you mean 'code'"):
        run(study, tmp_path, tmp_path, tmp_path, run_name="cod")
