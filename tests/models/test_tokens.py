"""The ids of an entry's tokens, and what a tokenizer puts before a text by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken
from tokenizers.processors import ByteLevel, TemplateProcessing
from transformers import PreTrainedTokenizerFast

from lora_ledger.catalogue import ModelEntry, TokenRoles, entries
from lora_ledger.data.sources import SourceError
from lora_ledger.models.pretrained import byte_tokenizer, write_model
from lora_ledger.models.tokens import begin_ids, token_id, token_ids

MARKS = ["<s>", "</s>", "<|x|>"]


def roles(begin: str = "") -> TokenRoles:
    return TokenRoles(separator="</s>", end_of_response="</s>", prefix="<s>", begin=begin)


def saved(folder: Path, template: str = "", **keys: object) -> Path:
    """A tokenizer as transformers saves it, which puts `template` around a text."""
    backend = byte_tokenizer(MARKS)
    if template:
        pairs = [(mark, backend.token_to_id(mark)) for mark in MARKS]
        backend.post_processor = TemplateProcessing(single=template, special_tokens=pairs)
    PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))
    return folder


def test_ids_and_a_token_that_is_not_there() -> None:
    vocabulary = {"<s>": 0, "</s>": 1}
    assert token_id(vocabulary, "prefix", "<s>") == 0
    assert begin_ids(vocabulary, roles()) == []
    assert begin_ids(vocabulary, roles("<s>")) == [0]
    with pytest.raises(ValueError, match=r"tokens\.begin: found '<bos>', expected one of the 2"):
        begin_ids(vocabulary, roles("<bos>"))


@pytest.mark.parametrize(
    ("template", "keys"),
    [
        ("<s> $A", {}),
        ("<s> $A </s>", {}),
        ("", {"add_bos_token": True}),
        ("", {"add_bos_token": True, "bos_token": {"content": "<s>", "__type": "AddedToken"}}),
    ],
)
def test_a_tokenizer_with_a_beginning_needs_the_key(
    tmp_path: Path, template: str, keys: dict[str, object]
) -> None:
    folder = saved(tmp_path, template, **keys)
    with pytest.raises(ValueError, match=r"tokens\.begin: found '', .*'<s>'.* begin: \"<s>\""):
        token_ids(roles(), folder)
    with pytest.raises(ValueError, match=r"tokens\.begin: found '<\|x\|>', expected '<s>'"):
        token_ids(roles("<|x|>"), folder)
    assert token_ids(roles("<s>"), folder)["begin"] == {"token": "<s>", "id": 0}


def test_a_tokenizer_with_two_tokens_before_a_text_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, "<s> <|x|> $A")
    for begin in ("", "<s>", "<|x|>"):
        with pytest.raises(ValueError, match=r"found <s> <\|x\|>, .* expected one token at most"):
            token_ids(roles(begin), folder)


def test_what_puts_nothing_before_a_text_needs_none(tmp_path: Path) -> None:
    for number, (template, keys) in enumerate(
        [("", {}), ("$A </s>", {}), ("", {"add_bos_token": False})]
    ):
        folder = saved(tmp_path / str(number), template, **keys)
        assert sorted(token_ids(roles(), folder)) == ["end_of_response", "prefix", "separator"]
    backend = byte_tokenizer(MARKS)
    backend.add_special_tokens([AddedToken("<s>", special=True)])
    backend.post_processor = ByteLevel(trim_offsets=False)
    backend.save(str(tmp_path / "tokenizer.json"))
    assert token_ids(roles(), tmp_path)["prefix"]["id"] == 0


def test_a_model_folder_is_refused_when_it_is_written(tmp_path: Path) -> None:
    tiny = entries()["tiny-random-llama"]
    assert isinstance(tiny, ModelEntry)
    write_model("tiny", tiny, tmp_path / "random")
    backend = byte_tokenizer(list(dict.fromkeys(tiny.tokens.model_dump().values()))[:-1])
    first = tiny.tokens.prefix
    backend.post_processor = TemplateProcessing(
        single=f"{first} $A", special_tokens=[(first, backend.token_to_id(first))]
    )
    backend.save(str(tmp_path / "random" / "tokenizer.json"))
    source = {"kind": "local", "path": str(tmp_path / "random")}
    entry = tiny.model_copy(update={"format": "folder"}).model_dump() | {"source": source}
    with pytest.raises(SourceError, match=r"model mine: tokens\.begin: found ''"):
        write_model("mine", ModelEntry.model_validate(entry), tmp_path / "out")
    assert not (tmp_path / "out").exists()
