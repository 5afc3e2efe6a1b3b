"""Biderman et al.'s tables, tested again: learning, forgetting, fronts, rates.

In: their published values. Out: `Finding`s on LA claims. The durations of continued pre-training
branch from one run and are described; those of instruction tuning are runs of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from scipy import integrate, optimize

from .finding import Finding, described, items, ordered, signs, slope
from .published import Tables

A = "biderman-2024"
ARMS = ("lora r16", "lora r64", "lora r256", "full")
RANKS = ARMS[:3]
GSM8K, HUMANEVAL = 1319, 164
"""Items of the two sets."""
CORPORA, REGIMES = ("code", "math"), ("ift", "cpt")
FORGETTING = {"code-ift": "S6", "math-ift": "S8", "code-cpt": "S2", "math-cpt": "S4"}
LEARNING = {"code-ift": "S5", "math-ift": "S7", "code-cpt": "S1", "math-cpt": "S3"}


def learning_gap(t: Tables) -> Iterator[Finding]:
    """LA1: the gap to full over tokens, of runs that all branch from one."""
    for setting in ("code-cpt", "math-cpt"):
        full = t.over(LEARNING[setting], "full")
        for arm in RANKS:
            gap = [full[x] - y for x, y in t.over(LEARNING[setting], arm).items()]
            x = [math.log2(amount) for amount in full]
            asked = f"{setting}: full less {arm} against tokens"
            yield slope("LA1", asked, x, gap, per="doubling", claimed=1, own_runs=False)
    pair = t.last("S3", "full"), t.last("S3", "lora r256")
    yield items("LA1", "math-cpt, 20B, GSM8K: full less lora r256", pair, GSM8K, claimed=1)
    pair = t.last("S1", "full"), t.last("S1", "lora r256")
    yield items("LA1", "code-cpt, 20B, HumanEval: full less lora r256", pair, HUMANEVAL, claimed=1)


def best_epochs(t: Tables) -> Iterator[Finding]:
    """LA2 and LA3: the best epoch of each arm."""
    later: dict[str, float] = {}
    for setting, n in (("code-ift", HUMANEVAL), ("math-ift", GSM8K)):
        full = t.over(LEARNING[setting], "full")
        for arm in RANKS:
            own = t.over(LEARNING[setting], arm)
            pair = max(full.values()), max(own.values())
            asked = f"{setting}: full less {arm}, each at its best"
            claimed: Literal[0, 1] = 0 if arm == "lora r256" else 1
            yield items("LA2", asked, pair, n, claimed=claimed)
            later[f"{setting} {arm}"] = math.log2(max(own, key=own.__getitem__)) - math.log2(
                max(full, key=full.__getitem__)
            )
    after, same, before = (sum(np.sign(v) == s for v in later.values()) for s in (1, 0, -1))
    figure = f"of 6 pairs LoRA's best epoch is later in {after}, the same in {same}, "
    figure += f"earlier in {before}"
    yield described("LA3", "epoch of the best score", "3 ranks, 2 settings, full shared", figure)


def forgetting(t: Tables) -> Iterator[Finding]:
    """LA4 and LA5: forgetting of full and LoRA, by rank, duration and corpus."""
    blocks = {
        f"{setting} {amount:g}": [t.over(FORGETTING[setting], arm)[amount] for arm in ARMS]
        for setting in ("code-ift", "math-ift")
        for amount in (1, 2, 4, 8, 16)
    }
    for setting, table in (("code-cpt", "S2"), ("math-cpt", "S4"), ("tulu-ift", "S13")):
        blocks[f"{setting} end"] = [t.last(table, arm) for arm in ARMS]
    units = "runs (10 of instruction tuning, the ends of the others)"
    for place, arm in enumerate(RANKS):
        differences = {name: row[place] - row[3] for name, row in blocks.items()}
        yield signs("LA4", f"accuracy kept: {arm} less full", units, differences)
    asked = "accuracy kept falls from rank 16 over 64 and 256 to full"
    yield ordered("LA4", asked, units, list(blocks.values()), rising=False)
    arms = [(s, arm) for s in ("code-ift", "math-ift") for arm in ARMS]
    over = [list(t.over(FORGETTING[setting], arm).values()) for setting, arm in arms]
    asked = "accuracy kept falls with epochs 1, 2, 4, 8, 16"
    yield ordered("LA5", asked, "arms of instruction tuning", over, rising=False)
    ends = {(s, arm): t.last(FORGETTING[s], arm) for s in FORGETTING for arm in ARMS}
    ift = {f"{c} {a}": ends[f"{c}-cpt", a] - ends[f"{c}-ift", a] for c in CORPORA for a in ARMS}
    asked = "accuracy kept at the end: continued pre-training less instruction tuning"
    yield signs("LA5", asked, "arms on 2 corpora", ift)
    code = {f"{r} {a}": ends[f"math-{r}", a] - ends[f"code-{r}", a] for r in REGIMES for a in ARMS}
    yield signs("LA5", "accuracy kept at the end: math less code", "arms in 2 regimes", code)


def fronts(t: Tables) -> Iterator[Finding]:
    """LA6: points that a point of the other arm beats on both axes."""
    for setting, table in LEARNING.items():
        points = {
            arm: list(
                zip(
                    t.over(table, arm).values(),
                    t.over(FORGETTING[setting], arm).values(),
                    strict=True,
                )
            )
            for arm in ARMS
        }
        for arm in RANKS[1:]:
            one, two = points["full"], points[arm]
            figure = f"{_beaten(one, two)} of full's and {_beaten(two, one)} of {arm}'s"
            units = "5 runs each" if setting.endswith("ift") else "8 points of one run each"
            asked = f"{setting}: points beaten on score and accuracy kept"
            yield described("LA6", asked, units, figure)


def gaussian(t: Tables) -> Iterator[Finding]:
    """LA10: the rank that a square Gaussian matrix has at 90 % of its squares."""
    share = gaussian_share(0.9)
    found = t.one(A, table="Fig 6", object="delta")
    figure = f"about {found:g} of 4,096; Gaussian noise {share * 4096:.0f}"
    yield described("LA10", "rank of the change of W_q at 90 %", "one matrix", figure)


def rates(t: Tables) -> Iterator[Finding]:
    """LA13: the two ratios of optima."""
    found = [
        t.one(A, metric="best learning rate", setting=s, method="lora")
        / t.one(A, metric="best learning rate", setting=s, method="full")
        for s in ("code-ift", "math-ift")
    ]
    figure = f"{found[0]:.0f} and {found[1]:.0f}, geometric mean {math.prod(found) ** 0.5:.1f}"
    yield described("LA13", "ratio of the best rates", "2 settings", figure)


def broad_mix(t: Tables) -> Iterator[Finding]:
    """LA18: GSM8K after Tulu."""
    pair = t.last("S12", "full"), t.last("S12", "lora r16")
    yield items("LA18", "GSM8K at 6 epochs: full less lora r16", pair, GSM8K, claimed=0)


def gaussian_share(of_squares: float) -> float:
    """Share of singular values of a large square Gaussian matrix that hold a share of the squares.

    They follow the quarter circle sqrt(4 - s²) / π on [0, 2] (Marchenko and Pastur 1967).
    """

    def moment(power: int, low: float) -> float:
        return float(integrate.quad(lambda s: s**power * math.sqrt(4 - s * s) / math.pi, low, 2)[0])

    edge = optimize.brentq(lambda low: moment(2, low) - of_squares, 0.0, 2.0)
    return moment(0, float(edge))


def _beaten(points: Sequence[tuple[float, float]], by: Sequence[tuple[float, float]]) -> int:
    """How many points another one is at least as good as on both axes, and better on one."""
    return sum(any(a >= x and b >= y and (a, b) != (x, y) for a, b in by) for x, y in points)


BIDERMAN = (learning_gap, best_epochs, forgetting, fronts, gaussian, rates, broad_mix)
