"""Blocks and pairs against ids written out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from lora_ledger.models.tokens import token_id
from lora_ledger.training.packing import blocks, counted, encode, fixed, pairs


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


def test_a_begin_token_is_part_of_the_prompt(tokenizer: Tokenizer) -> None:
    (row,) = pairs(tokenizer, 1, [{"prompt": "ab", "response": "cd"}], 6, [7])
    assert row is not None
    assert row["input_ids"] == [7, *tokenizer.encode("abcd").ids, 1]
    assert row["prompt_length"] == 3


def test_what_is_counted() -> None:
    made = [
        {"input_ids": [1, 2, 3], "prompt_length": 0, "bytes": 5},
        None,
        {"input_ids": [1, 2, 3, 4], "prompt_length": 3, "bytes": 2},
    ]
    rows, counts = counted(made, 4)
    assert rows == [made[0], made[2]]
    # 2 of the block, whose first token nothing predicts, and 1 of the response.
    assert counts == {
        "examples": 4,
        "rows": 2,
        "dropped_over_length": 1,
        "tokens": 3,
        "bytes": 7,
    }


def test_a_tokenizer_that_cuts_by_itself_does_not(tmp_path: Path, tokenizer: Tokenizer) -> None:
    cutting = Tokenizer.from_str(tokenizer.to_str())
    cutting.enable_truncation(3)
    cutting.enable_padding(length=9)
    cutting.save(str(tmp_path / "tokenizer.json"))
    assert len(cutting.encode("abcdef").ids) == 9
    assert len(fixed(str(tmp_path / "tokenizer.json")).encode("abcdef").ids) == 6
