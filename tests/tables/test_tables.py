"""Tables from made-up records whose numbers are worked out by hand.

Losses are given in whole bits, so that bits per byte are short fractions; where every unit changes
by the same rate, each resample gives the same change, and both bounds are known as well.
"""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import factories
from factories import METHODS, study
from lora_ledger.records.record import read_record
from lora_ledger.stages import tabulate
from lora_ledger.study.cells import BASE
from lora_ledger.study.schema import Study
from lora_ledger.tables.document import Column, Section, Table, as_latex, as_markdown, shown
from lora_ledger.tables.evidence import gather
from lora_ledger.tables.notes import cut
from made_study import made_up

TWO = {name: METHODS[name] for name in ("full", "lora-r8")}
CODE = {"corpus": "texts", "regime": "cpt", "tasks": ["humaneval"]}
REPAIR = {"corpus": "texts", "regime": "cpt", "role": "control"}


def bits(*values: float) -> list[float]:
    """Bits as nats."""
    return [value * math.log(2) for value in values]


def plan(**changes: object) -> Study:
    return study(settings={"code": CODE, "repair": REPAIR}, methods=TWO, **changes)


def rows(folder: Path, name: str, **wanted: str) -> list[dict[str, str]]:
    lines = (folder / f"{name}.csv").read_text("utf-8").splitlines()
    found = csv.DictReader(line for line in lines if not line.startswith("#"))
    return [row for row in found if all(row[key] == value for key, value in wanted.items())]


def numbers(row: dict[str, str], key: str) -> list[float]:
    return [float(row[f"{key}{bound}"]) for bound in ("", "_low", "_high")]


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """One seed: full on code and on the repair control, lora-r8 diverged on code."""
    size = [100, 300]
    full, lost, control = (f"{c}/short/s1" for c in ("code/full", "code/lora-r8", "repair/full"))
    paths: list[Path] = []

    def put(stage: str, label: str) -> Path:
        paths.append(tmp_path / stage / f"{label}.json")
        return paths[-1]

    # 400 bits in 400 bytes, then 0.5 bits less for every byte.
    factories.train(put("train", full), full, bits(90, 310), bits(40, 160), size)
    factories.diverged(put("train", lost), "train", lost)
    factories.train(put("train", control), control, bits(100, 300), bits(80, 240), size)
    # General text: base 1 bit a byte; +0.1 after code, -0.05 after the control.
    chance = [math.log(4)] * 4
    paths += factories.retain(tmp_path, BASE, bits(100, 300), size, [1, 0, 0, 0], chance)
    paths += factories.retain(tmp_path, full, bits(110, 330), size, [1, 1, 0, 0], [1.0] * 4)
    factories.diverged(put("retain", lost), "retain", lost, "general")
    paths += factories.retain(tmp_path, control, bits(95, 285), size, [0, 0, 0, 0], chance)
    for label, values, nats in (
        (BASE, [0.0, 0.0, 0.0, 0.0], bits(8, 8, 8, 8)),
        (full, [0.0, 0.5, 0.5, 1.0], bits(6, 6, 6, 6)),
    ):
        factories.score(put("score", label), label, {"pass@1": values}, nats, [4, 4, 4, 4])
    for label, passing, failing in (
        (BASE, [[], []], [[2, 2], [4]]),
        (full, [[2, 1], [3]], [[1], [1]]),
    ):
        both = [a + b for a, b in zip(passing, failing, strict=True)]
        classes = {"all": both, "passing": passing, "failing": failing}
        factories.diversity(put("diversity", label), label, classes)
    tabulate.tabulate(gather(plan(), paths), tmp_path / "tables")
    return tmp_path / "tables"


