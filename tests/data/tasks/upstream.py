"""Upstream's own task files, run by lm-eval over local rows: what ours are compared with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import evaluate
import pytest
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from lora_ledger.data.tasks.loading import FEWSHOT_SEED, Loaded


class NoMetric:
    """In place of the metric that upstream's coding tasks download while they are imported."""

    def compute(self, **_: Any) -> tuple[dict[str, float], dict[int, Any]]:
        return {"pass@1": 0.0}, {}


def task_file(path: str) -> Path:
    """A file below the folder of the installed lm-eval's tasks."""
    spec = find_spec("lm_eval")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "tasks" / path


def upstream_task(
    path: str,
    splits: Mapping[str, Iterable[Mapping[str, Any]]],
    folder: Path,
    **changes: Any,
) -> ConfigurableTask:
    """Upstream's task file over `splits`, written below `folder` as JSON lines.

    Nothing but the place of the data is changed, and what `changes` names. Splits that upstream
    names and `splits` lacks are given the rows of the split that is evaluated, since lm-eval opens
    them even when it draws no example from them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "load", lambda *_, **__: NoMetric())
        config = load_yaml(task_file(path))
    named = {config.get(f"{kind}_split") for kind in ("training", "validation", "test")} - {None}
    rows = {name: list(some) for name, some in splits.items()}
    evaluated = config.get("test_split") or config["validation_split"]
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name in sorted(named | set(rows)):
        files[name] = str(folder / f"{name}.jsonl")
        lines = (json.dumps(row) + "\n" for row in rows.get(name, rows[evaluated]))
        Path(files[name]).write_text("".join(lines), "utf-8")
    config |= {
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")},
        **changes,
    }
    task = ConfigurableTask(config=config)
    task.set_fewshot_seed(FEWSHOT_SEED)
    return task


def compare(ours: Loaded, theirs: ConfigurableTask) -> tuple[int, list[int]]:
    """How many requests were compared, and the items that differ in a request or the target.

    A request is its kind, its context, and its continuation or settings of generation.
    """
    theirs.build_all_requests()
    by_item: dict[int, list[Any]] = {}
    for instance in theirs.instances:
        by_item.setdefault(instance.doc_id, []).append(instance)
    documents = list(theirs.eval_docs)
    assert len(documents) == len(ours.documents) == len(by_item)
    compared, different = 0, []
    for i, document in enumerate(documents):
        compared += len(by_item[i])
        same = (
            [(r.request_type, r.idx, r.args) for r in ours.instances[i]]
            == [(r.request_type, r.idx, r.args) for r in by_item[i]]
        ) and ours.task.doc_to_target(ours.documents[i]) == theirs.doc_to_target(document)
        if not same:
            different.append(i)
    return compared, different
