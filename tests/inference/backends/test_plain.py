"""The fast back-end against lm-eval's own class over transformers' own forward and `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance

from lora_ledger.inference.backends.fast import FastModel
from lora_ledger.inference.backends.plain import PlainModel
from lora_ledger.inference.weights import load_tokenizer, load_weights

CONTEXTS = ["The capital of", "def f(x):", "", "a", "12 über 語 " * 9, "one two   "]


def both(folder: Path, end: str = "", **settings: Any) -> tuple[FastModel, PlainModel]:
    """With the token `end`, made a special one as ends are, at which texts end."""
    tokenizer = load_tokenizer(folder)
    options = {"prefix_id": 0, "end_ids": [], "seed": 1, "batch_size": 3, **settings}
    if end:
        tokenizer.add_special_tokens({"additional_special_tokens": [end]})
        options["end_ids"] = [tokenizer.convert_tokens_to_ids(end)]
    fast, plain = (
        kind(load_weights(folder).eval(), tokenizer, **options) for kind in (FastModel, PlainModel)
    )
    return fast, plain


def asked(prompt: str, number: int = 0, **settings: Any) -> Instance:
    kwargs = {"until": [], "max_gen_toks": 12, "do_sample": False, "temperature": 0.0, **settings}
    return Instance("generate_until", {}, (prompt, kwargs), 0, metadata=("t", number, 1))


@pytest.mark.parametrize("begin_ids", [[], [0]])
def test_likelihoods_agree(tiny_model: Path, begin_ids: list[int]) -> None:
    fast, plain = both(tiny_model, begin_ids=begin_ids)
    requests = [
        Instance("loglikelihood", {}, (context, continuation), 0)
        for context in CONTEXTS
        for continuation in (" a river", "x")
    ]
    mine, theirs = fast.loglikelihood(requests), plain.loglikelihood(requests)
    assert len(theirs) == len(requests)
    for (nats, greedy), (expected, also) in zip(mine, theirs, strict=True):
        assert nats == pytest.approx(expected, abs=1e-4)
        assert greedy is bool(also)
    text = ["The capital of Ankara is a river, 12 über. " * 4, "x"]
    for (nats, tokens), (expected, same) in zip(
        fast.rolling(text, 24), plain.rolling(text, 24), strict=True
    ):
        assert nats == pytest.approx(expected, abs=1e-3)
        assert tokens == same


@pytest.mark.parametrize("begin_ids", [[], [0]])
def test_greedy_texts_are_equal_with_their_lengths_and_ends(
    tiny_model: Path, begin_ids: list[int]
) -> None:
    """Prompts of unlike lengths in padded batches; a stop string, an end, and neither."""
    prompts = [prompt for prompt in CONTEXTS if prompt]
    free, _ = both(tiny_model, begin_ids=begin_ids)
    texts = free.complete([asked(prompt, i) for i, prompt in enumerate(prompts)])
    stop = next(t for t in texts[0].text if t.isascii())
    # A printable character is a token of its own name.
    end = next(t for t in texts[1].text if t.isascii() and t.isprintable() and t not in stop + " ")
    fast, plain = both(tiny_model, end, begin_ids=begin_ids)
    requests = [asked(prompt, i) for i, prompt in enumerate(prompts)]
    requests += [asked(prompt, i, until=[stop]) for i, prompt in enumerate(prompts)]
    references = [fast.tok_encode(" some", add_special_tokens=False)] * len(requests)
    mine, my_nats = fast.complete_and_score(requests, references)
    theirs, their_nats = plain.complete_and_score(requests, references)
    assert theirs == mine
    assert their_nats == pytest.approx(my_nats, abs=1e-4)
    assert {one.finish for one in theirs} == {"stop", "end", "length"}


def test_samples_are_their_own_and_repeat_with_the_seed(tiny_model: Path) -> None:
    sampled = {"do_sample": True, "temperature": 0.9, "top_p": 0.95, "top_k": 0}
    requests = [asked("The capital of", **sampled)] * 4 + [asked("def", 1, **sampled)]
    drawn = [
        both(tiny_model, seed=seed)[1].complete_and_score(requests, [()] * 5)[0]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert len({one.text for one in drawn[0][:4]}) > 1


def test_the_folders_own_end_and_sampling_count_for_nothing(tiny_model: Path) -> None:
    """A generation_config of a chat model would end texts elsewhere, and sample."""
    from transformers import GenerationConfig

    fast, _ = both(tiny_model)
    expected = fast.complete([asked("The capital of")])[0]
    model = load_weights(tiny_model).eval()
    first = fast.tok_encode(expected.text, add_special_tokens=False)[0]
    model.generation_config = GenerationConfig(eos_token_id=first, repetition_penalty=3.0)
    plain = PlainModel(model, load_tokenizer(tiny_model), prefix_id=0, end_ids=[])
    assert plain.complete([asked("The capital of")])[0] == expected
