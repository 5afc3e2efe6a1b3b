"""Stage `retain`: how well a cell still predicts general text and answers general questions.

In: the study, the model folder, the cell's folder (none for `base`), folders of held-out texts
and of corpora of choices or passages. Out: a record with nats and bytes of each document, what
each item came to, and a table of everything scored. lm-eval makes the requests and its accuracies.
It compares nothing with the base; `tabulate` does.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ledger.common.devices import claim_device
from lora_ledger.common.errors import KeyProblem, require
from lora_ledger.common.startup import loading
from lora_ledger.data.tasks import describe
from lora_ledger.records.atomic import csv_gz, write_bytes_atomic
from lora_ledger.records.record import Record, identity, status_of
from lora_ledger.scheduling.stage import (
    Names,
    Stage,
    asked_of_evaluation,
    lean,
    of_evaluation,
)
from lora_ledger.study import cells
from lora_ledger.study.evaluation import LikelihoodTask, RetainText
from lora_ledger.study.file import StudyError, load
from lora_ledger.study.schema import Study

if TYPE_CHECKING:
    from lora_ledger.data.tasks.loading import LocalTask
    from lora_ledger.inference.language_model import LedgerModel

COLUMNS = (
    "task", "item", "choice", "gold", "loglikelihood", "tokens", "characters", "bytes",
)  # fmt: skip


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


def measure_text(lm: LedgerModel, folder: Path, what: RetainText) -> dict[str, Any]:
    """Nats, bytes and tokens of each held-out document of the split `test`, each by itself.

    A document is scored in windows of `sequence_length` tokens; the prefix token stands before
    its first.
    """
    from lora_ledger.data.corpora.store import load as load_rows

    documents = held_out(load_rows(folder, "test"), what.kilobytes)
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
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A task's items as the record holds them, a list for each key, and a row of COLUMNS for each
    scored continuation. `kind` is the task's: see `of_choices` and `of_continuation`.
    """
    with loading():
        from lora_ledger.data.tasks.loading import build

        task = build(what.task, folder, what.num_fewshot, corpus=what.corpus)
    kind = describe(what.task).kind
    chosen = task.chosen(what.limit)
    answers = iter(lm.loglikelihood([request for i in chosen for request in task.instances[i]]))
    found: dict[str, Any] = {"kind": kind, "items": [], "groups": []}
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
    from math import exp, log

    top = max(values)
    return log(sum(exp(value - top) for value in values)) + top - values[gold]


def reads(study: Study, names: Names) -> dict[str, Any]:
    """Texts, tasks and their files, the tokens' roles."""
    evaluation = study.evaluation
    return {
        "texts": {name: lean(text) for name, text in evaluation.texts.items()},
        "choices": {
            name: {**lean(choice), "digest": cells.task_of(study, name).digest}
            for name, choice in evaluation.likelihood.items()
        },
        "tokens": lean(cells.tokens(study, names["cell"])),
        **asked_of_evaluation(study),
    }


def machine(study: Study, names: Names) -> dict[str, Any]:
    """What rounds otherwise: device, threads, and how much is computed at once."""
    return {**of_evaluation(study, names), "batch_size": study.evaluation.batch_size}


STAGE = Stage("retain", ("the first",), reads, machine, torch=True)


def retain(
    study: Study,
    cell: str,
    model_dir: Path,
    trained: Path | None,
    texts: Mapping[str, Path],
    choices: Mapping[str, Path],
    out: Path,
    items: Path,
) -> Record:
    """Write the record `out` and the table `items`; a diverged cell passes its status on.

    Raises KeyProblem for a name that the study's evaluation lacks.
    """
    for name in texts:
        require("--text", name, study.evaluation.texts, "one of evaluation.texts")
    for name in choices:
        require("--choices", name, study.evaluation.likelihood, "one of evaluation.likelihood")
    what_texts = {name: study.evaluation.texts[name] for name in texts}
    what_choices = {name: study.evaluation.likelihood[name] for name in choices}
    settings: dict[str, Any] = {
        "texts": {name: what.model_dump(mode="json") for name, what in what_texts.items()},
        "choices": {name: _resolved(what) for name, what in what_choices.items()},
    }
    names = {"cell": cell}
    common: dict[str, Any] = {
        "inputs": {
            "model": identity(model_dir),
            **({"train": identity(trained)} if trained else {}),
            **{f"text.{name}": identity(folder) for name, folder in texts.items()},
            **{f"choices.{name}": identity(folder) for name, folder in choices.items()},
        },
    }
    if status_of(trained) == "diverged":
        write_bytes_atomic(items, csv_gz(COLUMNS, []))
        return STAGE.record(
            out, study, names, cell, **common, settings=settings, results={}, status="diverged"
        )

    claim_device(study.compute.device)
    from lora_ledger.inference.build import language_model

    started = time.perf_counter()
    lm, where = language_model(
        study, cell, model_dir, trained, batch_size=study.evaluation.batch_size
    )
    loaded = time.perf_counter()
    measured = {name: measure_text(lm, texts[name], what) for name, what in what_texts.items()}
    answered = {
        name: measure_items(lm, name, choices[name], what) for name, what in what_choices.items()
    }
    write_bytes_atomic(
        items, csv_gz(COLUMNS, (row for _, rows in answered.values() for row in rows))
    )
    return STAGE.record(
        out,
        study,
        names,
        cell,
        **common,
        settings={
            **settings,
            **where,
            "batch_size": study.evaluation.batch_size,
            "tokens": cells.tokens(study, cell).model_dump(),
        },
        results={"texts": measured, "choices": {n: found for n, (found, _) in answered.items()}},
        run={
            "start_seconds": round(loaded - started, 2),
            "measure_seconds": round(time.perf_counter() - loaded, 2),
            "threads": study.compute.threads,
        },
    )


def _resolved(what: LikelihoodTask) -> dict[str, Any]:
    """The entry's keys as they are used, with what its task file says."""
    info = describe(what.task, what.corpus)
    shots = info.shots(what.num_fewshot)
    return {**what.model_dump(mode="json"), "num_fewshot": shots, "task": asdict(info)}


def named_folder(text: str) -> tuple[str, Path]:
    """NAME=FOLDER as a pair; ArgumentTypeError for anything else."""
    name, sign, folder = text.partition("=")
    if not (name and sign and folder):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected NAME=FOLDER")
    return name, Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="retain", description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--cell", required=True, help="the label in the record")
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--trained", type=Path, help="the cell's folder; none for base")
    parser.add_argument("--text", action="append", default=[], type=named_folder)
    parser.add_argument("--choices", action="append", default=[], type=named_folder)
    parser.add_argument("--out", required=True, type=Path, help="FILE.json")
    parser.add_argument("--items", required=True, type=Path, help="FILE.csv.gz")
    args = parser.parse_args()
    try:
        retain(
            load(args.study),
            args.cell,
            args.model,
            args.trained,
            dict(args.text),
            dict(args.choices),
            args.out,
            args.items,
        )
    except (StudyError, KeyProblem, ValueError, FileNotFoundError) as error:
        print(f"retain: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
