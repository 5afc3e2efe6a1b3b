"""The language model that lm-eval drives, whatever answers: tokens, windows, order of requests.

In: a tokenizer, the ids of the prefix and of the tokens that end a text, and requests made by
lm-eval. Out: log-likelihoods in nats and completions. The two kinds of answers come from a back-end
of `backends`, token ids in and numbers or text out. It loads no weights and reads no task file.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from .decoding import Completion, Prompt
from .sampling import Sampling, uniforms


class LedgerModel(TemplateLM):  # type: ignore[misc]
    """What all back-ends share; each answers `_score` and `_generate`."""

    def __init__(
        self,
        tokenizer: Any,
        *,
        prefix_id: int,
        end_ids: Sequence[int],
        begin_ids: Sequence[int] = (),
        batch_size: int = 8,
        seed: int = 0,
        max_length: int,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.end_ids = frozenset(end_ids)
        self.begin_ids = list(begin_ids)
        self.batch_size = batch_size
        self.seed = seed
        self.max_length = max_length
        self._prefix_id = prefix_id

    @property
    def eot_token_id(self) -> int:
        return self._prefix_id

    @property
    def prefix_token_id(self) -> int:
        return self._prefix_id

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """Token ids, after `begin_ids` unless special tokens are declined or already there."""
        ids: list[int] = self.tokenizer.encode(string, add_special_tokens=False)
        begun = add_special_tokens is False or ids[: len(self.begin_ids)] == self.begin_ids
        return ids if begun else self.begin_ids + ids

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """(nats summed over the continuation, whether greedy decoding gives it) of each request."""
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        return found

    def encode(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """The ids that `loglikelihood` conditions on and scores, by lm-eval's rules."""
        if context:
            context_ids, ids = self._encode_pair(context, continuation)
            return list(context_ids), list(ids)
        ids = self.tok_encode(continuation, add_special_tokens=False)
        if ids[:1] == [self._prefix_id]:
            return ids[:1], ids[1:]
        return [self._prefix_id], ids

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """As lm-eval has it, but where a token crosses from context into continuation and leaves
        it none: it would cost nothing and always be chosen, so it is encoded alone."""
        before, ids = super()._encode_pair(context, continuation)
        if not ids:
            blanks = context[len(context.rstrip()) :]
            ids = self.tok_encode(blanks + continuation, add_special_tokens=False)
        return before, ids

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        for (context, continuation), _encoded, ids in requests:
            if not ids:
                raise ValueError(
                    f"found the continuation {continuation!r} without a token after "
                    f"{context[-40:]!r}, expected one or more; correct the task's file or its rows"
                )
        return self.score([(context, ids) for _, context, ids in requests])

    def score(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        """Summed log-probability (nats) and greediness of the second ids given the first.

        Where nothing stands first (lm-eval leaves that of a context of blanks), the prefix token
        does.
        """
        return self._score([(context or [self._prefix_id], ids) for context, ids in pairs])

    def _score(self, pairs: list[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        """What `score` promises, for contexts that are not empty."""
        raise NotImplementedError

    def _generate(self, prompts: list[Prompt]) -> tuple[list[list[Completion]], list[float]]:
        """Completions of each prompt, and the nats of its reference (0 where it has none)."""
        raise NotImplementedError

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[float]:
        """Log-likelihood in nats of whole texts, each alone."""
        return [nats for nats, _ in self.rolling([r.args[0] for r in requests], self.max_length)]

    def rolling(self, texts: Sequence[str], window: int) -> list[tuple[float, int]]:
        """(nats, tokens) of each text in windows of `window` tokens, every token predicted once.

        The prefix token stands before the first token, and no window is longer than the model's. It
        is conditioned on the last token of the one before it; the last window reaches back until it
        is full, as lm-eval has it.
        """
        pairs, owners = self.windows(texts, window)
        nats = [0.0] * len(texts)
        tokens = [0] * len(texts)
        for owner, (_, ids), (value, _) in zip(owners, pairs, self.score(pairs), strict=True):
            nats[owner] += value
            tokens[owner] += len(ids)
        return list(zip(nats, tokens, strict=True))

    def windows(
        self, texts: Sequence[str], window: int
    ) -> tuple[list[tuple[list[int], list[int]]], list[int]]:
        """The pairs (context ids, ids) in which `rolling` scores texts, and the text of each."""
        pairs: list[tuple[list[int], list[int]]] = []
        owners: list[int] = []
        for owner, text in enumerate(texts):
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(text, add_special_tokens=False),
                prefix_token=self._prefix_id,
                max_seq_len=min(window, self.max_length),
                context_len=1,
            )
            for one in windows:
                context, ids = make_disjoint_window(one)
                pairs.append((context, ids))
                owners.append(owner)
        return pairs, owners

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """One completion a request; a request that comes again gets the document's next sample."""
        return [completion.text for completion in self.complete(requests)]

    def complete(self, requests: Sequence[Instance]) -> list[Completion]:
        """Completions with their lengths and ends, in the order of the requests."""
        return self.complete_and_score(requests, [()] * len(requests))[0]

    def complete_and_score(
        self, requests: Sequence[Instance], references: Sequence[Sequence[int]]
    ) -> tuple[list[Completion], list[float]]:
        """Completions, and the nats of a reference (token ids) after each request's context.

        Where a context leaves room for the completion and for its reference, it is filled in once
        for both. Of a request that comes again the first reference counts.
        """
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, request in enumerate(requests):
            context, settings = request.args
            key = (request.task_name, request.doc_id, context, repr(settings))
            groups.setdefault(key, []).append(place)
        prompts = [
            self._prompt(requests[places[0]], len(places), references[places[0]])
            for places in groups.values()
        ]
        answers, nats = self._generate(prompts)
        apart: dict[int, tuple[list[int], list[int]]] = {}
        for i, places in enumerate(groups.values()):
            reference = list(references[places[0]])
            if reference and not prompts[i].reference:
                apart[i] = self.tok_encode(requests[places[0]].args[0]), reference
        if apart:
            for i, (value, _) in zip(apart, self.score(list(apart.values())), strict=True):
                nats[i] = value
        completions: list[Completion | None] = [None] * len(requests)
        scores = [0.0] * len(requests)
        for places, several, value in zip(groups.values(), answers, nats, strict=True):
            for place, completion in zip(places, several, strict=True):
                completions[place], scores[place] = completion, value
        return [one for one in completions if one is not None], scores

    def _beside(self, context: Sequence[int], reference: Sequence[int], room: int) -> bool:
        """Whether a reference can be scored in the pass that fills in its prompt."""
        fits = len(context) + len(reference) - 1 <= self.max_length
        return len(context) <= room and fits

    def _prompt(self, request: Instance, samples: int, reference: Sequence[int]) -> Prompt:
        context, settings = request.args
        settings = normalize_gen_kwargs(settings)
        length = settings["max_gen_toks"]
        room = self.max_length - length
        if room < 1:
            raise ValueError(
                f"max_gen_toks: found {length}, expected below {self.max_length}, the model's "
                "window"
            )
        context_ids = self.tok_encode(context) or [self._prefix_id]
        draws = [
            uniforms(self.seed, str(request.task_name), int(request.doc_id or 0), j, length)
            for j in range(samples)
        ]
        return Prompt(
            # lm-eval has it so: a prompt that leaves no room loses its beginning.
            ids=context_ids[-room:],
            reference=tuple(reference) if self._beside(context_ids, reference, room) else (),
            draws=torch.stack(draws),
            stop_strings=tuple(settings["until"]),
            max_tokens=length,
            sampling=Sampling(
                temperature=settings["temperature"] if settings["do_sample"] else 0.0,
                top_p=settings.get("top_p") or 1.0,
                top_k=settings.get("top_k") or 0,
            ),
        )


def bar(total: int, unit: str) -> Any:
    return tqdm(total=total, unit=f" {unit}", disable=not sys.stderr.isatty())
