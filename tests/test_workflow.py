"""The whole of `smoke`, and then what re-runs after each kind of change.

The workflow runs in a copy of the checkout, so that the copy's code and studies can be edited.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import counts
from lora_ledger.records.record import read_record
from lora_ledger.study import cells
from lora_ledger.study.file import load

pytestmark = pytest.mark.slow

PARTS = ("Snakefile", "workflow", "src", "config", "profiles", "envs")


def snakemake(where: Path, *flags: str, study: str = "smoke") -> str:
    """Run Snakemake in `where`; returns all that it printed."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *flags]
    done = subprocess.run(
        [*command, "--config", f"study={study}"],
        cwd=where,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def jobs(where: Path, study: str = "smoke") -> dict[str, int]:
    """The jobs that a dry run lists, by rule; empty when there is nothing to do."""
    shown = snakemake(where, "--dry-run", "--quiet", "rules", study=study)
    shown = shown or snakemake(where, "--dry-run", study=study)
    # The table stands twice in what is printed.
    table = dict(re.findall(r"^(\w+) +(\d+)$", shown, flags=re.MULTILINE))
    found: dict[str, int] = {}
    for rule, count in table.items():
        if rule not in ("total", "all"):
            # Rules that differ in their outputs are one to whoever reads a plan.
            stage = re.sub(r"^(fetch_corpus|train|retain)_\w+$", r"\1", rule)
            found[stage] = found.get(stage, 0) + int(count)
    return found


def copied(where: Path) -> Path:
    """The folder, with a copy of what of the checkout a run needs."""
    for part in PARTS:
        source = Path(part)
        if source.is_dir():
            shutil.copytree(source, where / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, where / part)
    return where


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout in which `smoke` has run to its end."""
    where = copied(tmp_path_factory.mktemp("checkout"))
    shown = snakemake(where)
    assert "Tables: results/smoke/tables" in shown
    return where


def test_every_stage_left_what_it_should(finished: Path) -> None:
    study = load("smoke")
    out = finished / "results/smoke"
    for table in cells.tables(study):
        for form in ("csv", "md", "tex"):
            assert (out / f"tables/{table}.{form}").stat().st_size > 200
    assert (out / "figures/learning-forgetting.png").stat().st_size > 5000
    for cell in cells.cells(study):
        record = read_record(out / f"train/{cell.label}/record.json")
        assert record.status == "complete"
        assert record.science.settings["seed"] == cell.seed
    text = (out / "tables/learning.md").read_text("utf-8")
    assert "stand-in" in text
    assert "sampling error of the evaluation only" in text
    assert not (finished / "work/smoke/train").exists() or not any(
        path.is_file() for path in (finished / "work/smoke/train").rglob("*")
    )


def test_nothing_to_do_after_a_finished_run(finished: Path) -> None:
    assert "Nothing to be done" in snakemake(finished, "--dry-run")


def edited(path: Path, old: str, new: str) -> str:
    before = path.read_text("utf-8")
    assert old in before
    path.write_text(before.replace(old, new, 1), "utf-8")
    return before


def test_a_comment_in_training_re_runs_nothing(finished: Path) -> None:
    path = finished / "src/lora_ledger/training/schedules.py"
    before = path.read_text("utf-8")
    path.write_text(before + "\n# A reason.\n")
    assert jobs(finished) == {}
    path.write_text(before)


def test_a_line_in_training_re_runs_training_and_what_follows(finished: Path) -> None:
    path = finished / "src/lora_ledger/training/schedules.py"
    before = edited(path, "\n    return ", "\n    _unused = 1\n    return ")
    study = load("smoke")
    found = jobs(finished)
    path.write_text(before)
    expected = counts.jobs(study)
    assert found["train"] == expected["train"]
    assert found["tune"] == expected["tune"]
    assert found["retain"] >= expected["train"]
    assert "fetch_corpus" not in found
    assert "prepare" not in found


def test_a_module_that_was_moved_re_runs_nothing(finished: Path) -> None:
    source = finished / "src/lora_ledger"
    old, new = source / "training/schedules.py", source / "common/schedules.py"
    users = [p for p in source.rglob("*.py") if "schedules" in p.read_text("utf-8")]
    before = {path: path.read_text("utf-8") for path in [*users, old]}
    old.rename(new)
    for path in users:
        if path != old:
            text = re.sub(
                r"from (\.|lora_ledger\.training\.)schedules import",
                "from lora_ledger.common.schedules import",
                before[path],
            )
            path.write_text(text, "utf-8")
    found = jobs(finished)
    new.unlink()
    for path, text in before.items():
        path.write_text(text, "utf-8")
    assert found == {}
    assert jobs(finished) == {}


def test_a_mended_judge_scores_again(finished: Path) -> None:
    path = finished / "src/lora_ledger/sandbox/judge.py"
    before = path.read_text("utf-8")
    path.write_text(before + "\n_UNUSED = 1\n")
    found = jobs(finished)
    path.write_text(before)
    assert found["score"] == counts.jobs(load("smoke"))["score"]
    assert not {"train", "generate", "retain"} & set(found)


def test_a_new_catalogue_entry_re_runs_nothing(finished: Path) -> None:
    folder = finished / "src/lora_ledger/catalogue"
    shutil.copy(folder / "smoke-text.yaml", folder / "smoke-more.yaml")
    found = jobs(finished)
    (folder / "smoke-more.yaml").unlink()
    assert found == {}


def test_a_new_task_trains_nothing(finished: Path) -> None:
    path = finished / "config/smoke.yaml"
    before = edited(path, "tasks: [words]", "tasks: [words, more-words]")
    edited(path, "  texts:\n", "    more-words: {task: smoke-words, limit: 4}\n  texts:\n")
    found = jobs(finished)
    path.write_text(before)
    assert found.pop("generate") == found.pop("score") == 1 + 4
    assert found == {"contaminate": 1, "gate": 1, "tabulate": 1, "figures": 1, "decide": 1}


def test_a_new_task_of_likelihoods_evaluates_itself_alone(finished: Path) -> None:
    path = finished / "config/smoke.yaml"
    before = edited(
        path, "  likelihood:\n", "  likelihood:\n    more: {task: smoke-facts, limit: 4}\n"
    )
    found = jobs(finished)
    path.write_text(before)
    study = load("smoke")
    assert found.pop("retain") == len(cells.labels(study))
    # Each corpus is searched for the new task's items.
    assert found == {"contaminate": 2, "gate": 3, "tabulate": 1, "figures": 1, "decide": 1}


def test_a_model_of_others_is_asked_what_cells_are(finished: Path) -> None:
    """An adapter that a cell trained, given back as somebody else's, has the cell's numbers."""
    label = "code-cpt/lora-r2/tokens/s1"
    shutil.copytree(finished / f"results/smoke/train/{label}/adapter", finished / "theirs")
    path = finished / "config/smoke.yaml"
    before = edited(
        path,
        "\nevaluation:\n",
        "\nothers:\n  theirs: {source: {kind: local, path: theirs}, tasks: [code]}\n\n"
        "evaluation:\n",
    )
    evaluated = {"generate": 1, "score": 1, "diversity": 1, "retain": 2, "spectrum": 1}
    assert jobs(finished) == {
        "fetch_other": 1,
        **evaluated,
        "tabulate": 1,
        "figures": 1,
        "decide": 1,
    }
    snakemake(finished)
    for stage in ("retain/general", "retain/facts", "score/code", "diversity/code", "spectrum"):
        folder = finished / "results/smoke" / stage
        mine = read_record(folder / f"{label}.json").results
        assert read_record(folder / "other/theirs.json").results == mine
    assert "theirs" in (finished / "results/smoke/tables/forgetting.md").read_text("utf-8")
    path.write_text(before)
    snakemake(finished)


def test_an_overlap_stops_before_training_and_a_reason_lets_it_pass(finished: Path) -> None:
    path = finished / "config/smoke.yaml"
    before = path.read_text("utf-8")
    start, end = before.index("contamination:"), before.index("evaluation:")
    path.write_text(before[:start] + before[end:])
    target = "results/smoke/gate/math-ift.json"
    command = [sys.executable, "-m", "snakemake", "--cores", "1", target]
    done = subprocess.run(
        [*command, "--config", "study=smoke"], cwd=finished, capture_output=True, text=True
    )
    assert done.returncode != 0
    said = (finished / "logs/smoke/gate/math-ift.log").read_text("utf-8")
    assert "smoke-words -> words: 13-gram: found 14 of 20 items" in said
    assert (finished / "results/smoke/contaminate/smoke-words/words.json").is_file()
    # The whole of it refuses too, and again when it is asked again.
    for _ in range(2):
        done = subprocess.run(
            [*command[:-1], "--config", "study=smoke"], cwd=finished, capture_output=True, text=True
        )
        assert done.returncode != 0
        assert "rule gate" in done.stdout + done.stderr
    path.write_text(before)
    snakemake(finished)


def test_a_new_method_runs_its_own_cell_only(finished: Path) -> None:
    path = finished / "config/smoke.yaml"
    before = edited(path, "methods: [lora-olora]", "methods: [lora-olora, lora-r4]")
    edited(
        path,
        "\nbudgets:\n",
        "\n  lora-r4: {kind: lora, rank: 4, learning_rates: [1.0e-3]}\n\nbudgets:\n",
    )
    found = jobs(finished)
    path.write_text(before)
    compared = {"spectrum": 1, "subspaces": 1}
    assert found == {"train": 1, "retain": 2, **compared, "tabulate": 1, "figures": 1, "decide": 1}


def test_a_widened_grid_trains_no_cell_whose_rate_stayed(finished: Path) -> None:
    path = finished / "config/smoke.yaml"
    before = edited(path, "full: [1.0e-3, 3.0e-3]", "full: [1.0e-3, 3.0e-3, 1.0e-9]")
    edited(path, "lora-r2: [3.0e-3, 1.0e-2]", "lora-r2: [3.0e-3, 1.0e-2, 1.0e-9]")
    assert jobs(finished) == {"tune": 2, "select": 2, "tabulate": 1, "figures": 1, "decide": 1}
    snakemake(finished)
    assert jobs(finished) == {}
    # Another rate that is selected trains the cells that follow it.
    selection = finished / "results/smoke/select/code-cpt/full.json"
    chosen = selection.read_text("utf-8")
    record = json.loads(chosen)
    record["science"]["results"]["learning_rate"] = 0.5
    times = selection.stat()
    selection.write_text(json.dumps(record), "utf-8")
    os.utime(selection, ns=(times.st_atime_ns, times.st_mtime_ns))
    # The second cell is the one whose rate is ten times that of full.
    assert jobs(finished)["train"] == 2
    selection.write_text(chosen, "utf-8")
    os.utime(selection, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert jobs(finished) == {}
    # A change of code is seen all the same, whether or not selections are to be made again.
    source = finished / "src/lora_ledger/training/schedules.py"
    code = edited(source, "\n    return ", "\n    _unused = 1\n    return ")
    edited(path, "3.0e-3, 1.0e-9]", "3.0e-3, 1.0e-9, 2.0e-9]")
    edited(path, "1.0e-2, 1.0e-9]", "1.0e-2, 1.0e-9, 2.0e-9]")
    assert jobs(finished)["train"] == counts.jobs(load("smoke"))["train"]
    source.write_text(code)
    path.write_text(before)
    snakemake(finished)


def test_a_rate_that_is_added_to_a_reported_grid_adds_its_cells_alone(finished: Path) -> None:
    path = finished / "config/smoke.yaml"
    before = edited(
        path,
        "    learning_rates: {full: [1.0e-3, 3.0e-3]",
        "    report: grid\n    learning_rates: {full: [1.0e-3, 3.0e-3]",
    )
    found = jobs(finished)
    assert "tune" not in found
    new = found["train"]
    assert found["retain"] == 2 * new
    snakemake(finished)
    assert jobs(finished) == {}
    record = read_record(
        finished / "results/smoke/train/code-cpt/full/tokens/lr-3e-3/s1/record.json"
    )
    assert record.names["rate"] == "3e-3"
    assert record.results["learning_rate"] == 3e-3
    edited(path, "full: [1.0e-3, 3.0e-3]", "full: [1.0e-3, 3.0e-3, 5.0e-3]")
    edited(path, "lora-r2: [3.0e-3, 1.0e-2]", "lora-r2: [3.0e-3, 1.0e-2, 2.0e-2]")
    found = jobs(finished)
    path.write_text(before)
    # One of each of the two, and one more of the method that stands at ten times the rate of full.
    assert found == {
        "train": 3,
        "generate": 3,
        "score": 3,
        "retain": 6,
        "diversity": 3,
        "spectrum": 3,
        "tabulate": 1,
        "figures": 1,
        "decide": 1,
    }
    snakemake(finished)


def test_weights_that_were_not_kept_are_trained_again_and_nothing_else(finished: Path) -> None:
    """After a new task every record and answer that was there is the same file as before."""
    path = finished / "config/smoke.yaml"
    before = edited(path, "keep_weights: true", "keep_weights: false")
    study, out = load("smoke"), finished / "results/smoke"
    weights = [
        out / "train" / cell.label / study.methods[cell.method].artefact
        for cell in cells.cells(study)
    ]
    assert jobs(finished) == {"release": len(weights)}
    snakemake(finished)
    assert not any(folder.exists() for folder in weights)
    assert jobs(finished) == {}
    files = [
        p
        for s in ("train", "retain", "generate", "spectrum")
        for p in (out / s).rglob("*")
        if p.is_file()
    ]
    held = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}
    edited(path, "tasks: [words]", "tasks: [words, more-words]")
    edited(path, "  texts:\n", "    more-words: {task: smoke-words, limit: 4}\n  texts:\n")
    edited(
        path,
        "contamination:\n",
        "contamination:\n  - {corpus: smoke-words, task: more-words, reason: the same by design}\n",
    )
    found = jobs(finished)
    cells_of_words = sum("words" in study.settings[c.setting].tasks for c in cells.cells(study))
    assert found.pop("generate") == found.pop("score") == 1 + cells_of_words
    assert found.pop("release") == cells_of_words
    assert found == {"contaminate": 1, "gate": 1, "tabulate": 1, "figures": 1, "decide": 1}
    shown = snakemake(finished)
    assert f"{cells_of_words} cells are asked something new and are trained again" in shown
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files} == held
    label = next(c.label for c in cells.cells(study) if c.setting == "math-ift")
    log = (finished / f"logs/smoke/generate/more-words/{label}.log").read_text("utf-8")
    assert f"{label}: trained again, since its weights were not kept" in log
    assert not any(folder.exists() for folder in weights)
    path.write_text(before)
    snakemake(finished)


def test_a_single_stage_re_runs_by_its_output(finished: Path) -> None:
    target = "results/smoke/retain/general/base.json"
    before = read_record(finished / target)
    (finished / target).unlink()
    shown = snakemake(finished, target)
    assert "1 of 1 steps" in shown
    assert read_record(finished / target).id == before.id
