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

from lora_ledger.catalogue import TrainedSource
from lora_ledger.data.sources import SourceError, trained
from lora_ledger.models.architecture import total_parameters
from lora_ledger.study import cells, rates, sources
from lora_ledger.study.models import model_config, origin
from lora_ledger.study.schema import Budget, Setting, Study

from . import resources, staleness, trunks


@dataclass(frozen=True)
class Base:
    """A model that is not there yet and that another study trains: `what` it is, how many tokens
    that bear loss it takes (None where that is not known), their FLOPs, and what to do."""

    name: str
    what: str
    tokens: int | None
    flops: float
    remedy: str


@dataclass(frozen=True)
class Plan:
    """`jobs`: by stage (done, all). `tokens` are those that bear loss, of all cells whose number is
    known; `unknown` counts the others, whose data is to be packed first. `flops` are of training
    those tokens, `memory_mb` is of the largest job, `disk_bytes` of weights and checkpoints at
    their highest with one job at a time, `again` the cells that have to be trained again, `bases`
    what other studies have to train first, in this order, `derived` the cells that are made from
    trained ones."""

    jobs: dict[str, tuple[int, int]]
    cells: int
    tokens: int
    unknown: int
    flops: float
    memory_mb: int
    disk_bytes: int
    again: tuple[str, ...]
    bases: tuple[Base, ...] = ()
    derived: int = 0


def plan(study: Study, out: Path) -> Plan:
    """The plan of a study whose results are in `out`, as far as there are any."""
    whole: dict[str, int] = {}
    for cell in cells.cells(study):
        recipe = study.recipe_of(cell.setting, cell.method)
        found = tokens_of(study.budgets[cell.budget], recipe, _packed(out, cell.packed))
        if found is not None:
            whole[cell.label] = found
    tokens, flops = 0, 0.0
    for cell in cells.cells(study):
        if cell.label in whole:
            itself = trunks.trained(study, cell.label, whole)
            config = model_config(study.model_entry(cell.model))
            length = study.settings[cell.setting].sequence_length
            tokens += itself
            flops += itself * study.methods[cell.method].flops_per_token(config, length)
    return Plan(
        jobs=_jobs(study, out),
        cells=len(cells.cells(study)),
        tokens=tokens,
        unknown=len(cells.cells(study)) - len(whole),
        flops=flops,
        memory_mb=_memory_mb(study),
        disk_bytes=_disk_bytes(study),
        again=() if study.keep_weights else tuple(staleness.to_train_again(study, out)),
        bases=tuple(bases(study, out)),
        derived=len(cells.index(study).derived),
    )


def bases(study: Study, out: Path) -> list[Base]:
    """The bases that the study wants, that no other study has trained yet, or not kept; before
    each of them those that it wants itself."""
    found = []
    for key, source in sources.sources(study, out).items():
        if not isinstance(source, TrainedSource):
            continue
        try:
            trained.locate(source)
        except SourceError:
            name = key.removesuffix(".source")
            found += [_base(name, source)] if source.folder else _trained_first(name, source)
    return list(dict.fromkeys(found))


def _base(name: str, source: TrainedSource) -> Base:
    return Base(name, source.folder, None, 0.0, trained.remedy(source))


def _trained_first(name: str, source: TrainedSource) -> list[Base]:
    study, cell = origin(source)
    out = trained.RESULTS / study.name
    recipe = study.recipe_of(cell.setting, cell.method)
    tokens = tokens_of(study.budgets[cell.budget], recipe, _packed(out, cell.packed))
    config = model_config(study.model_entry(cell.model))
    each = study.methods[cell.method].flops_per_token(config, recipe.sequence_length)
    what = f"{cell.label} of the study {study.name}"
    one = Base(name, what, tokens, (tokens or 0) * each, trained.remedy(source))
    return [*bases(study, out), one]


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


def _packed(out: Path, name: str) -> tuple[int, int] | None:
    try:
        record = json.loads((out / f"packed/{name}/record.json").read_text("utf-8"))
        found = record["science"]["results"]["counts"]["train"]
        return int(found["rows"]), int(found["tokens"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _jobs(study: Study, out: Path) -> dict[str, tuple[int, int]]:
    fetched = [f"models/{name}" for name in study.model_names]
    fetched += [*(f"data/{name}" for name in sources.corpora(study))]
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
        *(("trunk", f"trunk/{cell.label}") for cell in cells.cells(study) if cell.parent),
        ("tabulate", "tables/record"),
        ("figures", "figures/record"),
        # One job writes the verdicts of all rules and their table.
        *(("decide", f"claims/{name}") for name in list(study.decisions)[:1]),
    ]
    every = Counter(stage for stage, _ in paths)
    done = Counter(stage for stage, path in paths if (out / f"{path}.json").is_file())
    order = (
        "fetch", "contaminate", "gate", "prepare", "tune", "select", "train", "trunk", "generate",
        "score", "diversity", "retain", "spectrum", "subspaces",
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


def _disk_bytes(study: Study) -> int:
    """The models; the weights of all cells, or of one where they go; one run's two checkpoints, and
    those that its branches go on from."""
    configs = {name: model_config(study.model_entry(name)) for name in study.model_names}
    weights, states = [], []
    for cell in cells.cells(study):
        config = configs[cells.model_of(study, cell.label)]
        whole = 4 * total_parameters(config)
        method = study.methods[cell.method]
        trained = 4 * method.trainable_parameters(config)
        weights.append(whole if method.artefact == "model" else trained)
        states.append((2 + len(cells.branches(study).get(cell.label, ()))) * 3 * trained)
    kept = sum(weights) if study.keep_weights else max(weights, default=0)
    return (
        sum(4 * total_parameters(config) for config in configs.values())
        + kept
        + max(states, default=0)
    )
