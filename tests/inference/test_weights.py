"""What a cell is loaded from, and that merging changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lora_ledger.inference.weights import load_cell, load_tokenizer, load_weights
from lora_ledger.records.record import status_of
from made_records import write_record


def test_merged_equals_unmerged(tiny_model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    adapted = get_peft_model(
        load_weights(tiny_model),
        LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False),
    ).eval()
    adapted.save_pretrained(str(tmp_path / "adapter"))
    ids = torch.randint(0, 256, (2, 30))
    merged, _ = load_cell(tiny_model, tmp_path, "fp32", "cpu")
    base, _ = load_cell(tiny_model, None, "fp32", "cpu")
    with torch.no_grad():
        expected = adapted(ids).logits
        assert (merged(ids).logits - expected).abs().max() < 1e-4
        assert (base(ids).logits - expected).abs().max() > 1e-2
    assert not any("lora" in name for name, _ in merged.named_parameters())


def test_a_full_model_is_read_from_the_cell(tiny_model: Path, tmp_path: Path) -> None:
    changed = load_weights(tiny_model)
    with torch.no_grad():
        changed.model.norm.weight.mul_(2)
    changed.save_pretrained(tmp_path / "model")
    found, _ = load_cell(tiny_model, tmp_path, "bf16", "cpu")
    assert found.dtype == torch.bfloat16
    assert torch.equal(found.model.norm.weight, changed.model.norm.weight.bfloat16())


def test_an_empty_cell_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected model/ or adapter/"):
        load_cell(tiny_model, tmp_path, "fp32", "cpu")


def test_somebody_elses_model_brings_its_tokenizer(tiny_model: Path, tmp_path: Path) -> None:
    """As the folder `other/<name>` has it: model/ with a tokenizer, and a record of its own."""
    load_weights(tiny_model).save_pretrained(tmp_path / "model")
    _, base = load_cell(tiny_model, tmp_path, "fp32", "cpu")
    assert "<other>" not in base.get_vocab()
    own = load_tokenizer(tiny_model)
    own.add_tokens(["<other>"])
    own.save_pretrained(tmp_path / "model")
    _, found = load_cell(tiny_model, tmp_path, "fp32", "cpu")
    assert found.get_vocab()["<other>"] == len(base.get_vocab())
    assert status_of(tmp_path) == "complete"
    write_record(
        tmp_path / "record.json", stage="other", cell="other/theirs", inputs={}, code="",
        settings={}, results={},
    )  # fmt: skip
    assert status_of(tmp_path) == "complete"


def test_weights_that_are_not_there_are_not_drawn_at_random(
    tiny_model: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "broken"
    load_weights(tiny_model).save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["module.norm.weight"] = tensors.pop("model.norm.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"no fitting tensor model\.norm\.weight \(1 in all\)"):
        load_weights(folder)
