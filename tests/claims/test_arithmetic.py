"""The published numbers against the papers' own arithmetic.

`HOLDS` are statements that follow from the rows, `CAUGHT` those that do not: there both figures are
asserted as printed, and the rows bear a note.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from statistics import fmean

import pytest
from scipy import stats

from lora_ledger.claims import published
from lora_ledger.claims.published import FOLDER, one, select

VALUES = published.read()
A, B, C, D = "biderman-2024", "hu-2021", "schulman-2025", "shuttleworth-2025"
TINKER, PEFT = "tinker-cookbook", "peft-method-comparison"
RANKS = ("16", "64", "256")


def at(paper: str, **choice: str | int | float) -> float:
    return one(VALUES, paper=paper, **choice).value


def row(paper: str, **choice: str | int | float) -> list[float]:
    return [value.value for value in select(VALUES, {"paper": paper, **choice})]


def a(table: str, arm: str, budget: str) -> float:
    choice = {"method": "full"} if arm == "full" else {"method": "lora", "rank": arm}
    return at(A, table=table, budget=budget, **choice)


def best(table: str, **choice: str | int) -> tuple[float, str, str]:
    """Score, arm and budget of the highest score; the earliest of equals."""
    found = select(VALUES, {"paper": A, "table": table, **choice})
    top = max(found, key=lambda v: v.value)
    return top.value, top.arm, str(top.budget)


def ordered(table: str, budget: str) -> bool:
    """Whether the scores rise from rank 16 over 64 and 256 to full, equals allowed."""
    found = [a(table, arm, budget) for arm in (*RANKS, "full")]
    return found == sorted(found)


def memory(size: str, optimiser: str, method: str, gpus: int) -> float:
    (value,) = [
        v.value
        for v in select(VALUES, {"paper": A, "setting": f"llama-2-{size}", "method": method})
        if v.variant.get("optimiser") == optimiser
        and v.variant.get("gpus") == str(gpus)
        and "frozen" not in v.variant
    ]
    return value


def b(table: str, metric: str, **choice: str | int) -> float:
    return at(B, table=table, metric=metric, **choice)


def glue(method: str) -> list[float]:
    return row(B, table="Table 2", metric="glue task score", method=method)


def amplified(rank: int) -> float:
    """Norm of the change over the norm of W in its subspace."""
    inside = at(B, metric="norm of W in the subspace of the change", rank=rank)
    return at(B, metric="norm of the change", rank=rank) / inside


def faster() -> float:
    full, lora = (
        at(B, metric="throughput of one GPU", method=method) for method in ("full", "lora")
    )
    return lora / full


def gap(task: str) -> float:
    """Largest distance in points of a rank's accuracy from that of full."""
    full = at(D, table="Table 2", setting=task, method="full")
    ranks = row(D, table="Table 2", setting=task, method="lora")
    assert len(ranks) == 6
    return 100 * max(abs(full - rank) for rank in ranks)


def p_of(rho: float, n: int) -> float:
    """Two-sided p of a Spearman correlation by Student's t, as scipy has it."""
    return float(2 * stats.t.sf(abs(rho) * math.sqrt((n - 2) / (1 - rho**2)), n - 2))


def halved(paper: str, table: str) -> list[float]:
    """Changes of accuracy at lambda .5."""
    choice = {"paper": paper, "table": table, "metric": "test accuracy change", "lambda": "0.5"}
    return [value.value for value in select(VALUES, choice)]


def head(mods: str) -> float:
    return at(TINKER, metric="trained parameters", modules=mods)


