"""Builds lm-eval's task object over a folder of local data, and renders its prompts.

In: a task's name and the folder of its corpus. Out: lm-eval's own task, its documents in the
order of the split, and its requests. Prompts, filters and metrics are lm-eval's work; only the
download is replaced. It imports no torch and asks no model.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

from lora_ledger.data.corpora.store import load

from . import LISTED, OWN_ITEMS, TaskError, describe, read

# lm-eval's own default for drawing few-shot examples.
FEWSHOT_SEED = 1234
FUNCTION = "!function "
# Columns that name a row; a field of the same name would put another in their place.
NAMES = ("id", "group")


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
    num_fewshot: int | None = None,
    generation: Mapping[str, object] | None = None,
    corpus: str | None = None,
) -> Loaded:
    """The task over `folder`, which holds `corpus`, every document rendered in its own order.

    `num_fewshot` None is the file's own number. Examples are drawn as lm-eval draws them, from one
    generator with its default seed that goes on from document to document: from the split or the
    list that the file names, else from the task's other items. `generation` replaces members of
    the file's `generation_kwargs`; stop strings stay the file's. Raises TaskError where there are
    no or too few examples, FileNotFoundError for a split that is not there.
    """
    info = describe(name, corpus)
    shots = info.shots(num_fewshot)
    config = _resolved(read(name))
    splits = {info.split: _dataset(load(folder, info.split))}
    drawn = config.pop("fewshot_split", None)
    if shots and not info.exemplars:
        raise TaskError(
            f"{name}: found num_fewshot {shots}, expected 0, as the task names no split to draw "
            "examples from"
        )
    if shots and info.exemplars == OWN_ITEMS:
        # lm-eval leaves the item itself out of the draw where the two splits have one name, or
        # where neither is named, which is the case of a task that is evaluated on validation rows.
        if "test_split" in config:
            config["fewshot_split"] = info.split
    elif shots and info.exemplars != LISTED:
        splits[info.exemplars] = _dataset(load(folder, info.exemplars))
        config["fewshot_split" if drawn else "training_split"] = info.exemplars
    config["num_fewshot"] = shots
    if generation:
        config["generation_kwargs"] = {**config["generation_kwargs"], **generation}
    with _compiled_once():
        task = LocalTask(config, splits)
        available = len(task.sampler.df) - (info.exemplars == OWN_ITEMS)
        if shots > available:
            raise TaskError(
                f"{name}: found num_fewshot {shots}, expected at most {available}, the examples "
                "that there are"
            )
        task.set_fewshot_seed(FEWSHOT_SEED)
        documents = list(task.eval_docs)
        instances = [requests(task, i, doc, shots) for i, doc in enumerate(documents)]
    return Loaded(task, documents, instances, order(name, len(documents)))


@contextmanager
def _compiled_once() -> Iterator[None]:
    """lm-eval compiles a template again for each document, which takes 40 times as long as to
    render it; here each is compiled once."""
    environment = utils.env
    environment.from_string = cache(environment.from_string)
    try:
        yield
    finally:
        del environment.from_string


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
    """Rows as lm-eval takes them: the members of `fields` stand beside the columns, or in place
    of those that have their name, such as `text`."""
    if not rows:
        raise TaskError("found a split without rows, expected one or more")
    taken = sorted(set(NAMES) & {key for row in rows for key in row["fields"]})
    if taken:
        raise TaskError(
            f"found the fields {', '.join(taken)}, expected other names, as these name the row; "
            "rename them in the corpus's reader"
        )
    flat = [{**{k: v for k, v in row.items() if k != "fields"}, **row["fields"]} for row in rows]
    try:
        return Dataset.from_list(flat)
    except (ValueError, TypeError, OverflowError) as error:
        for field in dict.fromkeys(key for row in flat for key in row):
            try:
                Dataset.from_list([{field: row.get(field)} for row in flat])
            except (ValueError, TypeError, OverflowError) as why:
                raise TaskError(
                    f"the field '{field}': found values of several types, or a number beyond 64 "
                    f"bits ({why}), expected one type; write them as text, or leave them out"
                ) from error
        raise


def _resolved(value: Any) -> Any:
    """The value with the function in place of each text `!function module.name`."""
    if isinstance(value, dict):
        return {key: _resolved(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_resolved(one) for one in value]
    if isinstance(value, str) and value.startswith(FUNCTION):
        return function(value.removeprefix(FUNCTION))
    return value


def function(path: str) -> Callable[..., Any]:
    """The function at `module.name`, made from its own lines of the module's source.

    The module itself is not run: those of upstream's coding tasks download a metric and execute
    code while they are imported. So the function may use nothing else of its module. Raises
    TaskError for a module or function that is not there.
    """
    module, _, name = path.rpartition(".")
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise TaskError(f"{FUNCTION}{path}: found no module {module!r}, expected one of lm-eval's")
    tree = ast.parse(Path(spec.origin).read_text("utf-8"))
    found = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == name]
    if not found:
        raise TaskError(f"{FUNCTION}{path}: found no function {name!r}, expected one in {module}")
    namespace: dict[str, Any] = {"__name__": module}
    exec(compile(ast.Module([*found], []), spec.origin, "exec"), namespace)
    made: Callable[..., Any] = namespace[name]
    return made
