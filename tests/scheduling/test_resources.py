"""Memory that a job is planned with, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lora_ledger.scheduling import resources
from lora_ledger.study.schema import Study

METHODS: dict[str, Any] = {
    "lora": {"kind": "lora", "rank": 8, "learning_rates": [1e-3]},
    "norms": {"kind": "peft", "config": {"peft_type": "LN_TUNING"}, "learning_rates": [1e-3]},
    "lin": {"kind": "lin", "bottleneck": 8, "learning_rates": [1e-3]},
}


def study(backend: str, *methods: str, **evaluation: Any) -> Study:
    """On SmolLM2-135M: 30 blocks of width 576, 9 heads and 3 of keys, 1536, 49152 tokens."""
    precision = {"train": "fp32", "evaluate": "fp32"}
    return Study.model_validate(
        {
            "name": "memory",
            "title": "t",
            "model": "smollm2-135m-instruct-q4",
            "compute": {"device": "cpu", "backend": backend, "precision": precision},
            "seeds": [1],
            "settings": {
                "code": {
                    "corpus": "python-source",
                    "regime": "cpt",
                    "sequence_length": 512,
                    "batch_size": 8,
                    "micro_batch_size": 4,
                }
            },
            "methods": {name: METHODS[name] for name in methods},
            "budgets": {"short": {"tokens": 8000}},
            "evaluation": {"batch_size": 16, **evaluation},
        }
    )


def test_the_plain_path_trains_with_three_copies_of_a_batchs_logits() -> None:
    """4 x 512 tokens of 49152 x 4 bytes, three times, are 1152 MB, of which the fast path holds a
    quarter; the blocks keep 30 x 4 x (4 x 576 + 24 x 64 + 2 x 1536) bytes of a token, 1620 MB of
    the batch, and transformers' own twice that."""
    fast, plain = (
        resources.train_mb(study(one, "lora"), "code", "lora") for one in ("fast", "plain")
    )
    assert plain - fast == pytest.approx(1152 - 288 + 1620, abs=1)
    # A method that the plain path trains needs as much, whatever the study says.
    both = [resources.train_mb(study(one, "norms"), "code", "norms") for one in ("fast", "plain")]
    assert both[0] == both[1] > plain - 50


def test_the_plain_back_end_answers_with_two_copies_of_a_batchs_logits() -> None:
    """16 windows of 1024 tokens are 16384 x 49152 x 4 bytes, twice, 6144 MB; `fast` holds 256 rows
    three times, 144 MB."""
    texts = {"texts": {"general": {"corpus": "factbook", "sequence_length": 1024}}}
    fast, plain, kept = (
        resources.evaluate_mb(study(*one, **texts))
        for one in (("fast", "lora"), ("plain", "lora"), ("fast", "lora", "lin"))
    )
    assert plain - fast == pytest.approx(6144 - 144, abs=1)
    # Adapters that do not merge are answered by the plain back-end.
    assert kept == plain


def test_references_behind_prompts_are_a_batch_too() -> None:
    """40 prompts of 400 tokens and 112 more: 20480 x 49152 x 8 bytes are 7680 MB, while the fast
    back-end's cache of them and of 4096 tokens has 30 x 3 x 64 x 2 x 4 bytes of each, 1080 MB."""
    run = {"task": "humaneval", "batch_size": 40, "max_gen_toks": 112}
    code = {"generate": {"code": run}, "allow_code_execution": True}
    fast, plain = (resources.evaluate_mb(study(one, "lora", **code)) for one in ("fast", "plain"))
    assert plain - fast == pytest.approx(7680 - 1080, abs=1)


def test_a_base_beside_the_cell_counts_with_its_logits() -> None:
    """SmolLM2-135M has 134,515,008 weights of 4 bytes: once more for the base and, for CSD, once
    for what was added and once for what it is read off. Two output layers in fp32 are twice 49152 x
    576 x 4 bytes; logits of 128 positions take 40 bytes a word, where 256 of one model took 12."""
    text = {"corpus": "factbook", "sequence_length": 512}
    plain, kl, csd = (
        resources.evaluate_mb(study("fast", "lora", texts={"general": {**text, **asked}}))
        for asked in ({}, {"divergence": True}, {"divergence": True, "csd": True})
    )
    heads = 2 * 49152 * 576 * 4
    logits = 128 * 49152 * 40 - 256 * 49152 * 12
    assert kl - plain == pytest.approx((134515008 * 4 + heads + logits) / 2**20, abs=1)
    assert csd - kl == pytest.approx(134515008 * 4 * 2 / 2**20, abs=1)
