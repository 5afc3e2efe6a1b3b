"""Makes the ordinary model folder that every later stage reads.

In: a catalogue entry of a model. Out: a folder with config.json, safetensors, tokenizer and
generation_config.json, complete or absent, whose bytes depend on neither machine nor time; and a
summary for the record. It trains nothing, and writes no record of its own.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.catalogue import GeneratedSource, HubSource, ModelEntry
from lora_ledger.data.sources import SourceError, obtain
from lora_ledger.data.sources.cache import sha256_of
from lora_ledger.records.atomic import new_folder

from . import architecture
from .tokens import token_ids

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What a library notes about the run that wrote a config, which is no property of the model.
UNSTABLE_KEYS = (
    "_commit_hash",
    "_from_model_config",
    "_model_name_or_path",
    "_name_or_path",
    "transformers_version",
)
FOLDER_PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model")
PICKLED = (".bin", ".pt", ".pth")
"""Endings of weights that run code when they are read; nothing here reads them."""


def write_model(name: str, entry: ModelEntry, out: Path) -> dict[str, Any]:
    """Write the model folder `out` (made, or replaced as a whole) and describe it.

    Returns {name, base, weights, stand_in, dtype, parameters, config, tokens: {role: {token, id}},
    files: {file name: sha256}}. Raises SourceError for bytes that cannot be had or a folder that
    is no usable model, with the catalogue's name in front.
    """
    kinds = {"gguf": _from_gguf, "random": _from_seed}
    make = kinds.get(entry.format, _from_folder)
    with new_folder(out) as folder:
        try:
            make(entry, folder)
            return _describe(name, entry, folder)
        except (SourceError, ValueError) as error:
            raise SourceError(f"model {name}: {error}") from error


def byte_tokenizer(marks: list[str]) -> Tokenizer:
    """A tokenizer of one token a byte, `marks` first: vocabulary len(marks) + 256, no merges."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*marks, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in marks])
    return tokenizer


def _from_gguf(entry: ModelEntry, folder: Path) -> None:
    from .quantised import dequantised

    _save(*dequantised(entry), folder)


def _from_seed(entry: ModelEntry, folder: Path) -> None:
    """Random weights from the source's seed, and the byte-level tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    if not isinstance(entry.source, GeneratedSource) or entry.config.get("model_type") != "llama":
        raise SourceError(
            f"format random: found source {entry.source.kind} and model_type "
            f"{entry.config.get('model_type')!r}, expected generated and llama"
        )
    roles = entry.tokens
    marks = list(dict.fromkeys([roles.separator, roles.end_of_response, roles.prefix]))
    backend = byte_tokenizer(marks)
    if entry.config.get("vocab_size") != backend.get_vocab_size():
        raise SourceError(
            f"config.vocab_size: found {entry.config.get('vocab_size')}, expected "
            f"{backend.get_vocab_size()} (256 bytes and the marks {marks})"
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=roles.prefix,
        eos_token=roles.end_of_response,
        pad_token=roles.separator,
        model_max_length=entry.config["max_position_embeddings"],
        clean_up_tokenization_spaces=False,
    )
    settings = {key: value for key, value in entry.config.items() if key != "model_type"}
    config = LlamaConfig(
        **settings,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(entry.source.seed)
        model = LlamaForCausalLM(config).to(torch.float32)
    _save(model, tokenizer, folder)


def _from_folder(entry: ModelEntry, folder: Path) -> None:
    """A folder on disk, of a hub or of a trained cell: the files that matter, weights by hard link
    if that works."""
    origin = obtain(entry.source)
    if not origin.is_dir():
        raise SourceError(f"{origin} is a file, expected a model folder with config.json")
    for needed in ("config.json", "tokenizer.json"):
        if not (origin / needed).is_file():
            raise SourceError(
                f"{origin} has no {needed}; write the model and its tokenizer there with "
                "transformers' save_pretrained"
                + (
                    ", or add the file to the source's `files`"
                    if isinstance(entry.source, HubSource)
                    else ""
                )
            )
    check_weights(origin)
    plain_config(origin)
    link_files(origin, folder, FOLDER_PATTERNS)


def plain_config(origin: Path) -> dict[str, Any]:
    """The config.json of a folder that needs no code of its own and no dequantising.

    Raises SourceError for `quantization_config` and for `auto_map`, which names Python files.
    """
    config = read_json(origin / "config.json")
    if "quantization_config" in config:
        raise SourceError(
            f"{origin / 'config.json'} has quantization_config, expected plain weights; save a "
            "dequantised copy and name that"
        )
    for name in ("config.json", "tokenizer_config.json"):
        path = origin / name
        if path.is_file() and read_json(path).get("auto_map"):
            raise SourceError(
                f"{path} has auto_map, which asks for Python code of its own to be run; no such "
                "code is run here: save the model with one of transformers' own classes"
            )
    return config


def link_files(origin: Path, folder: Path, patterns: Sequence[str]) -> None:
    """Bring the files of these patterns to `folder`: weights by hard link, the rest by copy."""
    for pattern in patterns:
        for path in sorted(origin.glob(pattern)):
            # A record describes the folder that it lies in; a copy gets its own.
            if path.name == "record.json":
                continue
            target = folder / path.name
            if path.suffix == ".safetensors":
                try:
                    os.link(path.resolve(), target)
                    continue
                except OSError:
                    pass
            shutil.copyfile(path, target)


def check_weights(origin: Path) -> list[Path]:
    """The weight files of a folder; raises SourceError unless all are there as safetensors."""
    index = origin / "model.safetensors.index.json"
    if index.is_file():
        mapping = read_json(index).get("weight_map", {})
        expected = sorted({str(name) for name in mapping.values()})
    else:
        expected = ["model.safetensors"]
    absent = [name for name in expected if not (origin / name).is_file()]
    if absent or not expected:
        others = sorted(path.name for path in origin.glob("*") if path.suffix in PICKLED)
        raise SourceError(
            f"{origin} lacks {', '.join(absent) or 'weights'}"
            + (f" and has {', '.join(others)}, which are not read" if others else "")
            + "; only safetensors are: write them with save_pretrained"
        )
    return [origin / name for name in expected]


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    """save_pretrained, then take out what depends on the run."""
    tokenizer.save_pretrained(folder)
    # Tied weights are stored once: save_pretrained leaves the head out.
    model.save_pretrained(folder, max_shard_size="100GB")
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        path = folder / name
        content = read_json(path)
        for key in UNSTABLE_KEYS:
            content.pop(key, None)
        path.write_text(
            json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8"
        )


def _describe(name: str, entry: ModelEntry, folder: Path) -> dict[str, Any]:
    """Check the folder against its entry, and sum it up."""
    config = read_json(folder / "config.json")
    for key, expected in entry.config.items():
        if key in config and config[key] != expected:
            raise SourceError(
                f"config.{key}: the catalogue says {expected!r}, the model has {config[key]!r}; "
                "correct the catalogue entry"
            )
    return {
        "name": name,
        "base": entry.base,
        "weights": entry.weights,
        "stand_in": entry.stand_in,
        "dtype": config.get("dtype", config.get("torch_dtype", "float32")),
        "parameters": architecture.total_parameters(config),
        "config": config,
        "tokens": token_ids(entry.tokens, folder),
        "files": {path.name: sha256_of(path) for path in sorted(folder.iterdir())},
    }


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; SourceError, naming the file, for anything else."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise SourceError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, Mapping):
        raise SourceError(f"{path}: found a {type(content).__name__}, expected an object")
    return dict(content)