def test_learning_by_hand(tables: Path) -> None:
    full, lost = rows(tables, "learning", setting="code", measure="validation, bits per byte")
    assert float(full["before"]) == pytest.approx(1.0)
    assert float(full["after"]) == pytest.approx(0.5)
    assert numbers(full, "change") == pytest.approx([-0.5, -0.5, -0.5])
    assert (full["n"], full["resampled"]) == ("2", "blocks")
    assert full["rate"] == "3e-4, one rate, not tuned"
    assert (lost["method"], lost["after"], lost["change"]) == ("lora-r8", "diverged", "diverged")
    (control,) = rows(tables, "learning", setting="repair (control)")
    assert numbers(control, "change") == pytest.approx([-0.2, -0.2, -0.2])


def test_scores_by_hand(tables: Path) -> None:
    base, full, _ = rows(tables, "learning", measure="humaneval, pass@1")
    # Wilson at 0 of 4: z^2 / (4 + z^2) above.
    assert numbers(base, "after") == pytest.approx([0, 0, 3.841459 / 7.841459])
    assert base["resampled"] == "none: Wilson, problems"
    assert float(full["after"]) == 0.5
    assert float(full["change"]) == 0.5
    base, full, _ = rows(tables, "learning", measure="humaneval, reference, bits per byte")
    assert numbers(base, "after") == pytest.approx([2, 2, 2])
    assert numbers(full, "change") == pytest.approx([-0.5, -0.5, -0.5])


def test_forgetting_beside_the_control(tables: Path) -> None:
    base, full, lost, control = rows(tables, "forgetting", measure="general, bits per byte")
    assert float(base["value"]) == pytest.approx(1.0)
    assert numbers(full, "change") == pytest.approx([0.1, 0.1, 0.1])
    assert numbers(full, "beyond") == pytest.approx([0.15, 0.15, 0.15])
    assert full["control"] == "repair/full"
    assert (lost["method"], lost["value"]) == ("lora-r8", "diverged")
    assert control["setting"] == "repair (control)"
    assert numbers(control, "change") == pytest.approx([-0.05, -0.05, -0.05])
    assert control["beyond"] == ""


def test_choices_say_when_base_is_at_chance(tables: Path) -> None:
    base, full, *_ = rows(tables, "forgetting", measure="facts, accuracy")
    assert base["note"] == "base is at chance: 0.250"
    assert (float(base["value"]), float(full["change"])) == (0.25, 0.25)
    _, full, *_ = rows(tables, "forgetting", measure="facts, cross-entropy in nats")
    assert float(full["change"]) == pytest.approx(1 - math.log(4))


def test_no_verdict_on_dequantised_weights(tables: Path) -> None:
    assert "no verdict on forgetting is given" in (tables / "forgetting.md").read_text("utf-8")


def test_base_above_chance_is_not_called_at_chance(tmp_path: Path) -> None:
    """15 of 20 right: 0.5 above chance, whose standard error is sqrt(.25 x .75 / 20) = 0.097."""
    paths = factories.retain(tmp_path, BASE, bits(1), [1], [1] * 15 + [0] * 5, [0.5] * 20)
    tabulate.tabulate(gather(plan(), paths), tmp_path)
    assert {row["note"] for row in rows(tmp_path, "forgetting", measure="facts, accuracy")} == {
        "chance: 0.250"
    }


def test_diversity_at_equal_class_size(tables: Path) -> None:
    base, full, lost = rows(tables, "diversity", **{"class": "passing"})
    assert (base["problems"], base["exact"], base["exact_m"]) == ("0", "", "")
    assert (lost["exact"], lost["exact_m"]) == ("diverged", "diverged")
    # [2, 1] and [3]: 2 and 1 unique among 3 each. Only full takes part, so m is 3.
    assert (full["problems"], float(full["size"]), float(full["exact"])) == ("2", 3.0, 1.5)
    assert (full["m"], float(full["exact_m"])) == ("3", 1.5)
    base, full, _ = rows(tables, "diversity", **{"class": "failing"})
    # Full fails once a problem: nothing to compare at m of 2 or more.
    assert (base["compared"], full["compared"], float(base["exact"])) == ("0", "0", 1.5)
    base, full, _ = rows(tables, "diversity", **{"class": "all"})
    # [2, 2], [4] against [2, 1, 1], [3, 1], all four drawn.
    assert (float(base["exact_m"]), float(full["exact_m"])) == (1.5, 2.5)
    assert numbers(full, "change") == pytest.approx([1.0, 1.0, 1.0])
    assert (full["distinct_1"], full["syntax_m"]) == ("0.25", "1")
    text = (tables / "diversity.md").read_text("utf-8")
    passing = text[text.index("## code · humaneval · passing") :]
    line = next(row for row in passing.splitlines() if row.startswith("| base"))
    assert [cell.strip() for cell in line.split("|")][1:8] == ["base", "–", "–", "0", "–", "–", "–"]


