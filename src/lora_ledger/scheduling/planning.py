"""What a study asks for, before anything of it runs: jobs, tokens, arithmetic, memory, disk.

In: a study, and its folder of results as it is. Out: a `Plan` of numbers. A job counts as done when
its record is there: whether it is out of date is Snakemake's to say (`snakemake -n`). How long it
takes is not said.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lora_ledger.models.architecture import total_parameters
from lora_ledger.study import cells, rates, sources
from lora_ledger.study.file import model_config
from lora_ledger.study.schema import Budget, Setting, Study

from . import resources, staleness


@dataclass(frozen=True)
class Plan:
    """`jobs`: by stage (done, all). `tokens` are those that bear loss, of all cells whose number is
    known; `unknown` counts the others, whose data is to be packed first. `flops` are of training
    those tokens, `memory_mb` is of the largest job, `disk_bytes` of weights and checkpoints at
    their highest with one job at a time, `again` the cells that have to be trained again."""

    jobs: dict[str, tuple[int, int]]
    cells: int
    tokens: int
    unknown: int
    flops: float
    memory_mb: int
    disk_bytes: int
    again: tuple[str, ...]


def plan(study: Study, out: Path) -> Plan:
    """The plan of a study whose results are in `out`, as far as there are any."""
    config = model_config(study.model_entry())
    tokens, unknown, flops = 0, 0, 0.0
    for cell in cells.cells(study):
        recipe = study.recipe_of(cell.setting, cell.method)
        found = tokens_of(study.budgets[cell.budget], recipe, _packed(out, cell.setting))
        if found is None:
            unknown += 1
            continue
        method = study.methods[cell.method]
        tokens += found
        flops += found * method.flops_per_token(config, recipe.sequence_length)
    return Plan(
        jobs=_jobs(study, out),
        cells=len(cells.cells(study)),
        tokens=tokens,
        unknown=unknown,
        flops=flops,
        memory_mb=_memory_mb(study),
        disk_bytes=_disk_bytes(study, config),
        again=() if study.keep_weights else tuple(staleness.to_train_again(study, out)),
    )


def tokens_of(budget: Budget, setting: Setting, packed: tuple[int, int] | None) -> int | None:
    """Loss-bearing tokens of a run; None where they depend on data that is not packed yet.

    `packed`: (examples, loss-bearing tokens) of the training split. Steps and examples count full
    sequences where the data is not known.
    """
    if budget.tokens is not None:
        return budget.tokens
    examples = budget.examples
    if budget.steps is not None:
        examples = budget.steps * setting.batch_size
    if packed is not None:
        count, bearing = packed
        share = budget.epochs if examples is None else examples / count
        return None if share is None else round(share * bearing)
    return None if examples is None else examples * setting.sequence_length


def _packed(out: Path, setting: str) -> tuple[int, int] | None:
    try:
        record = json.loads((out / f"packed/{setting}/record.json").read_text("utf-8"))
        found = record["science"]["results"]["counts"]["train"]
        return int(found["rows"]), int(found["tokens"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _jobs(study: Study, out: Path) -> dict[str, tuple[int, int]]:
    fetched = [f"models/{study.model}", *(f"data/{name}" for name in sources.corpora(study))]
    fetched += [f"other/{name}" for name in study.others]
    tuned = [
        f"tune/{setting}/{method}/{rates.written(rate)}"
        for setting, method in rates.all_tuned(study)
        for rate in study.rates_of(setting, method)
    ]
    paths = [
        *(("fetch", f"{path}/record") for path in fetched),
        *(("gate", f"gate/{setting}") for setting in study.settings),
        *(("tune", path) for path in tuned),
        *((_stage(path), path) for path in cells.records(study)),
        ("tabulate", "tables/record"),
        ("figures", "figures/record"),
    ]
    every = Counter(stage for stage, _ in paths)
    done = Counter(stage for stage, path in paths if (out / f"{path}.json").is_file())
    order = (
        "fetch", "contaminate", "gate", "prepare", "tune", "select", "train", "generate", "score",
        "diversity", "retain",
    )  # fmt: skip
    named = [stage for stage in order if stage in every]
    rest = [stage for stage in every if stage not in order]
    return {stage: (done[stage], every[stage]) for stage in (*named, *rest)}


def _stage(path: str) -> str:
    first = path.partition("/")[0]
    return "prepare" if first == "packed" else first


def _memory_mb(study: Study) -> int:
    trained = {(cell.setting, cell.method) for cell in cells.cells(study)}
    training = [resources.train_mb(study, *pair) for pair in trained]
    return max([resources.fetch_model_mb(study), resources.evaluate_mb(study), *training])


def _disk_bytes(study: Study, config: dict[str, object]) -> int:
    """The model; the weights of all cells, or of one where they go; one run's two checkpoints."""
    whole = 4 * total_parameters(config)
    weights, states = [], []
    for cell in cells.cells(study):
        method = study.methods[cell.method]
        trained = 4 * method.trainable_parameters(config)
        weights.append(whole if method.artefact == "model" else trained)
        states.append(2 * 3 * trained)
    kept = sum(weights) if study.keep_weights else max(weights, default=0)
    return whole + kept + max(states, default=0)
