"""What a cell has kept of the source domain: bits of held-out text, and tasks by likelihoods.

In: a cell, and a text or a task of the study's `evaluation` with its corpus. Out: nats
and bytes of each document, or what each item came to with a row for every scored continuation;
lm-eval makes the requests and its accuracies. It compares nothing with the base: `tables` do.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import exp, log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.common.errors import KeyProblem, require
from lora_ledger.common.startup import loading
from lora_ledger.data.tasks import describe
from lora_ledger.study.evaluation import LikelihoodTask, Memorised, Prompts, RetainText
from lora_ledger.study.schema import Study

from .cuts import count_cut
from .subject import Subject

if TYPE_CHECKING:
    from lora_ledger.data.tasks.loading import Loaded, LocalTask

    from .language_model import LedgerModel

COLUMNS = (
    "task", "item", "choice", "gold", "loglikelihood", "tokens", "characters", "bytes",
)  # fmt: skip
TEXT = "text"
Rows = list[dict[str, Any]]


def entry(study: Study, task: str) -> RetainText | LikelihoodTask | Prompts | Memorised:
    """What is asked under that name; raises KeyProblem where nothing is."""
    evaluation = study.evaluation
    known = [*evaluation.texts, *evaluation.likelihood, *evaluation.prompts, *evaluation.memorised]
    require("--task", task, known, "one of evaluation.texts, likelihood, prompts or memorised")
    found = evaluation.texts.get(task) or evaluation.likelihood.get(task)
    return found or evaluation.prompts.get(task) or evaluation.memorised[task]


def resolved(study: Study, task: str) -> dict[str, Any]:
    """The keys of `task` as they are used, with what its task file says."""
    what = entry(study, task)
    found: dict[str, Any] = what.model_dump(mode="json")
    if isinstance(what, LikelihoodTask | Prompts):
        info = describe(what.task, what.corpus)
        found |= {"num_fewshot": info.shots(what.num_fewshot), "task": asdict(info)}
    return found


def measure(
    subject: Subject, task: str, data: Path
) -> tuple[Rows, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(rows, settings, results, times) of the text or the task `task` on the corpus in `data`.

    `kind` among the results is `text`, `choices`, `continuation`, `prompts` or
    `memorised`; only a task of
    likelihoods has rows.
    """
    what, batch_size = entry(subject.study, task), subject.study.evaluation.batch_size
    started = time.perf_counter()
    lm = subject.language_model(batch_size=batch_size)
    loaded = time.perf_counter()
    rows: Rows = []
    if isinstance(what, RetainText):
        results = {"kind": TEXT, **measure_text(lm, data, what)}
        if what.divergence or what.csd:
            from . import beside_base

            results |= beside_base.of_texts(
                subject,
                lm,
                [text for *_, text in _documents(data, what)],
                what.sequence_length,
                kl=what.divergence,
                csd=what.csd,
            )
    elif isinstance(what, Prompts):
        from . import beside_base

        results = beside_base.of_prompts(subject, lm, data, what)
    elif isinstance(what, Memorised):
        from . import memorised

        speaker = subject.language_model(
            batch_size=batch_size, ends=("separator", "end_of_response")
        )
        results = memorised.of_examples(speaker, data, what)
    else:
        results, rows = measure_items(lm, task, data, what)
    settings = {**subject.resolved, "batch_size": batch_size}
    times = {
        "start_seconds": round(loaded - started, 2),
        "measure_seconds": round(time.perf_counter() - loaded, 2),
        "threads": subject.study.compute.threads,
    }
    return rows, settings, results, times


def held_out(rows: Iterable[Mapping[str, Any]], kilobytes: int) -> list[tuple[str, str, str]]:
    """(id, group, text) of documents in stored order, up to `kilobytes` x 1024 UTF-8 bytes.

    The last document is cut at the limit, at the end of a whole character.
    """
    left = kilobytes * 1024
    chosen = []
    for row in rows:
        text = row["text"].encode()[:left].decode(errors="ignore")
        if not text:
            break
        chosen.append((row["id"], row["group"], text))
        left -= len(text.encode())
    return chosen


def _documents(folder: Path, what: RetainText) -> list[tuple[str, str, str]]:
    from lora_ledger.data.corpora.store import load as load_rows

    return held_out(load_rows(folder, "test"), what.kilobytes)


def measure_text(lm: LedgerModel, folder: Path, what: RetainText) -> dict[str, Any]:
    """Nats, bytes and tokens of each held-out document of the split `test`, each by itself.

    A document is scored in windows of `sequence_length` tokens; the prefix token stands before
    its first.
    """
    documents = _documents(folder, what)
    scores = lm.rolling([text for *_, text in documents], what.sequence_length)
    return {
        "documents": [name for name, *_ in documents],
        "groups": [group for _, group, _ in documents],
        "nats": [-nats for nats, _ in scores],
        "bytes": [len(text.encode()) for *_, text in documents],
        "tokens": [tokens for _, tokens in scores],
    }


