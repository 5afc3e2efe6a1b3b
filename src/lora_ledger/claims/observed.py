"""What was observed: a number for each run and metric, taken from a study's records.

In: `Evidence`, and the rules that will ask. Out: `Observed`: runs with the block that they are of
(base x seed), their values, and the ids of the records that each value was read from. It tests
nothing, and nothing in it knows a name's meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lora_ledger.analysis import rates
from lora_ledger.records.record import Record
from lora_ledger.study.cells import BASE, Cell
from lora_ledger.study.decisions import Decision
from lora_ledger.tables.evidence import Evidence

Items = npt.NDArray[np.float64]
BITS_PER_NAT = 1 / math.log(2)
ITEMISED = ("accuracy", "recall", "pass-at-k")
"""Metrics that are means over items."""


@dataclass(frozen=True)
class Run:
    """A trained cell as tests see it. `unit`: runs that are no runs of their own share one."""

    label: str
    setting: str
    method: str
    budget: str
    block: str
    unit: str
    rate: float | None = None
    tokens: float = math.nan
    parameters: float = math.nan
    diverged: bool = False


@dataclass(frozen=True)
class Observed:
    """`values` by label and metric; those of the untouched model by `base`, or `base/<model>`.
    `items` likewise, an array over items. `records` by label and metric: ids."""

    runs: tuple[Run, ...]
    values: Mapping[tuple[str, str], float]
    items: Mapping[tuple[str, str], Items] = field(default_factory=dict)
    records: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    def value(self, label: str, metric: str) -> float:
        """nan where there is none."""
        return self.values.get((label, metric), math.nan)

    def read(self, labels: Iterable[str], metric: str) -> list[str]:
        """Ids of the records behind the metric of these, each once."""
        found = [one for label in labels for one in self.records.get((label, metric), ())]
        return list(dict.fromkeys(found))


def key(metric: str, rule: Decision) -> str:
    """The metric with what a rule says of it."""
    detail = {"pass-at-k": rule.k, "first-losses": rule.steps}.get(metric)
    return metric if detail is None else f"{metric} {detail}"


def base_of(block: str) -> str:
    """The label of the untouched model of a block."""
    model = block.rpartition("/")[0]
    return f"{BASE}/{model}" if model else BASE


def observe(evidence: Evidence) -> Observed:
    """All that the study's rules ask of its records."""
    asked = _asked(evidence)
    runs = tuple(_run(evidence, cell) for cell in evidence.cells if cell.label in evidence.train)
    values: dict[tuple[str, str], float] = {}
    items: dict[tuple[str, str], Items] = {}
    records: dict[tuple[str, str], tuple[str, ...]] = {}
    labels = dict.fromkeys([*(base_of(run.block) for run in runs), *(run.label for run in runs)])
    cells = {cell.label: cell for cell in evidence.cells}
    for name, (metric, rule) in asked.items():
        if metric == "rates-near-best":
            continue
        for label in labels:
            if evidence.diverged(label):
                continue
            asks = _Asked(evidence, label, cells.get(label), rule)
            found = MEASURES[metric](asks)
            if isinstance(found, np.ndarray):
                items[label, name] = found
                found = float(found.mean()) if found.size else math.nan
            if found is not None and math.isfinite(found):
                values[label, name] = found
                records[label, name] = tuple(dict.fromkeys(one.id for one in asks.read))
    observed = Observed(runs, values, items, records)
    return _with_counts(observed) if "rates-near-best" in asked else observed


def _asked(evidence: Evidence) -> dict[str, tuple[str, Decision | None]]:
    """The metrics by the names that values stand under: those of the rules, and what margins, rates
    and matched losses are made of."""
    found: dict[str, tuple[str, Decision | None]] = {m: (m, None) for m in ("target-loss", "gain")}
    if evidence.study.evaluation.texts:
        found |= {m: (m, None) for m in ("general-loss", "forgetting")}
    for rule in evidence.study.decisions.values():
        for metric in filter(None, (rule.metric, rule.other)):
            found[key(metric, rule)] = (metric, rule)
    return found


def _run(evidence: Evidence, cell: Cell) -> Run:
    results = evidence.train[cell.label].results
    return Run(
        cell.label,
        cell.setting,
        cell.method,
        cell.budget,
        f"{cell.model}/s{cell.seed}" if cell.model else f"s{cell.seed}",
        cell.parent or cell.label,
        cell.rate,
        float(results.get("tokens") or math.nan),
        float((results.get("parameters") or {}).get("trainable") or math.nan),
        evidence.diverged(cell.label),
    )


@dataclass
class _Asked:
    """One label that a metric is asked of; `read` gathers the records that were looked at."""

    evidence: Evidence
    label: str
    cell: Cell | None
    rule: Decision | None
    read: list[Record] = field(default_factory=list)

    @property
    def base(self) -> str:
        model = self.cell.model if self.cell else None
        if self.cell is None:
            return self.label
        return f"{BASE}/{model}" if model else BASE

    def train(self) -> Mapping[str, Any]:
        return self._results(self.evidence.train.get(self.label))

    def of(self, stage: str, run: str, label: str | None = None) -> Mapping[str, Any]:
        return self._results(getattr(self.evidence, stage).get((run, label or self.label)))

    def spectrum(self) -> Mapping[str, Any]:
        return self._results(getattr(self.evidence, "spectrum", {}).get(self.label))

    def runs(self, *, sampled: bool) -> list[str]:
        """The generation runs of the cell's setting, or of all for the untouched model."""
        study = self.evidence.study
        names = study.settings[self.cell.setting].tasks if self.cell else study.evaluation.generate
        return [n for n in names if (study.evaluation.generate[n].samples > 1) == sampled]

    def _results(self, record: Record | None) -> Mapping[str, Any]:
        if record is None or not record.results:
            return {}
        self.read.append(record)
        return record.results


