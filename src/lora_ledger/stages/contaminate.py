"""Stage `contaminate`: how much of a task's questions a training corpus already holds.

In: a corpus, the corpus of a task, and the study, which says which task a run asks.
Out: a record with the items that were found in the training text, by three measures (`overlap`);
the same between the task's own training split and its items, which is what two independent texts
of one kind share; and the reasons to stop, by the limits of `contamination`.
It stops nothing itself (`gate` does) and knows nothing of descent: that a corpus was made from the
task is refused when the study is read.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lora_ledger.catalogue import CorpusEntry
from lora_ledger.common.errors import KeyProblem, require
from lora_ledger.common.startup import loading
from lora_ledger.data.corpora.store import load as load_rows
from lora_ledger.records.record import Record, identity
from lora_ledger.scheduling.stage import Names, Stage
from lora_ledger.study import cells
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study

from ._main import flag, place
from ._main import run as run_stage

BATCH = 1000


def reads(study: Study, names: Names) -> dict[str, Any]:
    """The roles of both corpora's splits, the task file, the study's permission of the pair."""
    task = cells.task_of(study, names["run"])
    return {
        "splits": splits_of(study, names["corpus"]),
        "task": task.digest,
        "task corpus": task.corpus,
        "task splits": splits_of(study, task.corpus),
        "permission": cells.permission(study, names["corpus"], names["run"]),
    }


def splits_of(study: Study, corpus: str) -> dict[str, Any]:
    """What each part of a corpus may be used for."""
    splits = study.corpus_entry(corpus).splits
    return {name: {"role": s.role, "as_published": s.as_published} for name, s in splits.items()}


STAGE = Stage("contaminate", ("the first",), reads)


def training_splits(entry: CorpusEntry) -> list[str]:
    """The splits that a cell may have seen in training: roles train and validation."""
    return [name for name, what in entry.splits.items() if what.role in ("train", "validation")]


def noise_splits(entry: CorpusEntry) -> list[str]:
    """What a task's own corpus was published to train on; empty when there is nothing.

    A handful of exemplars that somebody wrote is no such split; a published one is whole.
    """
    own = training_splits(entry)
    if any(entry.splits[name].role == "train" for name in own):
        return own
    return own + [
        name
        for name, what in entry.splits.items()
        if what.role == "exemplars" and what.as_published
    ]


def examples(folder: Path, splits: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(id, text) of every example, a few in memory at a time; a pair as prompt, line, response.

    Raises FileNotFoundError for a split that is not there.
    """
    with loading():
        from datasets import load_from_disk

    for split in splits:
        if not (folder / split).is_dir():
            raise FileNotFoundError(
                f"{folder / split}: found nothing, expected the split '{split}' that the catalogue "
                "names; run the fetch stage for this corpus"
            )
        data = load_from_disk(str(folder / split))
        for batch in data.select_columns(["id", "text", "prompt", "response"]).iter(BATCH):
            rows = zip(*(batch[key] for key in ("id", "text", "prompt", "response")), strict=True)
            for identifier, text, prompt, response in rows:
                yield identifier, text or f"{prompt}\n{response}"


def questions(folder: Path, split: str, field: str) -> tuple[list[str], list[str]]:
    """The ids and questions of a task's items; `field` is looked up in `fields`, then as a column.

    Raises KeyProblem for an item without it.
    """
    ids, asked = [], []
    for row in load_rows(folder, split):
        question = row["fields"].get(field, row.get(field))
        if not isinstance(question, str):
            raise KeyProblem(
                "metadata.question",
                field,
                f"a field or column of {folder / split} that holds text: "
                + ", ".join(sorted({*row["fields"], "prompt", "text"})),
            )
        ids.append(row["id"])
        asked.append(question)
    return ids, asked


def contaminate(
    study_file: str, corpus: str, run: str, data: Path, task_data: Path, out: Path
) -> Record:
    """Measure one pair and write its record.

    Raises KeyProblem for a corpus or run that the study lacks, FileNotFoundError for a split that
    is not there.
    """
    from lora_ledger.analysis import contamination, overlap

    study = load(study_file)
    trained = list(dict.fromkeys(setting.corpus for setting in study.settings.values()))
    require("--corpus", corpus, trained, "a setting's corpus")
    require("--run", run, [*study.evaluation.generate, *study.evaluation.likelihood], "one of")
    info = cells.task_of(study, run)
    splits = training_splits(study.corpus_entry(corpus))
    own = noise_splits(study.corpus_entry(info.corpus))
    ids, asked = questions(task_data, info.split, info.question)
    started = time.perf_counter()
    found = contamination.look(ids, asked, examples(data, splits))
    seconds = time.perf_counter() - started
    same = (corpus, splits) == (info.corpus, own)
    noise = found if same else None
    if own and not same:
        noise = contamination.look(ids, asked, examples(task_data, own))
    told = contamination.results(found, asked, noise)
    told["training"]["splits"] = splits
    if told["noise"] is not None:
        told["noise"]["splits"] = own
    return STAGE.record(
        out,
        study,
        {"corpus": corpus, "run": run},
        f"{corpus}/{run}",
        inputs={"data": identity(data), "task-data": identity(task_data)},
        settings={
            "corpus": corpus,
            "run": run,
            "task": asdict(info),
            "gram": overlap.GRAM,
            "common": overlap.COMMON,
            "plain": overlap.PLAIN,
            "shortest": overlap.SHORTEST,
            "gram_limit": float(contamination.GRAM_LIMIT),
            "noise_times": contamination.NOISE_TIMES,
            "permitted": cells.permission(study, corpus, run) or None,
        },
        results=told,
        run={"scan_seconds": round(seconds, 2), "words_per_second": round(found.words / seconds)},
    )


FLAGS = (
    flag("study"),
    flag("corpus", "a setting's corpus"),
    flag("run", "a key of evaluation.generate or evaluation.likelihood"),
    place("data", "the corpus"),
    place("task-data", "the corpus of the task"),
    place("out", "record to write"),
)


def main(args: argparse.Namespace) -> str:
    """A pair that stops is no error here: `gate` refuses it."""
    record = contaminate(args.study, args.corpus, args.run, args.data, args.task_data, args.out)
    stops = ", ".join(one["measure"] for one in record.results["stops"])
    return f"{record.cell}: {'stops by ' + stops if stops else 'passes'}"


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, FLAGS, main))
