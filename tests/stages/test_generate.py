"""The stage from files to files, on the random model and corpora made for the project."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_ledger.common.errors import KeyProblem
from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.readers.smoke import read as smoke
from lora_ledger.data.corpora.store import save
from lora_ledger.inference.weights import load_tokenizer, load_weights
from lora_ledger.records.record import Record, read_record
from lora_ledger.stages.generate import generate
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study
from made_records import write_record

SMOKE = Path(__file__).parents[2] / "config" / "smoke.yaml"


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


def test_examples_before_the_prompt_and_the_companion_after(
    study: Study, tiny_model: Path, tmp_path: Path
) -> None:
    """Word problems after two solved ones; the reference is scored after the whole prompt."""
    raw = study.model_dump(mode="json", exclude_unset=True)
    name, words = next(
        (n, r) for n, r in raw["evaluation"]["generate"].items() if r["task"] == "smoke-words"
    )
    words |= {"num_fewshot": 2, "limit": 3, "max_gen_toks": 4}
    splits: dict[str, list[Any]] = {"test": [], "train": []}
    for example in smoke({}, {"kind": "words"}):
        if example.split in splits:
            splits[example.split].append(example)
    save(splits, tmp_path / "words")
    asked = Study.model_validate(raw)
    record, rows = run(asked, tiny_model, tmp_path / "words", tmp_path / "out", run_name=name)
    settings = record.science.settings
    assert (settings["num_fewshot"], settings["task"]["exemplars"]) == (2, "train")
    solved = {f"{e.prompt}{e.response}" for e in splits["train"]}
    model, tokenizer = load_weights(tiny_model).eval(), load_tokenizer(tiny_model)
    room = model.config.max_position_embeddings - 4
    assert record.results["cut_prompts"] == sum(len(r["prompt"].encode()) > room for r in rows)
    for place, row in enumerate(rows):
        one, two, last = row["prompt"].split("\n\n")
        example = splits["test"][row["problem"]]
        assert {one, two} < solved
        assert last == example.prompt
        ids = tokenizer.encode(row["prompt"] + example.response)
        count = len(example.response.encode())
        # What is longer than the window loses its beginning.
        ids = ids[-(model.config.max_position_embeddings + 1) :]
        with torch.no_grad():
            logits = model(torch.tensor([ids[:-1]])).logits[0].log_softmax(-1)
        start = len(ids) - count
        expected = -sum(float(logits[start + i - 1, ids[start + i]]) for i in range(count))
        assert record.results["companion"]["nats"][place] == pytest.approx(expected, abs=1e-2)
        assert record.results["companion"]["tokens"][place] == count


def test_the_files_number_of_examples_where_the_run_says_none(
    study: Study, tiny_model: Path, tmp_path: Path
) -> None:
    raw = study.model_dump(mode="json", exclude_unset=True)
    raw["evaluation"]["generate"]["gsm"] = {"task": "gsm8k", "limit": 1, "max_gen_toks": 2}
    rows = [
        Example(
            group=str(i), prompt=f"Question: {i}?\nAnswer:", response=f" #### {i}", split=split,
            fields={"question": f"{i}?", "answer": f"<<{i}>>#### {i}"},
        )
        for split, numbers in (("test", range(2)), ("exemplars", range(10, 30)))
        for i in numbers
    ]  # fmt: skip
    save({s: [e for e in rows if e.split == s] for s in ("test", "exemplars")}, tmp_path / "gsm8k")
    found = []
    for shots in (None, 1):
        raw["evaluation"]["generate"]["gsm"]["num_fewshot"] = shots
        record, (row,) = run(
            Study.model_validate(raw), tiny_model, tmp_path / "gsm8k", tmp_path / str(shots),
            run_name="gsm",
        )  # fmt: skip
        found.append((record.science.settings["num_fewshot"], row["prompt"].count("<<")))
    assert found == [(5, 5), (1, 1)]
    raw["evaluation"]["generate"]["gsm"] |= {"num_fewshot": 5, "max_gen_toks": 2000}
    with pytest.raises(KeyProblem, match=r"num_fewshot: found 5.* 1 of 1 items .* 48 tokens"):
        run(
            Study.model_validate(raw), tiny_model, tmp_path / "gsm8k", tmp_path / "cut",
            run_name="gsm",
        )  # fmt: skip
    assert not (tmp_path / "cut").exists()


def test_somebody_elses_model_has_its_own_tokens(
    study: Study, tiny_model: Path, problems: Path, tmp_path: Path
) -> None:
    load_weights(tiny_model).save_pretrained(tmp_path / "theirs" / "model")
    raw = study.model_dump(mode="json", exclude_unset=True)
    # The letters are tokens of the byte tokenizer.
    roles = {"separator": "X", "end_of_response": "Y", "prefix": "Z", "begin": "W"}
    source = {"kind": "local", "path": str(tmp_path / "theirs")}
    raw["others"] = {"theirs": {"source": source, "tokens": roles}, "plain": {"source": source}}
    own = study.model_entry().tokens.model_dump()
    for name, expected in (("theirs", roles), ("plain", own)):
        record, _ = run(
            Study.model_validate(raw), tiny_model, problems, tmp_path / name,
            cell=f"other/{name}", trained=tmp_path / "theirs",
        )  # fmt: skip
        assert record.science.settings["tokens"] == expected


def test_a_diverged_cell_passes_its_status_on(study: Study, problems: Path, tmp_path: Path) -> None:
    write_record(
        tmp_path / "cell" / "record.json", stage="train", cell="c", inputs={}, code="", settings={},
        results={}, status="diverged",
    )  # fmt: skip
    model = tmp_path / "no-weights"
    model.mkdir()
    (model / "config.json").write_text("{}")
    record, rows = run(study, model, problems, tmp_path, cell="c", trained=tmp_path / "cell")
    assert (record.status, record.results, rows) == ("diverged", {}, [])


def test_an_unknown_run_is_refused(study: Study, tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="did you mean 'code'"):
        run(study, tmp_path, tmp_path, tmp_path, run_name="cod")