def measure_items(
    lm: LedgerModel, name: str, folder: Path, what: LikelihoodTask
) -> tuple[dict[str, Any], Rows]:
    """A task's items as the record holds them, a list for each key, and a row of COLUMNS for each
    scored continuation. `kind` is the task's: see `of_choices` and `of_continuation`.
    """
    with loading():
        from lora_ledger.data.tasks.loading import build

        task = build(what.task, folder, what.num_fewshot, corpus=what.corpus)
    kind = describe(what.task).kind
    chosen = task.chosen(what.limit)
    cut = _cut(task, chosen, what, lm)
    answers = iter(lm.loglikelihood([request for i in chosen for request in task.instances[i]]))
    found: dict[str, Any] = {"kind": kind, "cut_contexts": cut, "items": [], "groups": []}
    rows = []
    for i in chosen:
        document, instances = task.documents[i], task.instances[i]
        results = [next(answers) for _ in instances]
        tokens = [len(lm.encode(*request.args)[1]) for request in instances]
        measure = of_continuation if kind == "continuation" else of_choices
        values, texts, gold = measure(task.task, document, results, tokens)
        for key, value in {"items": document["id"], "groups": document["group"], **values}.items():
            found.setdefault(key, []).append(value)
        for j, text in enumerate(texts):
            size = len(text.encode())
            row = (
                name, document["id"], j, int(j == gold), results[j][0], tokens[j], len(text), size,
            )  # fmt: skip
            rows.append(dict(zip(COLUMNS, row, strict=True)))
    return found, rows


def _cut(task: Loaded, chosen: Sequence[int], what: LikelihoodTask, lm: LedgerModel) -> int:
    """How many items have a context that loses its beginning.

    Raises KeyProblem for too many, and for a continuation that is longer than the window by itself:
    what of it is cut would cost nothing.
    """
    lengths = []
    for i in chosen:
        pairs = [lm.encode(*request.args) for request in task.instances[i]]
        lengths.append(max(len(context) + len(ids) - 1 for context, ids in pairs))
        longest = max(len(ids) for _, ids in pairs)
        if longest > lm.max_length:
            raise KeyProblem(
                "task",
                what.task,
                f"one whose continuations fit into the model's window of {lm.max_length} tokens; "
                f"one of the item {task.documents[i]['id']} has {longest}",
            )
    shots = task.task.config.num_fewshot
    key, value = ("num_fewshot", shots) if shots else ("task", what.task)
    return count_cut(lengths, lm.max_length, key, value, "are the model's window")


def of_choices(
    task: LocalTask,
    document: Mapping[str, Any],
    results: Sequence[tuple[float, bool]],
    tokens: Sequence[int],
) -> tuple[dict[str, Any], list[str], int]:
    """What an item of several choices came to, the continuations scored, and the right one.

    `acc` (the largest summed log-likelihood) and, where the task has it, `acc_norm` (after division
    by the choice's characters) are lm-eval's. `acc_token` takes the lowest mean loss per token, as
    the Gauntlet of Biderman et al. does. Where the choices are contexts, one continuation is scored
    after each, and tokens and characters are that continuation's. `cross_entropy` is in nats.
    """
    several = bool(task.multiple_input)
    gold = int(task.doc_to_text(document) if several else task.doc_to_target(document))
    choices: list[str] = task.doc_to_choice(document)
    texts = [str(task.doc_to_target(document))] * len(choices) if several else choices
    metrics = task.process_results(document, results)
    sums = [nats for nats, _ in results]
    values: dict[str, Any] = {"options": len(choices), "gold": gold}
    values |= {key: int(metrics[key]) for key in ("acc", "acc_norm") if key in metrics}
    values["acc_token"] = int(lowest_loss(sums, tokens) == gold)
    values["cross_entropy"] = cross_entropy(sums, gold)
    return values, texts, gold


def of_continuation(
    task: LocalTask,
    document: Mapping[str, Any],
    results: Sequence[tuple[float, bool]],
    tokens: Sequence[int],
) -> tuple[dict[str, Any], list[str], int]:
    """What an item of one continuation came to, that continuation, and its place.

    `acc` is lm-eval's: 1 where greedy decoding gives the continuation. `bytes` are those of the
    continuation as it is scored, the blank before the word included.
    """
    text = str(task.doc_to_target(document))
    metrics = task.process_results(document, results)
    values = {
        "acc": int(metrics["acc"]),
        "nats": -results[0][0],
        "bytes": len(text.encode()),
        "tokens": tokens[0],
    }
    return values, [text], 0


def lowest_loss(sums: Sequence[float], tokens: Sequence[int]) -> int:
    """The choice with the lowest mean loss per token; the first of several that are level."""
    means = [-nats / max(1, count) for nats, count in zip(sums, tokens, strict=True)]
    return means.index(min(means))


def cross_entropy(values: Sequence[float], gold: int) -> float:
    """-log softmax(values)[gold], in nats."""
    top = max(values)
    return log(sum(exp(value - top) for value in values)) + top - values[gold]
