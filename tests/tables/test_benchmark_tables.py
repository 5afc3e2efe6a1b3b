"""Tables of benchmarks: the Gauntlet's mean, continuations, clean subsets, somebody else's models.

Numbers are worked out by hand from shares of a few items.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest

import factories
from factories import METHODS, study
from lora_ledger.stages import tabulate
from lora_ledger.study.cells import BASE
from lora_ledger.study.schema import Study
from lora_ledger.tables.evidence import EvidenceError, gather

FULL, CONTROL = "code/full/short/s1", "repair/full/short/s1"
MEAN = "gauntlet_mean, accuracy, by loss per token"
SAID = {"hellaswag": (10, "same rows"), "winogrande": (0, "rebuilt rows")}
OTHERS = {"paper": {"source": {"kind": "local", "path": "adapter"}, "title": "theirs"}}
NONE: dict[str, Any] = {"settings": {}, "methods": {}, "budgets": {}}
CODE = {"corpus": "texts", "regime": "cpt", "tasks": ["humaneval"]}


def plan(**changes: Any) -> Study:
    """Two members of the Gauntlet and a continuation."""
    evaluation = study().model_dump(mode="json")["evaluation"]
    names = ("hellaswag", "winogrande", "lambada")
    evaluation["likelihood"] = {name: {"task": name, "corpus": "texts"} for name in names}
    evaluation["gauntlet_mean"] = names[:2]
    control = {"corpus": "pairs", "regime": "ift", "role": "control"}
    raw: dict[str, Any] = {
        "settings": {"code": CODE, "repair": control},
        "methods": {"full": METHODS["full"]},
        "evaluation": evaluation,
    }
    return study(**{**raw, **changes})


def first(right: int, n: int) -> list[int]:
    """The first `right` of `n` items are right."""
    return [1] * right + [0] * (n - right)


def tasks(hellaswag: int, winogrande: int, bits: float) -> dict[str, Any]:
    """Right ones of 20 items of 4 options and of 16 items of 2; bits of each word of 3 bytes."""
    return {
        "hellaswag": factories.choices(first(hellaswag, 20), 4, first(hellaswag, 20)),
        "winogrande": factories.choices(first(winogrande, 16), 2),
        "lambada": factories.continuation([1, 0], [bits * math.log(2)] * 2, [3, 3]),
    }


def retained(folder: Path) -> list[Path]:
    """Base 15 and 8 right, full 10 and 8, the control 13 and 8."""
    paths = []
    for label, right, bits in ((BASE, 15, 3.0), (FULL, 10, 6.0), (CONTROL, 13, 3.0)):
        paths += factories.answered(folder / "retain", label, tasks(right, 8, bits), SAID)
    return paths


def rows(folder: Path, name: str, **wanted: str) -> list[dict[str, str]]:
    lines = (folder / f"{name}.csv").read_text("utf-8").splitlines()
    found = csv.DictReader(line for line in lines if not line.startswith("#"))
    return [row for row in found if all(row[key] == value for key, value in wanted.items())]


def measures(folder: Path, name: str) -> list[str]:
    return list(dict.fromkeys(row["measure"] for row in rows(folder, name)))


def test_the_gauntlets_mean_by_hand(tmp_path: Path) -> None:
    tabulate.tabulate(gather(plan(), retained(tmp_path)), tmp_path)
    base, full, control = rows(tmp_path, "forgetting", measure=MEAN)
    # (15/20 + 8/16) / 2, not 23/36; and (10/20 + 8/16) / 2 - 0.625.
    assert float(base["value"]) == 0.625
    assert float(full["value"]) == 0.5
    assert float(full["change"]) == pytest.approx(-0.125)
    # The control lost (15 - 13)/20, so full lost 3/20 more, of which the mean has half.
    assert float(full["beyond"]) == pytest.approx(-0.075)
    assert float(control["change"]) == pytest.approx(-0.05)
    assert (full["n"], full["resampled"]) == ("36", "items within each task")
    # Half of hellaswag's change: its 5 lost items of 20 have a standard error of 0.097.
    error = math.sqrt(0.25 * 0.75 / 20) / 2
    assert float(full["change_low"]) == pytest.approx(-0.125 - 1.96 * error, abs=0.03)
    assert base["note"] == "chance: 0.375; mean of hellaswag, winogrande (at chance)"
    base, full, _ = rows(
        tmp_path,
        "forgetting",
        measure="gauntlet_mean without winogrande, accuracy, by loss per token",
    )
    assert (float(base["value"]), float(full["change"])) == (0.75, -0.25)
    assert base["note"] == "chance: 0.250; mean of hellaswag"
    text = (tmp_path / "forgetting.md").read_text("utf-8")
    assert "unweighted mean over hellaswag (10-shot), winogrande (0-shot)" in text
    assert "who do not state their own few-shot counts" in text
    assert "winogrande is rebuilt rows: this mean is not to be compared with published" in text


def test_rows_of_each_kind_of_task(tmp_path: Path) -> None:
    tabulate.tabulate(gather(plan(), retained(tmp_path)), tmp_path)
    assert measures(tmp_path, "forgetting")[:9] == [
        "hellaswag, accuracy",
        "hellaswag, accuracy, length-normalised",
        "hellaswag, accuracy, by loss per token",
        "hellaswag, cross-entropy in nats",
        "winogrande, accuracy",
        "winogrande, accuracy, by loss per token",
        "winogrande, cross-entropy in nats",
        "lambada, accuracy (greedy)",
        "lambada, last word, bits per byte",
    ]
    base, *_ = rows(tmp_path, "forgetting", measure="hellaswag, accuracy, by loss per token")
    assert base["note"] == "chance: 0.250; 10-shot; same rows as upstream"
    base, *_ = rows(tmp_path, "forgetting", measure="winogrande, accuracy")
    assert base["note"] == "base is at chance: 0.500; 0-shot; rebuilt rows"
    base, full, _ = rows(tmp_path, "forgetting", measure="lambada, last word, bits per byte")
    assert (float(base["value"]), base["note"]) == (pytest.approx(1.0), "")
    assert float(full["change"]) == float(full["change_low"]) == pytest.approx(1.0)
    base, *_ = rows(tmp_path, "forgetting", measure="lambada, accuracy (greedy)")
    assert float(base["value"]) == 0.5


def test_clean_subsets_by_hand(tmp_path: Path) -> None:
    """q0 and q1, which all had right, stand in code's corpus; an id that was not asked counts
    nothing."""
    dirty = factories.contaminated
    paths = [tmp_path / "c1.json", tmp_path / "c2.json"]
    dirty(paths[0], "texts", "hellaswag", 30, ["q0", "q1", "q29"], "the paper trains on it")
    dirty(paths[1], "pairs", "winogrande", 16, [])
    tabulate.tabulate(gather(plan(), [*retained(tmp_path), *paths]), tmp_path)
    name = "hellaswag, accuracy, clean subset (18 of 20 items)"
    base, full = rows(tmp_path, "forgetting", measure=name)
    assert float(base["value"]) == pytest.approx(13 / 18)
    assert float(full["change"]) == pytest.approx(-5 / 18)
    assert float(full["beyond"]) == pytest.approx(-3 / 18)
    assert base["note"].endswith("same rows as upstream; corpus: texts")
    base, full = rows(tmp_path, "forgetting", measure=f"{MEAN}, clean subset (34 of 36 items)")
    assert float(base["value"]) == pytest.approx((13 / 18 + 0.5) / 2)
    assert float(full["change"]) == pytest.approx(-5 / 36)
    clean = [m for m in measures(tmp_path, "forgetting") if "clean subset" in m]
    assert not [m for m in clean if not m.startswith(("hellaswag", "gauntlet_mean"))]
    text = (tmp_path / "forgetting.md").read_text("utf-8")
    assert "permitted pair texts and hellaswag, which would stop by verbatim: the paper" in text


def test_nothing_clean_is_said(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    factories.contaminated(path, "texts", "winogrande", 16, [f"q{i}" for i in range(16)])
    tabulate.tabulate(gather(plan(), [*retained(tmp_path), path]), tmp_path)
    name = "winogrande, accuracy, clean subset (0 of 16 items)"
    (row,) = rows(tmp_path, "forgetting", measure=name)
    assert (row["value"], row["n"]) == ("no clean item is left", "0")
    (row,) = rows(tmp_path, "forgetting", measure=f"{MEAN}, clean subset (20 of 36 items)")
    assert row["value"] == "no clean item is left in winogrande"


def scored(folder: Path, values: dict[str, list[float]]) -> list[Path]:
    """pass@1 of four problems by cell; the companion has 8 bits in 4 bytes for the base, else 4."""
    paths = []
    for label, passed in values.items():
        paths.append(folder / "score" / "humaneval" / f"{label}.json")
        nats = [(8 if label == BASE else 4) * math.log(2)] * 4
        factories.score(paths[-1], label, {"pass@1": passed}, nats, [4] * 4)
    return paths


def test_clean_problems_of_a_setting(tmp_path: Path) -> None:
    train, dirt = tmp_path / "t.json", tmp_path / "c.json"
    factories.train(train, FULL, [1.0], [0.5], [4])
    factories.contaminated(dirt, "texts", "humaneval", 4, ["p3"])
    values = {BASE: [0.0, 0.5, 0.0, 1.0], FULL: [1.0, 0.5, 0.0, 1.0]}
    evidence = gather(plan(), [train, *scored(tmp_path, values), dirt])
    tabulate.tabulate(evidence, tmp_path)
    name = "humaneval, pass@1, clean subset (3 of 4 problems)"
    base, full = rows(tmp_path, "learning", measure=name)
    assert float(base["after"]) == pytest.approx(0.5 / 3)
    assert float(full["change"]) == pytest.approx(1 / 3)
    name = "humaneval, reference, bits per byte, clean subset (3 of 4 problems)"
    assert float(rows(tmp_path, "learning", measure=name)[1]["change"]) == pytest.approx(-1)
    assert "13 words in a row" in (tmp_path / "learning.tex").read_text("utf-8")


def test_somebody_elses_model(tmp_path: Path) -> None:
    values = {BASE: [0.0, 0.5, 0.0, 1.0], "other/paper": [1.0, 0.5, 1.0, 1.0]}
    retain = retained(tmp_path)
    retain += factories.answered(tmp_path, "other/paper", tasks(12, 8, 3.0), SAID)
    diversity = []
    for label, kinds in ((BASE, [4]), ("other/paper", [2, 2])):
        diversity.append(tmp_path / "diversity" / "humaneval" / f"{label}.json")
        classes = {"all": [kinds], "passing": [[]], "failing": [kinds]}
        factories.diversity(diversity[-1], label, classes)
    score = scored(tmp_path, values)
    evidence = gather(plan(others=OTHERS), [*retain, *score, *diversity])
    tabulate.tabulate(evidence, tmp_path)
    base, paper = rows(tmp_path, "learning", setting="external", measure="humaneval, pass@1")
    assert (paper["method"], paper["budget"], paper["seed"], paper["rate"]) == ("paper", "", "", "")
    assert (float(paper["before"]), float(paper["after"])) == (0.375, 0.875)
    assert float(paper["change"]) == 0.5
    companion = rows(tmp_path, "learning", measure="humaneval, reference, bits per byte")
    assert float(companion[1]["change"]) == pytest.approx(-1)
    paper = rows(tmp_path, "forgetting", measure=MEAN)[-1]
    assert (paper["setting"], paper["method"]) == ("external", "paper")
    assert float(paper["change"]) == pytest.approx(-0.075)
    assert paper["beyond"] == ""
    base, paper = rows(tmp_path, "diversity", setting="external", **{"class": "all"})
    assert (float(base["exact_m"]), float(paper["exact_m"])) == (1, 2)
    assert "not trained here: paper (theirs)" in (tmp_path / "learning.md").read_text("utf-8")


def test_a_study_of_the_base_alone(tmp_path: Path) -> None:
    paths = retained(tmp_path)[:3]
    score = scored(tmp_path, {BASE: [0.0, 1.0, 0.0, 1.0]})
    tabulate.tabulate(gather(plan(**NONE), [*paths, *score]), tmp_path)
    one, companion = rows(tmp_path, "learning")
    assert (one["setting"], one["method"], float(one["after"])) == ("base", "base", 0.5)
    # Wilson at 2 of 4: the centre is 1/2 and half the width z / (4 + z^2) sqrt(4 / 4 + z^2 / 4) .
    z = 1.959964
    half = z / (1 + z * z / 4) * math.sqrt(0.25 / 4 + z * z / 64)
    assert float(one["after_low"]) == pytest.approx(0.5 - half)
    assert float(companion["after"]) == pytest.approx(2.0)
    assert {row["method"] for row in rows(tmp_path, "forgetting")} == {"base"}
    assert rows(tmp_path, "cost") == []


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    paths = retained(tmp_path)
    lacking = tasks(10, 8, 3.0)
    del lacking["winogrande"]["acc_token"]
    factories.answered(tmp_path / "retain", FULL, lacking, SAID)
    with pytest.raises(EvidenceError, match=f"winogrande: found no acc_token of {FULL}"):
        tabulate.tabulate(gather(plan(), paths), tmp_path)
    other = {**SAID, "hellaswag": (5, "same rows")}
    factories.answered(tmp_path / "retain", FULL, tasks(10, 8, 3.0), other)
    with pytest.raises(EvidenceError, match="found 5-shot prompts for code/full/short/s1 and 10"):
        tabulate.tabulate(gather(plan(), paths), tmp_path)
    foreign = factories.answered(tmp_path, "other/papers", {"lambada": {}})
    with pytest.raises(EvidenceError, match="did you mean 'lambada/other/paper'"):
        gather(plan(others=OTHERS), foreign)
    factories.contaminated(tmp_path / "c.json", "texts", "helaswag", 1, [])
    with pytest.raises(EvidenceError, match="did you mean 'texts/hellaswag'"):
        gather(plan(), [tmp_path / "c.json"])
