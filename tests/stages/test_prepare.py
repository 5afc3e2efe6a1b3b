"""Blocks and pairs against ids written out by hand, and prompts that the evaluation sends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from lora_ledger.catalogue import token_id
from lora_ledger.data.corpora import Example
from lora_ledger.data.corpora.store import save
from lora_ledger.records.record import read_record, write_record
from lora_ledger.stages.prepare import blocks, encode, pairs, prepare


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tiny_model / "tokenizer.json"))


@pytest.mark.parametrize("text", ["plain", "naïve café", "数学 ∑ x²", "🙂🙃", "", "a\n\tb"])
def test_bytes_of_tokens_sum_to_the_text(tokenizer: Tokenizer, text: str) -> None:
    ids, sizes = encode(tokenizer, text)
    assert len(ids) == len(sizes)
    assert sum(sizes) == len(text.encode())
    assert min(sizes, default=0) >= 0


def test_blocks_by_hand(tokenizer: Tokenizer) -> None:
    """A byte-level vocabulary: 'abc' and 'de' give 3 and 2 tokens, with a separator after each."""
    a, b, c, d, e = (tokenizer.token_to_id(letter) for letter in "abcde")
    end = token_id(tokenizer.get_vocab(), "separator", "<|endoftext|>")
    found = list(blocks(tokenizer, end, ["abc", "de"], 3))
    assert [row["input_ids"] for row in found] == [[a, b, c], [end, d, e]]
    assert [row["bytes"] for row in found] == [2, 2]
    assert {row["prompt_length"] for row in found} == {0}


def test_a_block_may_span_documents_and_the_tail_is_left_out(tokenizer: Tokenizer) -> None:
    end = token_id(tokenizer.get_vocab(), "separator", "<|endoftext|>")
    texts = ["abcdefg", "hi", "jklmnop"]
    stream = [i for text in texts for i in (*tokenizer.encode(text).ids, end)]
    found = [i for row in blocks(tokenizer, end, texts, 4) for i in row["input_ids"]]
    assert found == stream[: len(stream) // 4 * 4]
    assert len(found) == 16 < len(stream)


def test_pairs_end_with_the_end_of_response_and_drop_what_is_too_long(
    tokenizer: Tokenizer,
) -> None:
    end = token_id(tokenizer.get_vocab(), "end_of_response", "<|end|>")
    rows = [{"prompt": "ab", "response": "cd"}, {"prompt": "ab", "response": "cde"}]
    fits, over = pairs(tokenizer, end, rows, 5)
    assert over is None
    assert fits is not None
    assert fits["input_ids"] == [*tokenizer.encode("abcd").ids, end]
    assert fits["prompt_length"] == 2
    assert fits["bytes"] == 2


def test_a_missing_token_is_named(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"tokens\.separator: found '<nothing>'"):
        token_id(tokenizer.get_vocab(), "separator", "<nothing>")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    made = [
        Example(f"g{i}", prompt=f"Question: {i} and 1?\nAnswer:", response=f" {i + 1}\n#### {i}")
        for i in range(12)
    ]
    save({"train": made[:8], "validation": made[8:]}, tmp_path / "data")
    write_record(
        tmp_path / "data/record.json",
        stage="fetch",
        cell="smoke-words",
        inputs={},
        code="",
        settings={},
        results={},
    )
    return tmp_path / "data"


def test_training_prompts_are_the_ones_that_the_evaluation_sends(
    tiny_model: Path, corpus: Path, tmp_path: Path
) -> None:
    from datasets import load_from_disk
    from transformers import AutoTokenizer

    prepare("smoke", "math-ift", tiny_model, corpus, tmp_path / "packed")
    rows = load_from_disk(str(tmp_path / "packed/train"))
    evaluation = AutoTokenizer.from_pretrained(tiny_model)
    sent = {
        tuple(evaluation.encode(f"Question: {i} and 1?\nAnswer:", add_special_tokens=False))
        for i in range(12)
    }
    for row in rows:
        assert tuple(row["input_ids"][: row["prompt_length"]]) in sent
        assert row["input_ids"][-1] == evaluation.convert_tokens_to_ids("<|end|>")
    counts = read_record(tmp_path / "packed/record.json").results["counts"]
    assert counts["train"]["rows"] == len(rows) == 8
    assert counts["train"]["tokens"] == sum(len(r["input_ids"]) - r["prompt_length"] for r in rows)
    assert counts["train"]["dropped_over_length"] == 0


def test_nothing_left_is_an_error_that_says_what_to_do(
    tiny_model: Path, corpus: Path, tmp_path: Path
) -> None:
    text = Path("config/smoke.yaml").read_text("utf-8")
    study = tmp_path / "short.yaml"
    study.write_text(text.replace("sequence_length: 192", "sequence_length: 8"))
    with pytest.raises(ValueError, match=r"math-ift.*at most 8 tokens.*raise sequence_length"):
        prepare(str(study), "math-ift", tiny_model, corpus, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
    assert json.loads((corpus / "record.json").read_text())["stage"] == "fetch"


def test_a_begin_token_is_part_of_the_prompt(tokenizer: Tokenizer) -> None:
    (row,) = pairs(tokenizer, 1, [{"prompt": "ab", "response": "cd"}], 6, [7])
    assert row is not None
    assert row["input_ids"] == [7, *tokenizer.encode("abcd").ids, 1]
    assert row["prompt_length"] == 3
