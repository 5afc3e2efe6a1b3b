"""The language model of a cell, by each back-end of a study, over one adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance

from lora_ledger.inference.build import hold
from lora_ledger.inference.weights import load_weights
from lora_ledger.study.schema import Study
from tiny_study import STUDY

TEXTS = ["The capital of Ankara is", "def f(x):\n", "12 + 30 = ", "a", "語 and other words " * 6]


@pytest.fixture(scope="module")
def cell(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell whose adapter is not 0."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("cell")
    settings = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(load_weights(tiny_model), settings).save_pretrained(str(folder / "adapter"))
    return folder


def built(backend: str, model: Path, cell: Path | None) -> tuple[Any, dict[str, str]]:
    study = Study.model_validate(STUDY | {"compute": STUDY["compute"] | {"backend": backend}})
    ends = ("separator", "end_of_response")
    held = hold(study, "base", model, cell)
    return held.language_model(batch_size=3, seed=1, ends=ends), held.where


def test_engines_agree_on_a_cell(tiny_model: Path, cell: Path) -> None:
    """Likelihoods of items within 1e-4 nats, greedy texts to the letter; `where` names the one."""
    settings = {"until": ["\n\n"], "max_gen_toks": 20, "do_sample": False, "temperature": 0.0}
    texts = [
        Instance("generate_until", {}, (text, settings), 0, metadata=("t", i, 1))
        for i, text in enumerate(TEXTS)
    ]
    items = [
        Instance("loglikelihood", {}, (text, choice), 0)
        for text in TEXTS
        for choice in (" a river", " Paris", " 42", "?")
    ]
    found: dict[str, Any] = {}
    for backend in ("fast", "plain"):
        lm, where = built(backend, tiny_model, cell)
        assert where == {"device": "cpu", "precision": "fp32", "backend": backend}
        references = [lm.tok_encode(" the end", add_special_tokens=False)] * len(texts)
        found[backend] = lm.loglikelihood(items), *lm.complete_and_score(texts, references)
    (fast, completions, nats), (plain, same, also) = found["fast"], found["plain"]
    assert [value for value, _ in plain] == pytest.approx([value for value, _ in fast], abs=1e-4)
    assert [bool(greedy) for _, greedy in plain] == [greedy for _, greedy in fast]
    assert same == completions
    assert also == pytest.approx(nats, abs=1e-4)
    # The adapter is in it.
    base, _ = built("plain", tiny_model, None)
    assert abs(base.loglikelihood(items[:1])[0][0] - plain[0][0]) > 1e-2
