"""Later papers' tables, tested again: modules, speed, intruders, sequences.

In: published values of Shuttleworth et al., PEFT's comparison and others. Out: `Finding`s on LC,
LD, LE and LN claims. Factors of one run are one unit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy import stats

from .finding import Finding, Reading, correlation, described, items, signs
from .published import Tables, select
from .retest_biderman import GSM8K

A, B, D = "biderman-2024", "hu-2021", "shuttleworth-2025"
PEFT = "peft-method-comparison"


def modules(t: Tables) -> Iterator[Finding]:
    """LC8: the MLP against attention at a like number of parameters."""
    pair = tuple(
        t.one(PEFT, metric="gsm8k accuracy", method="lora", rank=rank, modules=where)
        for rank, where in ((10, "mlp"), (32, "q,v"))
    )
    asked = "PEFT, Llama-3.2-3B, GSM8K: MLP (9.46M) less q and v (9.18M)"
    yield items("LC8", asked, (pair[0], pair[1]), GSM8K, claimed=1)


def speed(t: Tables) -> Iterator[Finding]:
    """LC13: three papers' figures of the same quantity."""
    full, lora = (
        t.one(PEFT, metric="training time", method=method, **rank)
        for method, rank in (("full", {}), ("lora", {"rank": 32}))
    )
    before, after = (
        t.one(B, metric="throughput of one GPU", method=method) for method in ("full", "lora")
    )
    slower = t.one(A, metric="throughput against full")
    figure = f"PEFT x{full / lora:.2f}, Hu et al. x{after / before:.2f}, "
    figure += f"Biderman et al. x{1 + slower / 100:.2f}, arithmetic x1.5"
    yield described("LC13", "speed of LoRA over full", "other machines, models, code", figure)


def intruders(t: Tables) -> Iterator[Finding]:
    """LD3: intervals of the printed correlations, with the n that the printed p values imply."""
    for model, n in (("roberta-base", 15), ("llama-2-7b", 30)):
        for what, claimed in (("forgetting", True), ("accuracy", False)):
            metric = f"Spearman of intruders and {what}"
            rho = t.one(D, metric=metric, model=model)
            yield correlation("LD3", f"{model}: {metric}", rho, n, claimed=claimed)


def intervention(t: Tables) -> Iterator[Finding]:
    """LD4: at a factor of 0.7, one unit for each fine-tuned model."""
    change = {
        what: {
            f"{v.setting} {v.arm}": v.value
            for v in select(t.values, {"paper": D, "metric": f"{what} change", "lambda": "0.7"})
        }
        for what in ("test accuracy", "forgetting")
    }
    units = "fine-tuned models"
    less = {name: -value for name, value in change["forgetting"].items()}
    yield signs("LD4", "factor 0.7: fall of forgetting, %", units, less)
    accuracy = change["test accuracy"]
    yield signs("LD4", "factor 0.7: rise of accuracy, %", units, accuracy)
    beyond = {name: fall - abs(accuracy[name]) for name, fall in less.items()}
    yield signs("LD4", "factor 0.7: fall of forgetting less change of accuracy", units, beyond)


def matched(t: Tables) -> Iterator[Finding]:
    """LD5: whether the accuracies that stand for equal learning are equal."""
    full = {v.setting: v.value for v in t.many(D, table="Table 2", method="full")}
    for rank in (1, 8, 64):
        rows = t.many(D, table="Table 2", method="lora", rank=rank)
        gaps = np.array([100 * (full[v.setting] - v.value) for v in rows])
        low, high = stats.t.interval(0.95, 5, gaps.mean(), stats.sem(gaps))
        figure = f"mean {gaps.mean():+.2f} points [{low:+.2f}, {high:+.2f}], "
        figure += f"largest {max(gaps, key=abs):+.1f}"
        yield described("LD5", f"accuracy of full less rank {rank}", "6 tasks", figure)


def forgets_more(t: Tables) -> Iterator[Finding]:
    """LE2: PEFT's rows beside its one run of full fine-tuning."""
    rows = t.many(PEFT, metric="increase of the loss on wiki text")
    (full,) = (v.value for v in rows if v.method == "full")
    others = [v.value for v in rows if v.method != "full"]
    above = sum(value > full for value in others)
    figure = f"{above} of {len(others)} above full's {full:.3f} ({min(others)} to {max(others)})"
    yield described("LE2", "increase of the loss on wiki text", "one run of full", figure)


def sequences(t: Tables) -> Iterator[Finding]:
    """LN5: Welch's t from the printed means, if what stands behind ± is a standard deviation."""
    (full,), (lora,) = (t.many("2603.27707", method=method) for method in ("full", "lora"))
    spread = [value.error or math.nan for value in (full, lora)]
    test = stats.ttest_ind_from_stats(
        full.value, spread[0], 5, lora.value, spread[1], 5, equal_var=False
    )
    figure = f"{full.value - lora.value:+.1f} points"
    said = f"Welch's t = {test.statistic:.1f}, p = {test.pvalue:.2g}, if ± is a standard deviation"
    read: Reading = "for" if test.pvalue < 0.05 else "open"
    yield Finding("LN5", "drop on past tasks: full less LoRA", "5 reruns each", figure, said, read)


LATER = (modules, speed, intruders, intervention, matched, forgets_more, sequences)
