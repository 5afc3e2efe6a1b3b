"""The vLLM back-end over a stand-in for the package, whose answers come from transformers.

No GPU is needed: what is tested is what we ask and what we make of the answers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance

from lora_ledger.inference.backends.fast import FastModel
from lora_ledger.inference.weights import load_tokenizer, load_weights
from lora_ledger.study.schema import Compute

GPU = {"device": "cuda", "precision": "fp32", "backend": "vllm"}


class Engine:
    """Greedy decoding and log-probabilities one sequence at a time, in vLLM's shapes."""

    def __init__(self, model: str, tokenizer: str, **options: Any) -> None:
        self.options = options
        self.weights, self.tokenizer = (
            load_weights(Path(model)).eval(),
            load_tokenizer(Path(tokenizer)),
        )
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=512))
        self.seen: list[Any] = []

    def generate(self, asked: Any, how: Any, lora_request: Any, use_tqdm: bool) -> list[Any]:
        self.seen.append((how, lora_request))
        several = how if isinstance(how, list) else [how] * len(asked)
        return [self._one(a["prompt_token_ids"], h) for a, h in zip(asked, several, strict=True)]

    @torch.no_grad()
    def _one(self, ids: list[int], how: Any) -> Any:
        found: list[int] = []
        finish, reason, text = "length", None, ""
        for _ in range(how.max_tokens):
            found.append(int(self.weights(torch.tensor([ids + found])).logits[0, -1].argmax()))
            text = self.tokenizer.decode(found, skip_special_tokens=True)
            stop = next((s for s in how.stop if s in text), None)
            if stop or found[-1] in how.stop_token_ids:
                finish, reason = "stop", stop or found[-1]
                text = text.split(stop)[0] if stop else text
                break
        logs = torch.log_softmax(self.weights(torch.tensor([ids])).logits[0].float(), -1)
        entries: list[Any] = [None]
        for row, token in zip(logs, ids[1:], strict=False):
            rank = int((row > row[token]).sum()) + 1
            entries.append({token: SimpleNamespace(logprob=float(row[token]), rank=rank)})
        output = SimpleNamespace(
            text=text, token_ids=found, finish_reason=finish, stop_reason=reason
        )
        return SimpleNamespace(outputs=[output], prompt_token_ids=ids, prompt_logprobs=entries)


class Params(SimpleNamespace):
    def __init__(self, **keys: Any) -> None:
        super().__init__(**{"stop": [], "stop_token_ids": [], **keys})


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    package, lora, request = (ModuleType(f"vllm{n}") for n in ("", ".lora", ".lora.request"))
    package.LLM, package.SamplingParams = Engine, Params  # type: ignore[attr-defined]
    request.LoRARequest = lambda *parts: parts  # type: ignore[attr-defined]
    for module in (package, lora, request):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def both(tiny_model: Path, **settings: Any) -> tuple[FastModel, Any]:
    from lora_ledger.inference.backends.vllm import VllmModel, engine

    options = {"prefix_id": 0, "end_ids": [], "seed": 1, **settings}
    tokenizer = load_tokenizer(tiny_model)
    ours = FastModel(load_weights(tiny_model).eval(), tokenizer, **options)
    return ours, VllmModel(engine(tiny_model, tiny_model, None, GPU), tokenizer, **options)


def asked(prompt: str, **settings: Any) -> Instance:
    kwargs = {"until": [], "max_gen_toks": 12, "do_sample": False, **settings}
    return Instance("generate_until", {}, (prompt, kwargs), 0, metadata=("t", 0, 1))


def test_answers_equal_the_other_back_ends(vllm: None, tiny_model: Path) -> None:
    ours, theirs = both(tiny_model)
    requests = [asked("The capital of"), asked("def f(x):")]
    free = ours.complete(requests)
    assert theirs.complete(requests) == free
    stop = next(free[0].text[i : i + 2] for i in range(3, 12) if free[0].text[i : i + 2].isascii())
    stopped = [asked("The capital of", until=[stop])]
    assert theirs.complete(stopped)[0].text == ours.complete(stopped)[0].text
    assert theirs.complete(stopped)[0].finish == "stop"
    pairs = [Instance("loglikelihood", {}, (c, " a river"), 0) for c in ("", "one", "two words")]
    for (a, greedy), (b, also) in zip(
        ours.loglikelihood(pairs), theirs.loglikelihood(pairs), strict=True
    ):
        assert b == pytest.approx(a, abs=1e-4)
        assert also is greedy


def test_what_is_asked(vllm: None, tiny_model: Path) -> None:
    """Samples have seeds of their own, the same in every run; the folder's own end is ignored."""
    seeds = []
    for end in (3, 4):
        _, theirs = both(tiny_model, end_ids=[end])
        sampled = {"do_sample": True, "temperature": 0.5, "top_p": 0.9, "max_gen_toks": 2}
        theirs.complete([asked("a", **sampled)] * 3)
        how, adapter = theirs.engine.seen[-1]
        assert [h.stop_token_ids for h in how] == [[end]] * 3
        assert {(h.temperature, h.top_p, h.top_k, h.ignore_eos) for h in how} == {
            (0.5, 0.9, -1, True)
        }
        assert adapter is None
        seeds.append([h.seed for h in how])
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 3


def test_an_adapter_is_loaded_as_it_is(vllm: None, tiny_model: Path, tmp_path: Path) -> None:
    from lora_ledger.inference.backends.vllm import engine

    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4}))
    model, request = engine(tiny_model, tiny_model, tmp_path, GPU)
    assert model.options["enable_lora"] is True
    # vLLM sets apart room for certain ranks only.
    assert model.options["max_lora_rank"] == 8
    assert request == ("cell", 1, str(tmp_path))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "use_dora": True}))
    with pytest.raises(ValueError, match=r"compute\.backend: found 'vllm' for an adapter with"):
        engine(tiny_model, tiny_model, tmp_path, GPU)


def test_every_token_of_a_window_is_scored(vllm: None, tiny_model: Path) -> None:
    """Windows leave room for the token before them and for the one that vLLM draws."""
    ours, theirs = both(tiny_model)
    theirs.max_length = ours.max_length = 14
    text = "The capital of Ankara is a river, 12 über. " * 3
    ((nats, tokens),) = theirs.rolling([text], 512)
    ((expected, same),) = ours.rolling([text], 512)
    assert tokens == same
    assert nats == pytest.approx(expected, abs=1e-3)


def test_what_is_not_there_is_said(tiny_model: Path) -> None:
    from lora_ledger.inference.backends.vllm import engine

    with pytest.raises(ValueError, match=r"does not import .*; install it beside lora-ledger"):
        engine(tiny_model, tiny_model, None, GPU)
    with pytest.raises(ValueError, match="on the device 'cpu', expected cuda"):
        engine(tiny_model, tiny_model, None, {**GPU, "device": "cpu"})
    with pytest.raises(ValueError, match="expected fast or plain on the device cpu"):
        Compute.model_validate({"backend": "vllm", "device": "cpu"})