def test_rarefied_to_the_smaller_arm(tmp_path: Path) -> None:
    """At m = 2, two of [2, 1] differ in 2 of 3 draws, so 5/3 are distinct; of [1, 1], 2 are."""
    paths = []
    for method, passing in (("full", [[2, 1], [3]]), ("lora-r8", [[1, 1], []])):
        label = f"code/{method}/short/s1"
        train = tmp_path / f"{method}.json"
        factories.train(train, label, bits(2), bits(1), [1])
        path = tmp_path / "humaneval" / f"{label}.json"
        factories.diversity(
            path, label, {"all": [[4], [4]], "passing": passing, "failing": [[], []]}
        )
        paths += [train, path]
    tabulate.tabulate(gather(plan(), paths), tmp_path)
    full, lora = rows(tmp_path, "diversity", **{"class": "passing"})
    assert (full["m"], full["compared"]) == ("2", "1")
    assert float(full["exact_m"]) == pytest.approx(5 / 3)
    assert float(lora["exact_m"]) == 2.0


def test_rarefied_mean_of_seeds(tmp_path: Path) -> None:
    """One problem, 4 samples: 2 and 4 distinct, base 1; the mean is 3, two more than base."""
    train, paths = [], []
    for seed, kinds in ((0, [4]), (1, [2, 2]), (2, [1, 1, 1, 1])):
        label = f"code/full/short/s{seed}" if seed else BASE
        paths.append(tmp_path / "humaneval" / f"{label}.json")
        classes = {"all": [kinds], "passing": [[]], "failing": [kinds]}
        factories.diversity(paths[-1], label, classes)
        if seed:
            train.append(tmp_path / f"{seed}.json")
            factories.train(train[-1], label, bits(2), bits(1), [1])
    tabulate.tabulate(gather(plan(seeds=[1, 2]), [*train, *paths]), tmp_path)
    _, one, two, mean = rows(tmp_path, "diversity", **{"class": "all"})
    assert [float(row["exact_m"]) for row in (one, two, mean)] == [2, 4, 3]
    assert mean["seed"] == "mean of 2"
    assert numbers(mean, "change") == [2, 1, 3]


def test_cost(tables: Path) -> None:
    full, lost = rows(tables, "cost", setting="code")
    assert (full["trainable"], full["share"], full["tokens"]) == ("134515008", "100", "12000")
    assert (float(full["peak_mib"]), float(full["file_mib"])) == (3072, 538)
    assert float(full["gflop_per_token"]) == pytest.approx(0.81)
    assert (float(full["wall_seconds"]), full["status"]) == (95.0, "complete")
    assert (lost["steps"], lost["trainable"], lost["status"]) == ("2", "", "diverged")


