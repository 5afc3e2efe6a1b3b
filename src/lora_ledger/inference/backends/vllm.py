"""The same language model answered by vLLM, on a GPU; an adapter is loaded as it is, not merged.

In: a model folder, perhaps an adapter, prompts and pairs as token ids. Out: completions and
log-likelihoods as `FastModel` gives them. vLLM is the user's own install and no dependency. Its
samples have a seed of their own each, drawn from the generator that `FastModel` uses, but are
other samples than that one's; its kernels round otherwise. Records name the back-end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.registry import register_model

from lora_ledger.inference.decoding import Completion, Finish, Prompt
from lora_ledger.inference.language_model import LedgerModel

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
DTYPES = {"bf16": "bfloat16", "fp32": "float32"}


def engine(source: Path, model_dir: Path, adapter: Path | None, where: Mapping[str, str]) -> Any:
    """(vllm.LLM, the adapter's request or None) over the folder `source`.

    Raises ValueError, naming the key, where vLLM is not installed, there is no CUDA device, or the
    adapter is of a kind that vLLM does not load.
    """
    if where["device"] != "cuda":
        raise ValueError(
            f"compute.backend: found 'vllm' on the device {where['device']!r}, expected cuda; take "
            "backend: fast there"
        )
    config: dict[str, Any] = {}
    if adapter is not None:
        config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
        if config.get("use_dora"):
            raise ValueError(
                "compute.backend: found 'vllm' for an adapter with DoRA, which it does not load; "
                "take backend: fast, which merges it"
            )
    try:
        from vllm import LLM
        from vllm.lora.request import LoRARequest
    except ImportError as error:
        raise ValueError(
            f"compute.backend: found 'vllm', which does not import ({error}); install it beside "
            "lora-ledger (pip install vllm), or take backend: fast"
        ) from None
    own = (source / "tokenizer.json").is_file()
    model = LLM(
        model=str(source),
        tokenizer=str(source if own else model_dir),
        dtype=DTYPES[where["precision"]],
        enable_prefix_caching=True,
        enable_lora=adapter is not None,
        **({"max_lora_rank": _rank(int(config["r"]))} if adapter is not None else {}),
    )
    return model, LoRARequest("cell", 1, str(adapter)) if adapter is not None else None


@register_model("lora-ledger-vllm")
class VllmModel(LedgerModel):
    """`LedgerModel` whose two kinds of answers come from a vLLM engine."""

    def __init__(self, parts: tuple[Any, Any], tokenizer: Any, **settings: Any) -> None:
        self.engine, self.adapter = parts
        # A prompt is scored with its last token in it, and one token is drawn and thrown away.
        length = int(self.engine.llm_engine.model_config.max_model_len) - 2
        super().__init__(tokenizer, max_length=length, **settings)

    def _beside(self, context: Sequence[int], reference: Sequence[int], room: int) -> bool:
        return False

    def _generate(self, prompts: list[Prompt]) -> tuple[list[list[Completion]], list[float]]:
        from vllm import SamplingParams

        asked, how = [], []
        for prompt in prompts:
            for draws in prompt.draws:
                asked.append({"prompt_token_ids": prompt.ids})
                how.append(
                    SamplingParams(
                        temperature=prompt.sampling.temperature,
                        top_p=prompt.sampling.top_p,
                        top_k=prompt.sampling.top_k or -1,
                        max_tokens=prompt.max_tokens,
                        seed=int(float(draws[0]) * 2**53),
                        stop=[stop for stop in prompt.stop_strings if stop],
                        stop_token_ids=sorted(self.end_ids),
                        # The folder's own idea of an end may be a mark of a chat.
                        ignore_eos=True,
                    )
                )
        answers = iter(self.engine.generate(asked, how, lora_request=self.adapter, use_tqdm=True))
        found = [[_completion(next(answers).outputs[0]) for _ in p.draws] for p in prompts]
        return found, [0.0] * len(prompts)

    def _score(self, pairs: list[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        from vllm import SamplingParams

        room = self.max_length + 1
        asked = [{"prompt_token_ids": (context + ids)[-room:]} for context, ids in pairs]
        how = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=1)
        answers = self.engine.generate(asked, how, lora_request=self.adapter, use_tqdm=True)
        found = []
        for (_, ids), answer in zip(pairs, answers, strict=True):
            # The first position has nothing before it and is None.
            known = list(zip(answer.prompt_token_ids, answer.prompt_logprobs, strict=True))[1:]
            scored = [entry[token] for token, entry in known[max(0, len(known) - len(ids)) :]]
            nats = sum(float(one.logprob) for one in scored)
            found.append((nats, all(one.rank == 1 for one in scored)))
        return found


def _rank(rank: int) -> int:
    """The least of the sizes that vLLM sets apart for adapters and that this rank fits in."""
    fitting = [size for size in RANKS if size >= rank]
    if not fitting:
        raise ValueError(
            f"compute.backend: found 'vllm' for an adapter of rank {rank}, expected {RANKS[-1]} at "
            "most; take backend: fast, which merges it"
        )
    return fitting[0]


def _completion(output: Any) -> Completion:
    finish: Finish = "length"
    if output.finish_reason == "stop":
        finish = "stop" if isinstance(output.stop_reason, str) else "end"
    return Completion(text=output.text, tokens=len(output.token_ids), finish=finish)