HOLDS: dict[str, tuple[Callable[[], object], object]] = {
    # Biderman et al., section 4.1: the best scores and where they are.
    "code cpt: best of LoRA": (
        lambda: best("S1", method="lora"),
        (0.224, "lora r256", "20 Gtokens"),
    ),
    "code cpt: best of full": (lambda: best("S1", method="full"), (0.263, "full", "20 Gtokens")),
    "math cpt: best of LoRA": (
        lambda: best("S3", method="lora"),
        (0.203, "lora r256", "16 Gtokens"),
    ),
    "math cpt: best of full": (lambda: best("S3", method="full"), (0.293, "full", "20 Gtokens")),
    "code ift: best of LoRA": (lambda: best("S5", method="lora"), (0.498, "lora r256", "4 epochs")),
    "code ift: best of full": (lambda: best("S5", method="full"), (0.497, "full", "8 epochs")),
    "math ift: best of LoRA": (lambda: best("S7", method="lora"), (0.634, "lora r256", "8 epochs")),
    "math ift: best of r64": (lambda: best("S7", rank=64), (0.624, "lora r64", "4 epochs")),
    "math ift: best of full": (lambda: best("S7", method="full"), (0.642, "full", "4 epochs")),
    "math cpt: full at 4B is above every LoRA": (
        lambda: a("S3", "full", "4 Gtokens") > best("S3", method="lora")[0],
        True,
    ),
    "code cpt: LoRA at 20B is within .01 of full at 4B": (
        lambda: round(best("S1", method="lora")[0] - a("S1", "full", "4 Gtokens"), 3),
        0.006,
    ),
    "code cpt: ordered by rank from 1B": (
        lambda: all(ordered("S1", f"{n} Gtokens") for n in (1, 2, 4, 8, 16, 20)),
        True,
    ),
    "code cpt: not before": (lambda: ordered("S1", "0.5 Gtokens"), False),
    "math cpt: ordered by rank from 8B": (
        lambda: all(ordered("S3", f"{n} Gtokens") for n in (8, 16, 20)),
        True,
    ),
    "instruction tuning moves the score further": (
        lambda: best("S5", method="full")[0] > best("S1", method="full")[0],
        True,
    ),
    "full forgets most on code at 20B, at every rank": (
        lambda: [round(a("S2", r, "20 Gtokens") - a("S2", "full", "20 Gtokens"), 3) for r in RANKS],
        [0.09, 0.081, 0.072],
    ),
    "full forgets most in code ift at 16 epochs": (
        lambda: [round(a("S6", r, "16 epochs") - a("S6", "full", "16 epochs"), 3) for r in RANKS],
        [0.195, 0.096, 0.103],
    ),
    "tulu: full forgets least at 2 epochs and most at 6": (
        lambda: [
            sorted((*RANKS, "full"), key=lambda arm: a("S13", arm, f"{e} epochs"))[i]
            for e, i in ((2, -1), (6, 0))
        ],
        ["full", "full"],
    ),
    "metamath's parts": (
        lambda: sum(v for v in row(A, metric="pairs")) - at(A, metric="pairs", part="all"),
        at(A, metric="pairs", part="all"),
    ),
    "code ift: 16 epochs of tokens": (
        lambda: round(16 * at(A, metric="tokens of one epoch", setting="code-ift") / 1000, 2),
        at(A, metric="tokens of 16 epochs", setting="code-ift"),
    ),
    "math ift: 16 epochs of tokens": (
        lambda: round(16 * at(A, metric="tokens of one epoch", setting="math-ift") / 1000, 2),
        at(A, metric="tokens of 16 epochs", setting="math-ift"),
    ),
    "code ift: 16 epochs of steps": (lambda: 16 * at(A, metric="steps of one epoch"), 3088),
    # Appendix H: 4 bytes each for weight, gradient and state; 2 for frozen weights; 1 % trained.
    "memory, Adam, full": (lambda: [4 * (1 + 1 + 2) * n for n in (7, 70, 405)], [112, 1120, 6480]),
    "memory, Adam, LoRA": (
        lambda: [round(2 * n + 16 * n / 100, 2) for n in (7, 70, 405)],
        [memory(size, "adam", "lora", 1) for size in ("7b", "70b", "405b")],
    ),
    "memory, Lion": (
        lambda: [12 * 7, round(2 * 7 + 12 * 0.07, 2)],
        [memory("7b", "lion", method, 1) for method in ("full", "lora")],
    ),
    "memory, frozen weights in fp32": (
        lambda: round(4 * 7 + 16 * 0.07, 2),
        at(A, table="S14", frozen="fp32"),
    ),
    "memory over 8 and 32 GPUs": (
        lambda: [
            round(memory("7b", o, m, 1) / n, 3)
            for o in ("adam", "lion")
            for m in ("full", "lora")
            for n in (8, 32)
        ],
        pytest.approx(
            [
                memory("7b", o, m, n)
                for o in ("adam", "lion")
                for m in ("full", "lora")
                for n in (8, 32)
            ],
            abs=0.0011,
        ),
    ),
    # Hu et al.
    "glue: mean of full's eight tasks": (
        lambda: fmean(glue("full")),
        pytest.approx(86.4, abs=0.051),
    ),
    "glue: mean of LoRA's eight tasks": (lambda: round(fmean(glue("lora")), 1), 87.2),
    "glue: gains over full": (
        lambda: [
            round(
                max(row(B, metric="glue average", method="lora", model=m))
                - row(B, metric="glue average", method="full", model=m)[0],
                1,
            )
            for m in ("roberta-base", "roberta-large", "deberta-xxl")
        ],
        [0.8, 0.1, 0.2],
    ),
    "rates: LoRA over full": (
        lambda: round(
            at(B, table="Table 12", method="lora") / at(B, table="Table 12", method="full")
        ),
        40,
    ),
    "checkpoint: full over LoRA": (
        lambda: (
            1000
            * at(B, metric="checkpoint", method="full")
            / at(B, metric="checkpoint", method="lora")
        ),
        at(B, metric="checkpoint of full over LoRA's, as stated"),
    ),
    "100 tasks with LoRA": (
        lambda: 350 + 100 * at(B, metric="checkpoint", method="lora") / 1000,
        pytest.approx(at(B, metric="100 checkpoints", method="lora"), abs=0.51),
    ),
    "100 tasks with full": (lambda: 100 * at(B, metric="checkpoint", method="full") / 1000, 35),
    "memory: full over LoRA": (
        lambda: int(
            at(B, metric="training memory", method="full")
            / at(B, metric="training memory", method="lora")
        ),
        at(B, metric="memory of full over LoRA's, as stated"),
    ),
    "amplification at rank 64": (
        lambda: round(amplified(64)),
        at(B, metric="amplification factor", rank=64),
    ),
    "Table 5's qv and qkvo are Table 6's": (
        lambda: [
            b("Table 5", metric, rank=rank, modules=mods)
            for metric in ("wikisql accuracy", "mnli-m accuracy")
            for rank, mods in ((4, "q,v"), (2, "q,k,v,o"))
        ],
        [
            b("Table 6", metric, rank=rank, modules=mods)
            for metric in ("wikisql accuracy", "mnli-m accuracy")
            for rank, mods in ((4, "q,v"), (2, "q,k,v,o"))
        ],
    ),
    "Table 18's best is Table 3's": (
        lambda: round(max(row(B, table="Table 18", metric="bleu")), 1),
        b("Table 3", "bleu", method="lora", model="gpt2-medium"),
    ),
    "whole MNLI of Table 16 is Table 4's": (
        lambda: [
            b("Table 16", "mnli-m accuracy", method=m, budget="392000 examples")
            for m in ("full", "pre-embed", "lora")
        ],
        [
            b("Table 4", "mnli-m accuracy", method="full"),
            b("Table 4", "mnli-m accuracy", method="pre-embed"),
            b("Table 4", "mnli-m accuracy", method="lora", parameters="4.7M"),
        ],
    ),
    "fine-tuning of Table 8 is Table 4's": (
        lambda: at(B, table="Table 8", setting="mnli", method="full"),
        b("Table 4", "mnli-m accuracy", method="full"),
    ),
    "webnlg: all lies between unseen and seen": (
        lambda: [
            u < x < s
            for u, s, x in zip(
                *(row(B, table="Table 14", categories=c) for c in ("unseen", "seen", "all")),
                strict=True,
            )
        ],
        [True] * 7,
    ),
    "roberta-base: parameters of r8 on q and v": (
        lambda: round(12 * 2 * 2 * 768 * 8 / 1e6, 1),
        at(B, table="Table 2", metric="trained parameters"),
    ),
    # Schulman et al.: parameters of a rank, with the output layer in every configuration.
    "parameters at rank 256 and 128": (
        lambda: [
            round((head("mlp") + head("unembed")) * 256 / 1e9, 2),
            round((head("attention") + head("unembed")) * 256 / 1e9, 2),
            round((head("mlp") + head("unembed")) * 128 / 1e9, 2),
        ],
        [
            at(C, modules="mlp", rank=256),
            at(C, modules="attention"),
            at(C, modules="mlp", rank=128),
        ],
    ),
    "parameters of all modules": (
        lambda: (head("mlp") + head("attention") + head("unembed")) * 256 / 1e9,
        pytest.approx(at(C, modules="all", rank=256), abs=0.0051),
    ),
    "parameters at rank 1": (
        lambda: round((head("mlp") + head("attention") + head("unembed")) / 1e9, 3),
        at(C, modules="all", rank=1),
    ),
    "bits of the run on MATH": (
        lambda: at(C, metric="problems") * at(C, metric="samples of a problem"),
        at(C, metric="information of the run"),
    ),
    "episodes of R1-Zero": (
        lambda: round(
            at(C, metric="steps")
            * at(C, metric="questions of a step")
            * at(C, metric="samples of a question")
            / 1e6,
            1,
        ),
        at(C, metric="episodes"),
    ),
    "a bit of loss in nats": (
        lambda: round(math.log(2), 2),
        at(C, metric="typical loss of a token", unit="nats"),
    ),
    "FLOPs at small ranks": (lambda: round(2 / 3, 2), at(C, metric="FLOPs against full")),
    "the formula's rate for Llama-3.1-8B": (
        lambda: round(
            at(TINKER, metric="formula: base rate")
            * 10
            * (2000 / 4096) ** at(TINKER, metric="formula: exponent of Llama"),
            6,
        ),
        at(TINKER, table="rate formula", setting="llama-3.1-8b"),
    ),
    "the primer's ratios are hidden / 64": (
        lambda: [2048 / 64, 8192 / 64],
        row(TINKER, table="primer"),
    ),
    "the sweep's runs at 3e-3 are among the diverged": (
        lambda: (
            at(TINKER, metric="diverged runs", rate="3e-3")
            <= at(TINKER, metric="diverged runs", rate="all")
        ),
        True,
    ),
    # Shuttleworth et al.
    "rates at alpha times rate 2.4e-3": (
        lambda: [float(f"{2.4e-3 / (2 * r):.2g}") for r in (1, 2, 4, 8, 16, 64)],
        [1.2e-3, 6e-4, 3e-4, 1.5e-4, 7.5e-5, 1.9e-5],
    ),
    "accuracy within a point": (
        lambda: [gap(t) < 1 for t in ("mnli", "sst-2", "fever")],
        [True] * 3,
    ),
    "p of the correlations: 15 runs of RoBERTa, 30 of LLaMA": (
        lambda: [
            round(p_of(rho, n), digits)
            for rho, n, digits in zip(
                row(D, unit="correlation")[1:], (30, 15, 30), (4, 3, 3), strict=True
            )
        ],
        row(D, unit="probability"),
    ),
    "forgetting falls in every row": (
        lambda: max(row(D, metric="forgetting change")) < 0,
        True,
    ),
    # PEFT: modules of Llama-3.2-3B (28 layers, 3072 wide, keys and values 1024, MLP 8192).
    "peft: parameters of q and v at rank 32": (
        lambda: 28 * 32 * (2 * 3072 + 3072 + 1024),
        at(PEFT, metric="trained parameters", unit="count"),
    ),
    "peft: parameters of the MLP at rank 10": (
        lambda: round(28 * 10 * 3 * (3072 + 8192) / 1e6, 2),
        at(PEFT, metric="trained parameters", unit="millions"),
    ),
}