def test_two_seeds(tmp_path: Path) -> None:
    """Changes of -0.5 and -0.7: means of two drawn seeds are -0.5, -0.6 or -0.7."""
    paths = []
    for seed, end in ((1, 0.5), (2, 0.3)):
        label = f"code/full/short/s{seed}"
        paths.append(tmp_path / f"{seed}.json")
        factories.train(paths[-1], label, bits(100, 300), bits(100 * end, 300 * end), [100, 300])
    paths.append(tmp_path / "lost.json")
    factories.diverged(paths[-1], "train", "code/lora-r8/short/s2")
    tabulate.tabulate(gather(plan(seeds=[1, 2]), paths), tmp_path)
    first, second, mean, lost = rows(tmp_path, "learning")
    assert [row["seed"] for row in (first, second, mean, lost)] == ["1", "2", "mean of 2", "2"]
    assert numbers(second, "change") == pytest.approx([-0.7, -0.7, -0.7])
    assert numbers(mean, "change") == pytest.approx([-0.6, -0.7, -0.5])
    assert mean["resampled"] == "blocks x seeds"
    assert lost["after"] == "diverged"
    text = (tmp_path / "learning.md").read_text("utf-8")
    assert "below 3 seeds nothing generalises over training" in text


@pytest.mark.parametrize(
    ("edge", "said"), [(False, "3e-4, tuned"), (True, "3e-4, on edge, not tuned")]
)
def test_a_grid_says_whether_it_was_tuned(tmp_path: Path, edge: bool, said: str) -> None:
    methods = {"full": {"kind": "full", "learning_rates": [1e-4, 3e-4, 1e-3]}}
    grid = study(settings={"code": CODE}, methods=methods)
    paths = [tmp_path / "t.json", tmp_path / "select.json"]
    factories.train(paths[0], "code/full/short/s1", bits(2), bits(1), [1])
    chosen = {"curve": [], "learning_rate": 3e-4, "on_edge": edge}
    factories.write(paths[1], "select", "code/full", chosen)
    tabulate.tabulate(gather(grid, paths), tmp_path)
    assert rows(tmp_path, "learning")[0]["rate"] == said


def test_a_reported_grid_has_a_row_for_each_rate_and_means_of_equal_rates(tmp_path: Path) -> None:
    methods = {"full": {"kind": "full", "learning_rates": [1e-4, 3e-4]}}
    grid = study(settings={"code": CODE | {"report": "grid"}}, methods=methods, seeds=[1, 2])
    paths = []
    for rate, end in (("1e-4", 0.9), ("3e-4", 0.5)):
        for seed in (1, 2):
            label = f"code/full/short/lr-{rate}/s{seed}"
            paths.append(tmp_path / f"{rate}-{seed}.json")
            factories.train(paths[-1], label, bits(100), bits(100 * end), [100], float(rate))
    tabulate.tabulate(gather(grid, paths), tmp_path)
    found = rows(tmp_path, "learning")
    assert [(row["lr"], row["seed"]) for row in found] == [
        (rate, seed) for rate in ("1e-4", "3e-4") for seed in ("1", "2", "mean of 2")
    ]
    assert found[0]["rate"] == "1e-4, one of the grid"
    assert [float(row["change"]) for row in found] == pytest.approx([-0.1] * 3 + [-0.5] * 3)


def test_every_table_says_what_it_is_of(tables: Path) -> None:
    for name in ("learning", "forgetting", "diversity", "cost"):
        for suffix in ("csv", "md", "tex"):
            text = (tables / f"{name}.{suffix}").read_text("utf-8").replace("\\_", "_")
            for said in (
                "made-up",
                "smollm2-135m-instruct-q4",
                "base: instruct",
                "weights: dequantised-q4_1",
                "stand-in",
                "sampling error of the evaluation only",
            ):
                assert said in text.replace("\\%", "%"), (name, suffix, said)


