"""The rows of cells beside their base, from made-up records."""

from __future__ import annotations

from pathlib import Path

import pytest

import factories
from lora_ledger.stages import tabulate
from lora_ledger.study.cells import BASE
from lora_ledger.tables.evidence import gather

from .test_tables import numbers, plan, rows

FULL, LORA, LOST = "code/full/short/s1", "code/lora-r8/short/s1", "repair/full/short/s1"
PACKED = {"examples": 16, "rows": 16, "dropped_over_length": 0, "tokens": 9, "bytes": 9}
EVALUATION = {
    "texts": {"general": {"corpus": "texts", "divergence": True, "csd": True}},
    "prompts": {"asked": {"task": "gsm-symbolic"}},
    "memorised": {"recall": {"corpus": "texts"}},
    "bootstrap": 200,
    "generate": {"humaneval": {"task": "humaneval"}},
    "allow_code_execution": True,
}


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Two documents of 10 and 30 tokens; of lora-r8 nothing but divergences."""
    text = {"kind": "text", "documents": ["a", "b"], "nats": [1.0, 3.0], "bytes": [4, 4]}
    text["tokens"] = [10, 30]
    asked = {"kind": "prompts", "items": ["p", "q"], "groups": ["g", "h"], "tokens": [5, 5]}
    asked["cut_contexts"] = 0
    paths = []
    for cell, kl, csd in (
        (BASE, [0.0, 0.0], {"absolute": [0.0, 0.0], "relative": [0.0, 0.0]}),
        (FULL, [2.0, 6.0], {"absolute": [20.0, 60.0], "relative": [1.0, 3.0]}),
        (LORA, [1.0, 3.0], {"why": "no ΔW: lora does not merge"}),
    ):
        beside = {"divergence": {"base_cell": kl, "cell_base": [2 * x for x in kl]}, "csd": csd}
        answers = {
            "general": {**text, **beside},
            "asked": {**asked, "divergence": beside["divergence"]},
        }
        paths += factories.answered(tmp_path / "retain", cell, answers)
    for name in ("general", "asked"):
        path = tmp_path / "retain" / name / "lost.json"
        factories.diverged(path, "retain", LOST, name)
        paths.append(path)
    tabulate.tabulate(gather(plan(evaluation=EVALUATION), paths), tmp_path / "tables")
    return tmp_path / "tables"


def test_rows_by_hand(tables: Path) -> None:
    base, full, lora = (
        row
        for row in rows(tables, "forgetting", measure="general, KL(base ‖ cell), nats per token")
        if row["value"] != "diverged"
    )
    assert numbers(base, "value") == [0, 0, 0]
    assert numbers(full, "value") == pytest.approx([0.2] * 3)
    assert numbers(full, "change") == pytest.approx([0.2] * 3)
    assert numbers(lora, "value") == pytest.approx([0.1] * 3)
    reverse = rows(tables, "forgetting", measure="general, KL(cell ‖ base), nats per token")
    assert next(row["value"] for row in reverse if row["method"] == "full") == "0.4"
    (prompts,) = rows(
        tables, "forgetting", measure="asked, KL(base ‖ cell), nats per token", method="lora-r8"
    )
    assert float(prompts["value"]) == pytest.approx(0.4)
    assert (prompts["n"], prompts["resampled"]) == ("2", "prompts")


def test_csd_of_those_that_have_one(tables: Path) -> None:
    found = rows(tables, "forgetting", measure="general, CSD, ‖ΔW h‖² per token")
    mine = {row["method"]: float(row["value"]) for row in found if row["setting"] == "code"}
    assert mine == pytest.approx({"full": 2.0})
    relative = "general, CSD, ‖ΔW h‖² over ‖W₀ h‖²"
    (row,) = rows(tables, "forgetting", measure=relative, method="full", setting="code")
    assert float(row["value"]) == pytest.approx(0.1)
    text = (tables / "forgetting.md").read_text("utf-8")
    assert f"no csd of {LORA} on general: no ΔW: lora does not merge" in text
    assert "over the whole vocabulary" in text


def test_what_was_memorised(tmp_path: Path) -> None:
    """Of four examples the base has none and full one; the run came to 24 examples of 16."""
    size = [100, 300]
    paths = [tmp_path / "train" / "full.json", tmp_path / "packed" / "code.json"]
    factories.train(paths[0], FULL, [9.0, 31.0], [4.0, 16.0], size)
    factories.write(paths[1], "prepare", "code", {"counts": {"train": PACKED}})
    for cell, verbatim, similarity in (
        (BASE, [0, 0, 0, 0], [0.2, 0.2, 0.2, 0.2]),
        (FULL, [1, 0, 0, 0], [1.0, 0.2, 0.2, 0.6]),
    ):
        found = {"kind": "memorised", "items": list("abcd"), "groups": list("abcd")}
        found |= {"verbatim": verbatim, "similarity": similarity, "cut_contexts": 0}
        paths += factories.answered(tmp_path / "retain", cell, {"recall": found})
    tabulate.tabulate(gather(plan(evaluation=EVALUATION), paths), tmp_path / "tables")
    base, full = rows(tmp_path / "tables", "forgetting", measure="recall, verbatim continuation")
    assert (float(base["value"]), float(full["value"])) == (0, 0.25)
    # Wilson at 0 of 4: z^2 / (4 + z^2) above.
    assert float(base["value_high"]) == pytest.approx(3.841459 / 7.841459)
    _, alike = rows(
        tmp_path / "tables", "forgetting", measure="recall, edit similarity of the continuation"
    )
    assert float(alike["value"]) == pytest.approx(0.5)
    assert float(alike["change"]) == pytest.approx(0.3)
    text = (tmp_path / "tables" / "forgetting.md").read_text("utf-8")
    assert "passes over them: code/short 1.5" in text
