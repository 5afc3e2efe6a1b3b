"""The language model against plain forward passes and transformers' own generation."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from lora_ledger.inference.backends.fast import FastModel
from lora_ledger.inference.weights import load_tokenizer, load_weights

PREFIX = 0
SAMPLED = {"do_sample": True, "temperature": 0.8, "top_p": 0.95}


@pytest.fixture(scope="module")
def parts(tiny_model: Path) -> tuple[Any, Any]:
    """A model and its tokenizer; LEDGER_TEST_MODEL names the folder of a real one."""
    folder = Path(os.environ.get("LEDGER_TEST_MODEL", tiny_model))
    return load_weights(folder).eval(), load_tokenizer(folder)


def build(parts: tuple[Any, Any], **options: Any) -> FastModel:
    model, tokenizer = parts
    settings = {"prefix_id": PREFIX, "end_ids": [], "batch_size": 8, "seed": 1, **options}
    return FastModel(model, tokenizer, **settings)


def pair(context: str, continuation: str) -> Instance:
    return Instance("loglikelihood", {}, (context, continuation), 0)


def plain(model: Any, context: list[int], ids: list[int]) -> tuple[float, bool]:
    """One sequence, one forward pass, all logits, a loop over the scored tokens."""
    with torch.no_grad():
        logits = model(torch.tensor([context + ids])).logits[0].double()
    total, greedy = 0.0, True
    for place, token in enumerate(ids):
        row = logits[len(context) + place - 1]
        total += float(torch.log_softmax(row, -1)[token])
        greedy = greedy and int(row.argmax()) == token
    return total, greedy


def items(count: int) -> list[tuple[str, str]]:
    """Contexts of unlike lengths; every tenth is empty, every fifth ends with spaces."""
    rng = random.Random(0)
    words = ["river", "Ankara", "12", "über", "def", "(x)", "\n", "capital", "語"]
    made = []
    for i in range(count):
        context = " ".join(rng.choices(words, k=rng.randint(1, 25)))
        context = "" if i % 10 == 0 else context + "  " * (i % 5 == 0)
        made.append((context, " " * (i % 2) + " ".join(rng.choices(words, k=rng.randint(1, 6)))))
    return made


@pytest.mark.parametrize("batch_size", [1, 7])
def test_log_likelihoods_equal_a_plain_forward_pass(
    parts: tuple[Any, Any], batch_size: int
) -> None:
    model, tokenizer = parts
    made = items(120)
    found = build(parts, batch_size=batch_size).loglikelihood([pair(*item) for item in made])
    for (context, continuation), (nats, greedy) in zip(made, found, strict=True):
        moved = context[len(context.rstrip()) :]
        start = tokenizer.encode(context.rstrip(), add_special_tokens=False) or [PREFIX]
        whole = tokenizer.encode(context.rstrip() + moved + continuation, add_special_tokens=False)
        ids = whole[len(start) :] if context.strip() else whole
        expected, expected_greedy = plain(model, start, ids)
        assert nats == pytest.approx(expected, abs=1e-4)
        assert greedy is expected_greedy


@pytest.mark.parametrize("batch_size", [1, 5])
def test_continuations_of_a_shared_context(parts: tuple[Any, Any], batch_size: int) -> None:
    """Five a context, of unlike lengths, some of one token; an empty context among them."""
    model, tokenizer = parts
    made = items(24)
    requests = [pair(c, k) for c, _ in made for k in (" a", " Ankara", "語 and so on", "!", " 12")]
    assert any(not r.args[0] for r in requests)
    lm = build(parts, batch_size=batch_size)
    for request, (nats, greedy) in zip(requests, lm.loglikelihood(requests), strict=True):
        context, ids = lm.encode(*request.args)
        expected, expected_greedy = plain(model, context or [PREFIX], ids)
        assert nats == pytest.approx(expected, abs=1e-4)
        assert greedy is expected_greedy
    # Beyond the window the beginning is lost, whether the context is shared or not.
    short = build(parts, max_length=6)
    context = tokenizer.encode("The capital of", add_special_tokens=False)
    ids = tokenizer.encode(" a river", add_special_tokens=False)[:4]
    ((nats, _), _) = short.score([(context, ids), (context, ids[:2])])
    kept = (context + ids)[-7:]
    assert nats == pytest.approx(plain(model, kept[: -len(ids)], ids)[0], abs=1e-4)


def test_encode_agrees_with_what_is_scored(parts: tuple[Any, Any]) -> None:
    lm = build(parts)
    for context, continuation in items(30):
        nats, _ = lm.loglikelihood([pair(context, continuation)])[0]
        assert lm.score([lm.encode(context, continuation)])[0][0] == pytest.approx(nats, abs=1e-5)


def test_rolling_predicts_every_token_once(parts: tuple[Any, Any]) -> None:
    model, tokenizer = parts
    text = "The capital of Ankara is a river, 12 über. " * 4 + "end"
    ids = tokenizer.encode(text, add_special_tokens=False)
    window = 16
    assert len(ids) % window
    expected = 0.0
    for start in range(0, len(ids), window):
        part = ids[start : start + window]
        # The last window is shorter than the others and reaches back.
        context = [PREFIX, *ids][max(0, start + len(part) - window) : start + 1]
        expected += plain(model, context, part)[0]
    ((nats, tokens),) = build(parts).rolling([text], window)
    assert tokens == len(ids)
    assert nats == pytest.approx(expected, abs=1e-3)


def test_one_context_of_many_texts_is_not_one_forward_pass(
    parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a pass holds is bounded, however many continuations a context has."""
    from lora_ledger.inference import likelihood

    held: list[int] = []
    whole = likelihood._add
    monkeypatch.setattr(likelihood, "TOKENS", 64)
    monkeypatch.setattr(
        likelihood,
        "_add",
        lambda m, pack, *rest: (held.append(len(pack.ids)), whole(m, pack, *rest)),
    )
    model, _ = parts
    rng = random.Random(1)
    pairs = [([PREFIX], rng.choices(range(5, 200), k=rng.randint(1, 30))) for _ in range(40)]
    found = build(parts).score(pairs)
    assert max(held) <= 64
    for (context, ids), (nats, _) in zip(pairs, found, strict=True):
        assert nats == pytest.approx(plain(model, context, ids)[0], abs=1e-4)


