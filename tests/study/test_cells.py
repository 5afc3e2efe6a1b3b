"""Cells and their names; asking for one costs the same in a large study as in a small one."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lora_ledger.common.yaml import read
from lora_ledger.scheduling import resources
from lora_ledger.study import cells, rates, sources
from lora_ledger.study.cells import Cell
from lora_ledger.study.file import load, parse
from lora_ledger.study.schema import Study

PACKAGE = "/lora_ledger/"


def large(settings: int, seeds: int) -> str:
    """`smoke` with copies of its three settings and more seeds: 9 cells for one of each."""
    raw: dict[str, Any] = read(Path("config/smoke.yaml"))
    raw["settings"] = {
        f"{name}-{i}": what for i in range(settings) for name, what in raw["settings"].items()
    }
    raw["seeds"] = list(range(1, seeds + 1))
    return json.dumps(raw)


def counted(what: Callable[[], object]) -> int:
    """How many calls of the package's own functions it takes."""
    calls = 0

    def profile(frame: Any, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call" and PACKAGE in frame.f_code.co_filename

    sys.setprofile(profile)
    try:
        what()
    finally:
        sys.setprofile(None)
    return calls


def test_labels_say_where_a_cell_lies() -> None:
    assert Cell("code", "full", "short", 3).label == "code/full/short/s3"
    assert Cell("code", "full", "short", 3, rate=3e-4).label == "code/full/short/lr-3e-4/s3"
    assert Cell("code", "full", "short", 3, model="origin-b").label == "origin-b/code/full/short/s3"
    cell = Cell("code", "full", "short", 3)
    assert (cell.model, cell.rate, cell.parent) == (None, None, None)


def test_a_reported_grid_makes_cells_of_all_its_rates_and_tunes_nothing() -> None:
    raw: dict[str, Any] = read(Path("config/smoke.yaml"))
    raw["settings"]["code-cpt"]["report"] = "grid"
    study = parse(json.dumps(raw))
    found = [c for c in cells.cells(study) if c.setting == "code-cpt"]
    # full and lora-r2 have two rates each, and lora-at-full ten times those of full.
    assert {c.label for c in found if c.method == "lora-at-full"} == {
        "code-cpt/lora-at-full/tokens/lr-1e-2/s1",
        "code-cpt/lora-at-full/tokens/lr-3e-2/s1",
    }
    assert len([c for c in found if c.method in ("full", "lora-r2")]) == 4
    assert all(c.rate is not None for c in found)
    assert found[0].names["rate"] in ("1e-3", "3e-3")
    assert rates.all_tuned(study) == []
    assert rates.selection(study, "code-cpt", "full") is None


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (1e-4, "1e-4"),
        (0.003, "3e-3"),
        (1.5e-4, "1.5e-4"),
        (2.0, "2e0"),
        (10.0, "1e1"),
        (0.25, "2.5e-1"),
        (1e-05, "1e-5"),
        (1.25e-07, "1.25e-7"),
    ],
)
def test_a_rate_is_written_one_way_and_reads_back(rate: float, text: str) -> None:
    assert rates.written(rate) == text
    assert float(text) == rate


def test_cells_are_found_by_their_labels() -> None:
    study = load("smoke")
    made = cells.cells(study)
    assert len(made) == 9
    assert made[0] == Cell("code-cpt", "full", "tokens", 1)
    assert [cells.cell(study, cell.label) for cell in made] == made
    assert cells.labels(study) == ["base", *(cell.label for cell in made)]
    for label in ("base", "other/theirs", "code-cpt/full/tokens/s2", "code-cpt/full/epochs/s1"):
        assert cells.cell(study, label) is None


def test_an_index_is_the_studys_own_and_goes_with_it() -> None:
    gc.collect()
    held = len(cells._INDEXES)
    one, two = parse(large(1, 1)), parse(large(1, 2))
    assert (len(cells.cells(one)), len(cells.cells(two))) == (9, 18)
    assert cells.index(one) is cells.index(one)
    changed = one.model_copy(update={"seeds": (5,)})
    assert {cell.seed for cell in cells.cells(changed)} == {5}
    assert len(cells._INDEXES) == held + 3
    del one, two, changed
    gc.collect()
    assert len(cells._INDEXES) == held


@pytest.mark.parametrize(("settings", "seeds"), [(1, 20), (20, 1), (5, 4)])
def test_reading_a_study_takes_calls_in_proportion_to_its_settings(
    settings: int, seeds: int
) -> None:
    parse(large(1, 1))
    small = counted(lambda: parse(large(1, 1)))
    big = counted(lambda: cells.labels(parse(large(settings, seeds))))
    # A cell is made once and its label read once; a setting is checked a few times.
    assert big <= small * settings + 4 * 9 * settings * seeds


def asked(study: Study) -> dict[str, Callable[[], object]]:
    """What the workflow asks for one job."""
    setting, label = list(study.settings)[-3], cells.labels(study)[-1]
    return {
        "cell": lambda: cells.cell(study, label),
        "folder": lambda: cells.folder(study, label),
        "task_of": lambda: cells.task_of(study, "words"),
        "gated": lambda: cells.gated(study, setting),
        "generate_runs": lambda: cells.generate_runs(study, label),
        "permission": lambda: cells.permission(study, "smoke-words", "words"),
        "tokens": lambda: cells.tokens(study, label),
        "selection": lambda: rates.selection(study, setting, "lora-at-full"),
        "local_files": lambda: sources.local_files(study, entry="smoke-text"),
        "train_mb": lambda: resources.train_mb(study, setting, "full"),
    }


def test_a_jobs_questions_cost_the_same_in_a_large_study() -> None:
    small, big = parse(large(1, 1)), parse(large(15, 12))
    assert len(cells.cells(big)) == 1620
    few, many = asked(small), asked(big)
    for name in few:
        assert counted(many[name]) == counted(few[name]) <= 100, name


def test_a_task_file_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from lora_ledger.data import tasks

    tasks.describe.cache_clear()
    reads: list[str] = []
    real = tasks.read
    monkeypatch.setattr(tasks, "read", lambda name: reads.append(name) or real(name))
    study = parse(large(15, 12))
    assert len(list(cells.scored(study))) > 1000
    assert sorted(reads) == ["smoke-code", "smoke-facts", "smoke-words"]
