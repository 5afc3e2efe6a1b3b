"""What a cell is loaded from, and that merging changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lora_ledger.inference.loading import load_cell, load_weights


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