def test_no_window_is_longer_than_the_model(parts: tuple[Any, Any]) -> None:
    text = "The capital of Ankara is a river, 12 über. " * 4
    ((nats, tokens),) = build(parts, max_length=16).rolling([text], 64)
    assert (nats, tokens) == build(parts).rolling([text], 16)[0]


@pytest.mark.parametrize("beginning", ["", "Write a function of a river and its capital. " * 3])
def test_greedy_equals_transformers(parts: tuple[Any, Any], beginning: str) -> None:
    """100 prompts, 50 with a beginning that all share, against `generate` one by one, in fp32.

    Where a token differs, the two likeliest must be within 1e-5 of each other: then either order of
    summation may choose, and what follows is not compared.
    """
    model, tokenizer = parts
    prompts = [beginning + context + continuation for context, continuation in items(50)]
    settings = {"until": [], "max_gen_toks": 12, "do_sample": False}
    lm = build(parts, batch_size=16)
    found = lm.complete(
        [
            Instance("generate_until", {}, (p, settings), 0, metadata=("t", i, 1))
            for i, p in enumerate(prompts)
        ]
    )
    level = []
    for prompt, completion in zip(prompts, found, strict=True):
        ids = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False)])
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
        )
        text = tokenizer.decode(expected.sequences[0, ids.shape[1] :], skip_special_tokens=True)
        assert (completion.tokens, completion.finish) == (12, "length")
        if completion.text != text:
            new = expected.sequences[0, ids.shape[1] :]
            begun = (tokenizer.decode(new[: k + 1], skip_special_tokens=True) for k in range(12))
            place = next(k for k, one in enumerate(begun) if not completion.text.startswith(one))
            gap = float(-expected.logits[place][0].topk(2).values.diff())
            assert gap < 1e-5, (prompt, place, completion.text, text)
            level.append((prompt, place, gap))
    assert len(level) <= 2, level


def requests(order: list[int], samples: int, settings: dict[str, Any]) -> list[Instance]:
    prompts = ["def f(x):", "The capital is", "1 + 1 = 2; 2 + 2 =", "über " * 6, "a"]
    return [
        Instance("generate_until", {}, (prompts[i], settings), 0, metadata=("t", i, 1))
        for i in order
        for _ in range(samples)
    ]


def test_samples_depend_on_nothing_but_their_own_seed(parts: tuple[Any, Any]) -> None:
    settings = {"until": [], "max_gen_toks": 20, **SAMPLED}
    order = [0, 1, 2, 3, 4]
    first = [c.text for c in build(parts, batch_size=16).complete(requests(order, 3, settings))]
    assert len(set(first)) == 15
    for batch_size in (1, 2, 7):
        lm = build(parts, batch_size=batch_size)
        assert [c.text for c in lm.complete(requests(order, 3, settings))] == first
    turned = build(parts).complete(requests(order[::-1], 3, settings))
    assert [c.text for i in order for c in turned[12 - 3 * i : 15 - 3 * i]] == first
    fewer = build(parts).complete(requests([2], 2, settings))
    assert [c.text for c in fewer] == first[6:8]
    other = build(parts, seed=2).complete(requests(order, 3, settings))
    assert not set(first) & {c.text for c in other}


