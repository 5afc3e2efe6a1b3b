"""Stage `retain`: how well a cell still predicts general text and answers general questions.

In: the study, the model folder, the cell's folder (none for `base`), folders of held-out texts
and of multiple-choice corpora. Out: a record with nats and bytes of each document and of each
item's choices, and a table of every choice. lm-eval makes the requests and the accuracies.
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

from .catalogue import token_id
from .digests import code_digest
from .inference.provenance import settle, status
from .records import Record, csv_gz, identity, write_bytes_atomic, write_record
from .study import KeyProblem, RetainChoices, RetainText, Study, require
from .study_file import StudyError, load
from .tasks import describe

if TYPE_CHECKING:
    from .inference.language_model import LedgerModel

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
    from .corpora.store import load as load_rows

    documents = held_out(load_rows(folder, "test"), what.kilobytes)
    scores = lm.rolling([text for *_, text in documents], what.sequence_length)
    return {
        "documents": [name for name, *_ in documents],
        "groups": [group for _, group, _ in documents],
        "nats": [-nats for nats, _ in scores],
        "bytes": [len(text.encode()) for *_, text in documents],
        "tokens": [tokens for _, tokens in scores],
    }


def measure_choices(
    lm: LedgerModel, name: str, folder: Path, what: RetainChoices
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A task's items as the record holds them, and a row of COLUMNS for each choice.

    Accuracies are lm-eval's: `acc` by the largest summed log-likelihood, `acc_norm` after
    division by the choice's characters. The cross-entropy of an item is
    -log(exp(l_gold) / sum_j exp(l_j)) over the summed log-likelihoods l, in nats.
    """
    from .tasks.loading import build

    task = build(what.task, folder, what.num_fewshot)
    chosen = task.chosen(what.limit)
    requests = [request for i in chosen for request in task.instances[i]]
    answers = iter(lm.loglikelihood(requests))
    found: dict[str, list[Any]] = {
        key: []
        for key in ("items", "groups", "options", "gold", "acc", "acc_norm", "cross_entropy")
    }
    rows = []
    for i in chosen:
        document, instances = task.documents[i], task.instances[i]
        results = [next(answers) for _ in instances]
        metrics = task.task.process_results(document, results)
        gold = int(task.task.doc_to_target(document))
        values = [nats for nats, _ in results]
        found["items"].append(document["id"])
        found["groups"].append(document["group"])
        found["options"].append(len(instances))
        found["gold"].append(gold)
        found["acc"].append(int(metrics["acc"]))
        found["acc_norm"].append(int(metrics["acc_norm"]))
        found["cross_entropy"].append(cross_entropy(values, gold))
        for j, (request, choice) in enumerate(
            zip(instances, task.task.doc_to_choice(document), strict=True)
        ):
            tokens = len(lm.encode(*request.args)[1])
            size = len(choice.encode())
            row = (name, document["id"], j, int(j == gold), values[j], tokens, len(choice), size)
            rows.append(dict(zip(COLUMNS, row, strict=True)))
    return found, rows


def cross_entropy(values: Sequence[float], gold: int) -> float:
    """-log softmax(values)[gold], in nats."""
    from math import exp, log

    top = max(values)
    return log(sum(exp(value - top) for value in values)) + top - values[gold]


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
        require("--choices", name, study.evaluation.choices, "one of evaluation.choices")
    what_texts = {name: study.evaluation.texts[name] for name in texts}
    what_choices = {name: study.evaluation.choices[name] for name in choices}
    settings: dict[str, Any] = {
        "texts": {name: what.model_dump(mode="json") for name, what in what_texts.items()},
        "choices": {
            name: {**what.model_dump(mode="json"), "task": asdict(describe(what.task))}
            for name, what in what_choices.items()
        },
    }
    common: dict[str, Any] = {
        "stage": "retain",
        "cell": cell,
        "code": code_digest("retain"),
        "inputs": {
            "model": identity(model_dir),
            **({"train": identity(trained)} if trained else {}),
            **{f"text.{name}": identity(folder) for name, folder in texts.items()},
            **{f"choices.{name}": identity(folder) for name, folder in choices.items()},
        },
    }
    if status(trained) == "diverged":
        write_bytes_atomic(items, csv_gz(COLUMNS, []))
        return write_record(out, **common, settings=settings, results={}, status="diverged")

    from .inference.language_model import LedgerModel
    from .inference.loading import load_cell

    started = time.perf_counter()
    resolved = settle(study.compute)
    precision: Any = resolved["evaluate"]
    model, tokenizer = load_cell(model_dir, trained, precision, resolved["device"])
    roles = study.model_entry().tokens
    lm = LedgerModel(
        model,
        tokenizer,
        prefix_id=token_id(tokenizer.get_vocab(), "prefix", roles.prefix),
        end_ids=[],
        batch_size=study.evaluation.batch_size,
    )
    loaded = time.perf_counter()
    measured = {name: measure_text(lm, texts[name], what) for name, what in what_texts.items()}
    answered = {
        name: measure_choices(lm, name, choices[name], what) for name, what in what_choices.items()
    }
    write_bytes_atomic(
        items, csv_gz(COLUMNS, (row for _, rows in answered.values() for row in rows))
    )
    return write_record(
        out,
        **common,
        settings={
            **settings,
            "precision": resolved["evaluate"],
            "device": resolved["device"],
            "batch_size": study.evaluation.batch_size,
            "tokens": roles.model_dump(),
        },
        results={"texts": measured, "choices": {n: found for n, (found, _) in answered.items()}},
        run={
            "start_seconds": round(loaded - started, 2),
            "measure_seconds": round(time.perf_counter() - loaded, 2),
            "threads": study.compute.threads,
        },
    )


def named_folder(text: str) -> tuple[str, Path]:
    """NAME=FOLDER as a pair; ArgumentTypeError for anything else."""
    name, sign, folder = text.partition("=")
    if not (name and sign and folder):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected NAME=FOLDER")
    return name, Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lora_ledger.retain", description=__doc__)
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