CAUGHT: dict[str, tuple[Callable[[], object], object, object, dict[str, str | int]]] = {
    "math cpt: ordered by rank from 4B": (
        lambda: ordered("S3", "4 Gtokens"), False, True, {},
    ),
    "code ift: forgetting ordered by rank": (
        lambda: a("S6", "256", "16 epochs") - a("S6", "64", "16 epochs"),
        pytest.approx(0.007), 0,
        {"paper": A, "table": "S6", "rank": 64, "budget": "16 epochs"},
    ),
    "math cpt: full forgets most": (
        lambda: a("S4", "full", "20 Gtokens") - a("S4", "256", "20 Gtokens"),
        pytest.approx(0.002), 0,
        {"paper": A, "table": "S4", "method": "full", "budget": "20 Gtokens"},
    ),
    "tulu: full is best at 2 epochs": (
        lambda: best("S10", method="full")[2], "6 epochs", "2 epochs", {},
    ),
    "best rate of math over full's": (
        lambda: round(
            at(A, metric="best learning rate", setting="math-ift", method="lora")
            / at(A, metric="best learning rate", setting="math-ift", method="full")
        ),
        20, 10, {"paper": A, "metric": "best learning rate over that of full"},
    ),
    "v1's best of full on math": (
        lambda: 0.230 in row(A, table="S3", method="full"), False, True,
        {"paper": A, "table": "v1, best of all runs", "setting": "math-cpt", "method": "full"},
    ),
    "amplification at rank 4": (
        lambda: round(amplified(4), 1), 21.6, at(B, metric="amplification factor", rank=4),
        {"paper": B, "metric": "amplification factor", "rank": 4},
    ),
    "speed-up": (
        lambda: [round(100 * (faster() - 1), 1), round(100 * (1 - 1 / faster()), 1)],
        [32.6, 24.6], [at(B, metric="speed-up as stated")] * 2,
        {"paper": B, "metric": "speed-up as stated"},
    ),
    "W_q at rank 8 in two tables": (
        lambda: b("Table 6", "mnli-m accuracy", rank=8, modules="q"), 90.7,
        b("Table 5", "mnli-m accuracy", rank=8, modules="q"),
        {"paper": B, "metric": "mnli-m accuracy", "rank": 8, "modules": "q"},
    ),
    "PreLayer in two tables": (
        lambda: b("Table 16", "mnli-m accuracy", method="pre-layer", budget="392000 examples"),
        89.6, b("Table 4", "mnli-m accuracy", method="pre-layer"),
        {"paper": B, "table": "Table 4", "metric": "mnli-m accuracy", "method": "pre-layer"},
    ),
    "webnlg and dart in the repository": (
        lambda: row(B, table="README of microsoft/LoRA", method="full"),
        [30.4, 63.2, 47.6, 41.7, 64.6, 54.2, 46.0, 46.5],
        [27.7, 64.2, 46.5, 43.1, 65.3, 55.5, 46.2, 47.0],
        {"paper": B, "table": "README of microsoft/LoRA"},
    ),
    "parameters of attention and MLP are those of all": (
        lambda: at(C, modules="mlp", rank=256) + at(C, modules="attention"),
        pytest.approx(0.74), at(C, modules="all", rank=256),
        {"paper": C, "modules": "all", "rank": 256},
    ),
    "one rule for the rate": (
        lambda: row(TINKER, table="primer"), [32, 128], [10, 10],
        {"paper": TINKER, "table": "primer"},
    ),
    "lambda .5 costs under 2 % on RoBERTa": (
        lambda: [v for v in halved(D, "Table 3") if v <= -2],
        [-2.7], [],
        {"paper": D, "table": "Table 3", "setting": "mnli", "rank": 1, "lambda": "0.5",
         "metric": "test accuracy change"},
    ),
    "effective rank at alpha = 2r": (
        lambda: at(D, table="App. M", alpha="2r") < 768, False, True,
        {"paper": D, "table": "App. M"},
    ),
    "the script of rank 1 follows the rule": (
        lambda: 2 * 3e-4, 6e-4, at(D, table="App. B.3"),
        {"paper": D, "metric": "alpha times learning rate", "rank": 1},
    ),
    "accuracies within a point": (
        lambda: [round(gap(t), 1) for t in ("winogrande", "siqa", "qqp")], [3.7, 3.3, 1.1], [1] * 3,
        {},
    ),
    "peft: full in two generations": (
        lambda: row(PEFT, method="full", metric="gsm8k accuracy"), [0.472, 0.506], [0.472] * 2,
        {"paper": PEFT, "table": "MetaMathQA, an older generation", "metric": "gsm8k accuracy"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOLDS)
def test_what_a_paper_states_follows_from_its_rows(name: str) -> None:
    computed, stated = HOLDS[name]
    assert computed() == stated


@pytest.mark.parametrize("name", CAUGHT)
def test_what_does_not_follow_is_noted(name: str) -> None:
    computed, rows_say, stated, noted = CAUGHT[name]
    assert computed() == rows_say
    assert rows_say != stated
    if noted:
        rows = select(VALUES, noted)
        assert rows
        assert all(value.note for value in rows)


def test_the_page_lists_what_was_caught() -> None:
    page = (FOLDER / "README.md").read_text("utf-8")
    table = page.split("These do not hold:")[1]
    assert len(re.findall(r"^\| [A-Z]", table, re.MULTILINE)) == len(CAUGHT)
    named = set(re.findall(r"^\| `([\w-]+\.csv)`", page, re.MULTILINE))
    assert named == {path.name for path in FOLDER.glob("*.csv")}
