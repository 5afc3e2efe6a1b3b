"""Cells that cannot be merged: evaluated as they are, by the plain back-end, to the last token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from torch.nn import functional

from lora_ledger.inference.build import hold
from lora_ledger.inference.weights import load_weights
from lora_ledger.study.schema import Study
from tiny_study import STUDY

TEXTS = ["The capital of Ankara is", "def f(x):\n", "a", "12 + 30 = ", "語 and other words " * 6]
METHODS: dict[str, dict[str, Any]] = {
    "prefix": {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 5},
    "cartridge": {"peft_type": "CARTRIDGE", "num_virtual_tokens": 5},
    "prompt": {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 5},
    "p": {"peft_type": "P_TUNING", "num_virtual_tokens": 5, "encoder_hidden_size": 16},
    "adaption": {"peft_type": "ADAPTION_PROMPT", "adapter_len": 4, "adapter_layers": 2},
    "beft": {"peft_type": "BEFT"},
    "ia3": {"peft_type": "IA3"},
}
MERGED = ("ia3",)
NOISE = 0.5
VIRTUAL = ("prefix", "cartridge", "prompt", "p")
UNTIL = {"until": ["\n\n"], "max_gen_toks": 20, "do_sample": False, "temperature": 0.0}


def study(backend: str = "fast") -> Study:
    methods = {
        name: {"kind": "peft", "config": config, "learning_rates": [1e-2]}
        for name, config in METHODS.items()
    }
    where = STUDY["compute"] | {"backend": backend, "device": "auto"}
    return Study.model_validate(STUDY | {"compute": where, "methods": methods})


def cell(name: str, tiny_model: Path, folder: Path) -> tuple[Any, Path]:
    """The model of peft's, whose weights are far from where they began, and its saved cell."""
    method = study().methods[name]
    model = method.apply(load_weights(tiny_model), 1)
    torch.manual_seed(3)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += NOISE * torch.randn_like(weight)
    method.save(model, folder / "adapter", "tiny-random-llama", tiny_model)
    return model.eval(), folder


def spoken(model: Any, ids: list[int]) -> torch.Tensor:
    """Log-probabilities after each token of a text, of peft's own forward without any cache."""
    with torch.no_grad():
        rows = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).logits[
            0
        ]
    return functional.log_softmax(rows[len(rows) - len(ids) :], -1)


@pytest.mark.parametrize("name", sorted(set(METHODS) - set(MERGED)))
@pytest.mark.parametrize("backend", ["fast", "plain"])
def test_a_cell_answers_as_pefts_own_forward_does(
    name: str, backend: str, tiny_model: Path, tmp_path: Path
) -> None:
    """Likelihoods and greedy texts of several prompts at once, against one forward a token."""
    model, folder = cell(name, tiny_model, tmp_path)
    held = hold(study(backend), f"cpt/{name}/short/s1", tiny_model, folder)
    assert held.where["backend"] == "plain"
    lm = held.language_model(batch_size=3, seed=1, ends=("separator", "end_of_response"))
    items = [
        Instance("loglikelihood", {}, (text, choice), 0)
        for text in TEXTS
        for choice in (" 42", "?")
    ]
    plain_base = hold(study(), "base", tiny_model, None).language_model(batch_size=3)
    untouched = plain_base.loglikelihood(items)
    for item, (nats, greedy), (before, _) in zip(
        items, lm.loglikelihood(items), untouched, strict=True
    ):
        context, ids = lm.encode(*item.args)
        said = spoken(model, context + ids)[len(context) - 1 : -1]
        expected = float(said[range(len(ids)), ids].sum())
        assert nats == pytest.approx(expected, abs=1e-4)
        assert bool(greedy) == (said.argmax(-1).tolist() == ids)
        # What was trained is in it.
        assert abs(nats - before) > 1e-4
    requests = [
        Instance("generate_until", {}, (text, UNTIL), 0, metadata=("t", i, 1))
        for i, text in enumerate(TEXTS)
    ]
    references = [lm.tok_encode(" the end", add_special_tokens=False)] * len(TEXTS)
    completions, nats_of = lm.complete_and_score(requests, references)
    for text, done, reference in zip(TEXTS, completions, nats_of, strict=True):
        context = lm.tok_encode(text)
        ids: list[int] = []
        while len(ids) < UNTIL["max_gen_toks"] and not lm.end_ids & set(ids):  # type: ignore[operator]
            ids.append(int(spoken(model, context + ids)[-1].argmax()))
        expected_text = lm.tokenizer.decode([i for i in ids if i not in lm.end_ids])
        assert done.text == expected_text.split("\n\n")[0]
        assert done.tokens <= len(ids)
        said = spoken(model, context + references[0])[len(context) - 1 : -1]
        ends = said[range(len(references[0])), references[0]]
        assert reference == pytest.approx(float(ends.sum()), abs=1e-4)