def test_same_records_same_bytes(tables: Path, tmp_path: Path) -> None:
    settings = {k: v for k, v in study().settings.items() if k in ("code-ift", "repair")}
    plan_ = study(settings=settings)
    paths = made_up(tmp_path / "all", plan_, ("code-ift/full/short/s1",))
    tabulate.tabulate(gather(plan_, paths), tmp_path / "one")
    tabulate.tabulate(gather(plan_, paths[::-1]), tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        if path.name != "record.json":
            assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    one, two = (read_record(tmp_path / f / "record.json") for f in ("one", "two"))
    assert one.id == two.id
    assert len(one.results["plane"]) == 5
    assert one.results["diverged"] == {"code-ift": ["full short s1"]}


def test_what_was_dropped_and_cut_stands_above_the_tables(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.json" for i in range(4)]
    counts = {
        "train": {"examples": 3417, "dropped_over_length": 1455},
        "validation": {"examples": 48, "dropped_over_length": 0},
    }
    settings = {"sequence_length": 256}
    factories.write(paths[0], "prepare", "code", {"counts": counts}, settings=settings)
    none = {split: {**found, "dropped_over_length": 0} for split, found in counts.items()}
    factories.write(paths[1], "prepare", "repair", {"counts": none}, settings=settings)
    for path, cell, lost in ((paths[2], BASE, 1), (paths[3], "code/full/short/s1", 3)):
        results = {"problems": list(range(20)), "cut_prompts": lost}
        results |= {"samples": 2, "cut_completions": 10 * lost}
        names = {"run": "humaneval", "cell": cell}
        factories.write(path, "generate", cell, results, names=names)
    tabulate.tabulate(gather(plan(), paths), tmp_path)
    for name in ("learning", "forgetting", "diversity", "cost"):
        text = (tmp_path / f"{name}.md").read_text("utf-8")
        assert "- code: dropped 1,455 of 3,417 train examples, over 256 tokens\n" in text
        assert "repair: dropped" not in text
        said = "humaneval: 3 of 20 prompts lost their beginning to the model's window (code/full/"
        assert (said in text) == (name in ("learning", "diversity"))
        said = "humaneval: 30 of 40 completions were cut at max_gen_toks (code/full/"
        assert (said in text) == (name in ("learning", "diversity"))


def test_the_worst_cell_of_a_task_says_how_many_contexts_were_cut() -> None:
    records = {
        label: SimpleNamespace(results={"items": ["i"] * 9, "cut_contexts": count})
        for label, count in (("base", 0), ("mine", 1))
    }
    evidence: Any = SimpleNamespace(of_run=lambda stage, run: records if run == "arc" else {})
    assert cut(evidence, "retain", ["arc", "piqa"]) == [
        "arc: 1 of 9 items lost the beginning of their context to the model's window "
        "(mine, the most of any cell)"
    ]


def test_a_title_of_two_lines_is_one_line_of_every_form(tmp_path: Path) -> None:
    two = plan(title="one thing:\n  \n# and another")
    tabulate.tabulate(gather(two, []), tmp_path)
    said = "study: made-up (one thing: # and another)"
    for name in ("learning", "forgetting", "diversity", "cost"):
        assert f"\n# {said}" in (tmp_path / f"{name}.csv").read_text("utf-8")
        assert f"\n- {said}" in (tmp_path / f"{name}.md").read_text("utf-8")


def test_forms_of_a_table() -> None:
    columns = (Column("a", "arm"), Column("x", "change", signed=True, right=True))
    table = Table(
        "t",
        "T_1",
        ("50 % & more",),
        columns,
        (Section({"s": "one"}, ({"a": "r|2", "x": -0.5}, {"a": "z", "x": None})),),
    )
    assert as_markdown(table).splitlines()[6:] == [
        "| arm  | change |",
        "| ---- | -----: |",
        "| r\\|2 | -0.500 |",
        "| z    |      – |",
    ]
    latex = as_latex(table)
    assert "\\toprule\narm & change \\\\\n\\midrule" in latex
    assert "r|2 & $-$0.500 \\\\" in latex
    assert "z & -- \\\\\n\\bottomrule" in latex
    assert "T\\_1. 50 \\% \\& more." in latex
    assert shown(-0.0001, columns[1]) == "0.000"
    assert shown(1234567, columns[0]) == "1,234,567"


def test_no_torch() -> None:
    code = (
        "import sys, lora_ledger.stages.tabulate, lora_ledger.stages.diversity;"
        "import lora_ledger.cli.main;"
        "sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