Found = float | Items | None


def _bits(nats: Iterable[float], size: Iterable[int]) -> float:
    total = float(sum(size))
    return float(sum(nats)) * BITS_PER_NAT / total if total else math.nan


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def _validation(asked: _Asked, end: str) -> float | None:
    found = asked.train().get("validation") or {}
    return _bits(found[end], found["bytes"]) if found else None


def _gain(asked: _Asked) -> Found:
    if asked.cell is None:
        return 0.0
    start, end = _validation(asked, "start"), _validation(asked, "end")
    return None if start is None or end is None else start - end


def _first_losses(asked: _Asked) -> Found:
    steps = asked.rule.steps if asked.rule else 20
    return _mean(point[2] for point in asked.train().get("loss_curve", ())[:steps])


def _general(asked: _Asked, label: str | None = None) -> float | None:
    texts = [asked.of("retain", name, label) for name in asked.evidence.study.evaluation.texts]
    found = [_bits(text["nats"], text["bytes"]) for text in texts if text]
    return _mean(found) if len(found) == len(texts) else None


def _against_base(
    measure: Callable[[_Asked, str | None], float | None], sign: float
) -> Callable[[_Asked], Found]:
    """The measure less that of the cell's own base, of which the records are read too."""

    def measured(asked: _Asked) -> Found:
        after, before = measure(asked, None), measure(asked, asked.base)
        return None if after is None or before is None else sign * (after - before)

    return measured


def _recall_items(asked: _Asked, label: str | None = None) -> Items:
    tasks = [asked.of("retain", n, label) for n in asked.evidence.study.evaluation.likelihood]
    found = [np.asarray(task["acc"], dtype=np.float64) for task in tasks if task]
    return np.concatenate(found) if found and len(found) == len(tasks) else np.zeros(0)


def _recall(asked: _Asked, label: str | None) -> float | None:
    found = _recall_items(asked, label)
    return float(found.mean()) if found.size else None


def _scores(asked: _Asked, metric: str | None, *, sampled: bool) -> Items:
    """Items of all runs one after another: of the named metric, or of each run's first."""
    found = []
    for run in asked.runs(sampled=sampled):
        metrics = asked.of("score", run).get("metrics") or {}
        name = metric or next(iter(metrics), "")
        if name in metrics:
            found.append(np.asarray(metrics[name], dtype=np.float64))
    return np.concatenate(found) if found else np.zeros(0)


def _reference(asked: _Asked) -> Found:
    told = [
        asked.of("score", run).get("companion")
        for sampled in (False, True)
        for run in asked.runs(sampled=sampled)
    ]
    return _mean(_bits(one["nats"], one["bytes"]) for one in told if one and one.get("bytes"))


def _pass_at(asked: _Asked) -> Found:
    return _scores(asked, f"pass@{asked.rule.k if asked.rule else 1}", sampled=True)


def _distinct(asked: _Asked) -> Found:
    shares = []
    for run in asked.runs(sampled=True):
        classes = asked.of("diversity", run).get("classes") or {}
        counts = (classes.get("all") or {}).get("exact") or []
        shares += [len(one) / sum(one) for one in counts if one]
    return _mean(shares)


def _of_matrices(top: str, bottom: str | None = None) -> Callable[[_Asked], Found]:
    """The mean over matrices of a column of the spectra, or of the ratio of two."""

    def measured(asked: _Asked) -> Found:
        columns = asked.spectrum().get("matrices") or {}
        above, below = columns.get(top), columns.get(bottom) if bottom else None
        if not above or (bottom and not below):
            return None
        pairs = zip(above, below or [1.0] * len(above), strict=True)
        return _mean(a / b for a, b in pairs if a is not None and b)

    return measured


MEASURES: dict[str, Callable[[_Asked], Found]] = {
    "target-loss": lambda asked: _validation(asked, "end"),
    "gain": _gain,
    "first-losses": _first_losses,
    "general-loss": _general,
    "forgetting": _against_base(_general, 1.0),
    "recall": _recall_items,
    "recall-lost": _against_base(_recall, -1.0),
    "accuracy": lambda asked: _scores(asked, None, sampled=False),
    "reference-loss": _reference,
    "pass-at-k": _pass_at,
    "distinct": _distinct,
    "intruders": _of_matrices("intruders_left"),
    "rank90": _of_matrices("rank90", "rank90_of_noise"),
    "effective-rank": _of_matrices("effective_rank"),
    "spectral-change": _of_matrices("change", "change_of_random"),
    "b-over-a": _of_matrices("norm_of_b", "norm_of_a"),
}


def _with_counts(observed: Observed) -> Observed:
    """`rates-near-best` of an arm and block stands under each of its runs."""
    arms: dict[tuple[str, str, str, str], list[Run]] = {}
    for run in observed.runs:
        if run.rate is not None:
            arms.setdefault((run.setting, run.method, run.budget, run.block), []).append(run)
    values, records = dict(observed.values), dict(observed.records)
    for runs in arms.values():
        losses = [observed.value(run.label, "target-loss") for run in runs]
        starts = [
            loss + observed.value(run.label, "gain") for loss, run in zip(losses, runs, strict=True)
        ]
        if not np.isfinite(starts).any():
            continue
        count = float(rates.near_best([losses], [np.nanmax(starts)])[0])
        ids = tuple(observed.read((run.label for run in runs), "target-loss"))
        for run in runs:
            if math.isfinite(count):
                values[run.label, "rates-near-best"] = count
                records[run.label, "rates-near-best"] = ids
    return Observed(observed.runs, values, observed.items, records)