@pytest.mark.parametrize("name", VIRTUAL)
def test_no_padding_stands_between_a_learnt_prompt_and_a_text(
    name: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions would count it: each text is generated alone. A prefix in the cache has no such
    trouble, and texts are generated together."""
    _, folder = cell(name, tiny_model, tmp_path)
    held = hold(study(), f"cpt/{name}/short/s1", tiny_model, folder)
    rows: list[int] = []
    generate = held.model.generate

    def seen(**settings: Any) -> Any:
        rows.append(len(settings["input_ids"]))
        return generate(**settings)

    monkeypatch.setattr(held.model, "generate", seen)
    requests = [
        Instance("generate_until", {}, (text, UNTIL), 0, metadata=("t", i, 1))
        for i, text in enumerate(TEXTS)
    ]
    lm = held.language_model(batch_size=3, ends=("separator",))
    lm.complete_and_score(requests, [[]] * len(TEXTS))
    assert rows == ([3, 2] if name in ("prefix", "cartridge") else [1] * 5)


@pytest.mark.parametrize("name", VIRTUAL)
def test_the_window_is_shorter_by_the_virtual_tokens(
    name: str, tiny_model: Path, tmp_path: Path
) -> None:
    """A text of more tokens loses its beginning, and rolling windows are those of the text."""
    model, folder = cell(name, tiny_model, tmp_path)
    held = hold(study(), f"cpt/{name}/short/s1", tiny_model, folder)
    lm = held.language_model(batch_size=2)
    window = int(model.config.max_position_embeddings)
    assert lm.max_length == window - 5
    long = [7 + i % 60 for i in range(window + 10)]
    ids = [9, 11]
    (nats, _), *_ = lm.score([(long, ids)])
    kept = (long + ids)[-(window - 5 + 1) :]
    said = spoken(model, kept[:-1])[-2:]
    assert nats == pytest.approx(float(said[range(2), ids].sum()), abs=1e-3)


@pytest.mark.parametrize("name", ["prefix", "prompt"])
def test_an_end_is_the_studys_and_not_the_folders(
    name: str, tiny_model: Path, tmp_path: Path
) -> None:
    """peft hands generation to the model inside, which has a configuration of its own."""
    model, folder = cell(name, tiny_model, tmp_path)
    lm = hold(study(), f"cpt/{name}/short/s1", tiny_model, folder).language_model(batch_size=2)
    first = int(spoken(model, lm.tok_encode("a"))[-1].argmax())
    for ends, finish in ((frozenset({first}), "stop"), (frozenset[int](), "length")):
        held = hold(study(), f"cpt/{name}/short/s1", tiny_model, folder)
        held.model.get_base_model().generation_config.eos_token_id = first
        lm = held.answers(
            held.model, held.tokenizer, prefix_id=0, end_ids=sorted(ends), batch_size=2, seed=0
        )
        request = Instance("generate_until", {}, ("a", UNTIL), 0, metadata=("t", 0, 1))
        (done,), _ = lm.complete_and_score([request], [[]])
        assert (done.finish == finish) or (finish == "stop" and done.tokens == 1)
        assert (done.tokens == 1) == bool(ends)


@pytest.mark.parametrize("name", ["ia3", "prefix"])
def test_vllm_is_given_loras_alone(name: str, tiny_model: Path, tmp_path: Path) -> None:
    """Its engine would read another adapter as a LoRA; what merges goes to the fast back-end."""
    _, folder = cell(name, tiny_model, tmp_path)
    held = hold(study("vllm"), f"cpt/{name}/short/s1", tiny_model, folder)
    assert held.where["backend"] == ("fast" if name == "ia3" else "plain")
