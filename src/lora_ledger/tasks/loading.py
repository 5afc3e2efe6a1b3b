"""Builds lm-eval's task object over a folder of local data, and renders its prompts.

In: a task's name and the folder of its corpus. Out: lm-eval's own task, its documents in the
order of the split, and its requests. Prompts, filters and metrics are lm-eval's work; only the
download is replaced. It imports no torch and asks no model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

from lora_ledger.corpora.store import load
from lora_ledger.tasks import TaskError, describe, read

# lm-eval's own default for drawing few-shot examples.
FEWSHOT_SEED = 1234


class LocalTask(ConfigurableTask):  # type: ignore[misc]
    """A task of lm-eval whose documents are handed over instead of downloaded."""

    def __init__(self, config: dict[str, Any], splits: dict[str, Dataset]) -> None:
        self._splits = splits
        super().__init__(config=config)

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **_: Any) -> None:
        self.dataset = DatasetDict(self._splits)


@dataclass(frozen=True)
class Loaded:
    """A task with its documents; `instances[i]` are the requests of `documents[i]`."""

    task: LocalTask
    documents: list[dict[str, Any]]
    instances: list[list[Instance]]
    order: list[int]

    def chosen(self, limit: int | None) -> list[int]:
        """Indices of the first `limit` problems in the task's fixed order; None means all."""
        return self.order[:limit]


def build(
    name: str,
    folder: Path,
    num_fewshot: int = 0,
    generation: Mapping[str, object] | None = None,
) -> Loaded:
    """The task over `folder`, every document rendered in its own order.

    `generation` replaces members of the file's `generation_kwargs`; stop strings stay the file's.
    Few-shot examples come from the file's `fewshot_split` with lm-eval's default seed. Raises
    TaskError for a task without such a split, FileNotFoundError for a split that is not there.
    """
    info = describe(name)
    config = deepcopy(read(name))
    splits = {info.split: _dataset(load(folder, info.split))}
    source = config.pop("fewshot_split", None)
    if num_fewshot:
        if source is None:
            raise TaskError(
                f"{name}: found num_fewshot {num_fewshot}, expected 0, as the task names no "
                "split to draw examples from"
            )
        splits[source] = _dataset(load(folder, source))
        config["fewshot_split"] = source
    config["num_fewshot"] = num_fewshot
    if generation:
        config["generation_kwargs"] = {**config["generation_kwargs"], **generation}
    task = LocalTask(config, splits)
    task.set_fewshot_seed(FEWSHOT_SEED)
    documents = list(task.eval_docs)
    return Loaded(
        task=task,
        documents=documents,
        instances=[requests(task, i, doc, num_fewshot) for i, doc in enumerate(documents)],
        order=order(name, len(documents)),
    )


def requests(
    task: ConfigurableTask, index: int, document: dict[str, Any], num_fewshot: int
) -> list[Instance]:
    """The requests that lm-eval makes of one document, as `build_all_requests` does."""
    context = task.fewshot_context(
        document, num_fewshot=num_fewshot, gen_prefix=task.doc_to_prefix(document)
    )
    made = task.construct_requests(doc=document, ctx=context, metadata=(task.config.task, index, 1))
    return made if isinstance(made, list) else [made]


def order(name: str, count: int) -> list[int]:
    """A permutation of range(count), fixed for each task by the hash of its name and the index."""
    return sorted(range(count), key=lambda i: hashlib.sha256(f"{name}\0{i}".encode()).digest())


def prompts_digest(prompts: Sequence[str]) -> str:
    """SHA-256 over the prompts, each preceded by its length in bytes."""
    total = hashlib.sha256()
    for prompt in prompts:
        data = prompt.encode()
        total.update(f"{len(data)}\0".encode() + data)
    return total.hexdigest()


def _dataset(rows: list[dict[str, Any]]) -> Dataset:
    """Rows as lm-eval takes them: the members of `fields` stand beside the columns."""
    if not rows:
        raise TaskError("found a split without rows, expected one or more")
    return Dataset.from_list(
        [{**{k: v for k, v in row.items() if k != "fields"}, **row["fields"]} for row in rows]
    )
