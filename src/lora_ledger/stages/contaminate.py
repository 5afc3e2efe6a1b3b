"""Stage `contaminate`: how much of a task's questions a training corpus already holds.

In: a corpus, the corpus of a task, and the study, which says which task a run asks.
Out: a record with the items that were found in the training text, the same between the task's own
training split and its items, and the reasons to stop. What is measured how, and what is too much,
is `analysis.contamination`; it stops nothing itself (`gate` does).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lora_ledger.common.errors import require
from lora_ledger.data.corpora import texts
from lora_ledger.records.record import Record, identity
from lora_ledger.scheduling.stage import Names, Stage
from lora_ledger.study import cells
from lora_ledger.study.file import load
from lora_ledger.study.schema import Study

from ._main import flag, place
from ._main import run as run_stage


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


def contaminate(
    study_file: str, corpus: str, run: str, data: Path, task_data: Path, out: Path
) -> Record:
    """Measure one pair and write its record.

    Raises KeyProblem for a corpus or run that the study lacks, FileNotFoundError for a split that
    is not there.
    """
    from lora_ledger.analysis import contamination

    study = load(study_file)
    trained = list(dict.fromkeys(setting.corpus for setting in study.settings.values()))
    require("--corpus", corpus, trained, "a setting's corpus")
    require("--run", run, [*study.evaluation.generate, *study.evaluation.likelihood], "one of")
    info = cells.task_of(study, run)
    splits = texts.training_splits(study.corpus_entry(corpus))
    own = texts.noise_splits(study.corpus_entry(info.corpus))
    told, times = contamination.measure(
        *texts.questions(task_data, info.split, info.question),
        texts.examples(data, splits),
        texts.examples(task_data, own) if own else None,
        same=(corpus, splits) == (info.corpus, own),
    )
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
            **contamination.limits(),
            "permitted": cells.permission(study, corpus, run) or None,
        },
        results=told,
        run=times,
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