@pytest.mark.parametrize("beginning", ["", "Write a function of a river and its capital. " * 3])
def test_a_reference_is_scored_beside_the_completions(
    parts: tuple[Any, Any], beginning: str
) -> None:
    """Against a plain forward pass: some in the pass of their prompt, some too long for it."""
    model, tokenizer = parts
    made = [(beginning + context, reference) for context, reference in items(24) if context]
    settings = {"until": [], "max_gen_toks": 6, **SAMPLED}
    asked = [
        Instance("generate_until", {}, (context, settings), 0, metadata=("t", i, 1))
        for i, (context, _) in enumerate(made)
        for _ in range(3)
    ]
    ids = [tokenizer.encode(reference, add_special_tokens=False) for _, reference in made]
    ids[4] = []
    contexts = [tokenizer.encode(context, add_special_tokens=False) for context, _ in made]
    for length in (8192, max(map(len, contexts)) + 2):
        lm = build(parts, batch_size=4, max_length=length)
        references = [one for one in ids for _ in range(3)]
        completions, nats = lm.complete_and_score(asked, references)
        assert completions == lm.complete(asked)
        for i, (context, reference) in enumerate(zip(contexts, ids, strict=True)):
            kept = (context + reference)[max(0, len(context + reference) - 1 - length) :]
            start = kept[: len(kept) - len(reference)]
            expected = plain(model, start, reference)[0] if reference else 0.0
            assert nats[3 * i : 3 * i + 3] == [pytest.approx(expected, abs=1e-4)] * 3


def test_stops_at_a_stop_string_and_cuts_it(parts: tuple[Any, Any]) -> None:
    free = {"until": [], "max_gen_toks": 40, **SAMPLED}
    whole = build(parts).complete(requests([0], 1, free))[0].text
    stop = next(whole[i : i + 2] for i in range(9, 30) if whole[i : i + 2].isascii())
    found = build(parts).complete(requests([0], 1, {**free, "until": [stop]}))[0]
    assert found.finish == "stop"
    assert found.text == whole[: whole.index(stop)]
    assert found.tokens < 40


def test_ends_at_a_token_that_ends_a_text(parts: tuple[Any, Any]) -> None:
    _, tokenizer = parts
    free = {"until": [], "max_gen_toks": 12, "do_sample": False}
    whole = build(parts).complete(requests([1], 1, free))[0].text
    ids = tokenizer.encode(whole, add_special_tokens=False)
    found = build(parts, end_ids=[ids[3]]).complete(requests([1], 1, free))[0]
    assert found.finish == "end"
    assert found.tokens == ids.index(ids[3]) + 1


def test_a_begin_token_stands_where_lm_evals_own_back_end_puts_it(
    tiny_model: Path, tmp_path: Path
) -> None:
    """Against HFLM over the same folder, with a tokenizer that adds its bos, as Llama 2's does."""
    import shutil

    from lm_eval.models.huggingface import HFLM
    from tokenizers.processors import TemplateProcessing

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    tokenizer = load_tokenizer(folder)
    bos = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    tokenizer.save_pretrained(folder)
    peer = HFLM(pretrained=str(folder), tokenizer=str(folder), device="cpu", dtype="float32")
    lm = FastModel(
        load_weights(folder).eval(),
        load_tokenizer(folder),
        prefix_id=tokenizer.bos_token_id,
        end_ids=[],
        begin_ids=[tokenizer.bos_token_id],
    )
    requests = [pair("one and", " two"), pair("", "three"), pair("four ", "five six")]
    theirs = peer.loglikelihood(requests, disable_tqdm=True)
    mine = lm.loglikelihood(requests)
    without = FastModel(
        lm.model, lm.tokenizer, prefix_id=tokenizer.bos_token_id, end_ids=[]
    ).loglikelihood(requests)
    for (a, _), (b, _) in zip(mine, theirs, strict=True):
        assert a == pytest.approx(b, abs=1e-4)
    assert abs(without[0][0] - mine[0][0]) > 1e-3
    assert lm.tok_encode("x") == peer.tok_encode("x")


def test_completions_as_long_as_the_window_are_refused(parts: tuple[Any, Any]) -> None:
    lm = build(parts, max_length=64)
    request = Instance("generate_until", {}, ("a b c", {"until": [], "max_gen_toks": 64}), 0)
    with pytest.raises(ValueError, match="max_gen_toks: found 64, expected below 64"):
        lm.complete([request])


def _crossing() -> Any:
    """A tokenizer whose token `ab` takes a whole continuation into the context's last token."""
    backend = Tokenizer(BPE({"a": 0, "b": 1, "ab": 2, " ": 3, "c": 4}, [("a", "b")]))
    return PreTrainedTokenizerFast(tokenizer_object=backend)


@pytest.mark.parametrize(
    ("context", "continuation", "ids"),
    [("ca", "b", [1]), ("a", "b", [1]), ("ca", "bc", [4]), ("ca ", "b", [3, 1])],
)
def test_no_continuation_is_without_a_token(
    parts: tuple[Any, Any], context: str, continuation: str, ids: list[int]
) -> None:
    lm = build((parts[0], _crossing()))
    assert lm.encode(context, continuation)[1] == ids
    ((nats, _),) = lm.loglikelihood([pair(context, continuation)])
    assert nats < 0


def test_an_empty_continuation_is_refused(parts: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="continuation '' without a token"):
        build(parts).loglikelihood([pair("a context", "")])
