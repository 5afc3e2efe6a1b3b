"""Branches: their rates in closed form, and their bits against runs that have no trunk."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
import torch
import yaml

from lora_ledger.common.errors import KeyProblem
from lora_ledger.methods.recipe import Schedule
from lora_ledger.records.record import Record, read_record
from lora_ledger.stages import train, trunk
from lora_ledger.study.file import parse
from lora_ledger.training import checkpoints
from lora_ledger.training.loop import CellTrainer
from lora_ledger.training.schedules import as_branch, multiplier
from tiny_study import LORA, STUDY

# A step is 4 blocks of 31 tokens that bear loss: `long` has 10 steps, `short` 5, `hot` 7. The
# warm-up is a fifth of the trunk's steps, the cool-down two fifths of a run's own: `long` turns
# after 6 steps, `short` after 3.
BUDGETS = {
    "long": {"tokens": 1240},
    "short": {"tokens": 620, "from": "long"},
    "hot": {"tokens": 868, "from": "long", "hot": True},
}
SCHEDULE = {"name": "constant", "warmup": 0.2, "cooldown": 0.4}
STEP = 124


def rates(schedule: Schedule, total: int) -> list[float]:
    return [multiplier(schedule, step, total) for step in range(total)]


def test_a_constant_rate_cools_down_where_it_is_told_to() -> None:
    assert rates(Schedule(name="constant", warmup_steps=2), 6) == [0, 0.5, 1, 1, 1, 1]
    cooled = Schedule(name="constant", warmup_steps=2, cooldown=0.5)
    assert rates(cooled, 8) == [0, 0.5, 1, 1, 1, 0.75, 0.5, 0.25]
    steps = Schedule(name="constant", warmup=0, cooldown_steps=2)
    assert rates(steps, 5) == [1, 1, 1, 1, 0.5]


def test_a_branch_has_its_trunks_warm_up_and_a_cool_down_of_its_own() -> None:
    branch = as_branch(Schedule(name="constant", warmup=0.2, cooldown=0.4), 10, hot=False)
    assert rates(branch, 5) == [0, 0.5, 1, 1, 0.5]
    hot = as_branch(Schedule(name="constant", warmup=0.2, cooldown=0.4), 10, hot=True)
    assert rates(hot, 7) == [0, 0.5, 1, 1, 1, 1, 1]


def test_an_inverse_root_falls_from_where_the_trunk_is() -> None:
    """Half the rate after four warm-ups; from there a line to nothing."""
    branch = as_branch(Schedule(name="inverse-sqrt", warmup=0.01, cooldown=0.2), 1000, hot=False)
    found = rates(branch, 50)
    assert found[40] == pytest.approx(0.5)
    assert found[45] == pytest.approx(0.25)
    assert found[49] == pytest.approx(0.05)


def text(schedule: dict[str, Any] = SCHEDULE, budgets: dict[str, Any] = BUDGETS) -> str:
    methods = {
        "full": STUDY["methods"]["full"],
        "lora": LORA,
        "muon": {"kind": "full", "learning_rates": [1e-3], "optimiser": {"name": "muon"}},
        "frozen": {"kind": "full", "learning_rates": [1e-3], "freeze": 0.9},
        "b-only": LORA | {"train": "b-only"},
    }
    cpt = STUDY["settings"]["cpt"] | {"schedule": schedule, "validation_points": 2}
    changes = {"settings": {"cpt": cpt}, "methods": methods, "budgets": budgets}
    return yaml.safe_dump(STUDY | changes)


class Bench:
    """One study in one folder: its jobs by cell, as the workflow gives them their flags."""

    def __init__(self, root: Path, model: Path, data: Path, said: str) -> None:
        self.root, self.model, self.data = root, model, data
        root.mkdir(parents=True, exist_ok=True)
        self.file = root / "study.yaml"
        self.file.write_text(said)
        self.study = parse(said)

    def common(self, method: str, budget: str) -> dict[str, Any]:
        work = self.root / "work"
        trunk = "long" if budget in ("long", "short", "hot", "more") else budget
        return {
            "study": str(self.file),
            "model": self.model,
            "model_name": None,
            "data": self.data,
            "work": work / "train" / method / budget,
            "leave": work / "trunk" / method / trunk,
            "starts": None,
        }

    def train(self, method: str, budget: str, branch: bool = False) -> Record:
        made = self.root / f"trunk-{method}-{budget}.json" if branch else None
        out = self.root / "train" / method / budget
        names = {"setting": "cpt", "method": method, "budget": budget, "seed": 1, "rate": None}
        flags = self.common(method, budget) | names
        train.main(Namespace(**flags, select=None, trunk=made, out=out))
        return read_record(out / "record.json")

    def trunk(self, method: str, budget: str) -> Record:
        out = self.root / f"trunk-{method}-{budget}.json"
        flags = self.common(method, budget) | {"cell": f"cpt/{method}/{budget}/s1"}
        record = self.root / "train" / method / "long/record.json"
        trunk.main(Namespace(**flags, record=record, out=out))
        return read_record(out)

    def branch(self, method: str, budget: str) -> Record:
        self.trunk(method, budget)
        return self.train(method, budget, branch=True)

    def left(self, method: str) -> list[int]:
        folder = self.root / "work/trunk" / method / "long"
        return sorted(checkpoints.step_of(path.parent) for path in folder.glob("*/complete"))


@pytest.fixture
def bench(tiny_model: Path, packed: dict[str, Path], tmp_path: Path) -> Callable[..., Bench]:
    torch.set_num_threads(1)

    def make(name: str, said: str) -> Bench:
        return Bench(tmp_path / name, tiny_model, packed["cpt"], said)

    return make


def same(record: Record, other: Record) -> bool:
    """Whether two runs came to the same bits: weights, losses, every measurement."""
    return dict(record.results) == dict(other.results)


OF_ITS_OWN = {"name": "constant", "warmup_steps": 2, "cooldown": 0.4}
WHOLE = text(OF_ITS_OWN, {"long": {"tokens": 1240}, "alone": {"tokens": 620}})
WHOLE_HOT = text({"name": "constant", "warmup_steps": 2}, {"alone": {"tokens": 868}})


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora", "muon", "frozen", "b-only"])
def test_a_branch_is_the_run_that_was_told_its_schedule_from_the_start(
    method: str, bench: Callable[..., Bench]
) -> None:
    ours = bench("ours", text())
    assert same(ours.train(method, "long"), bench("whole", WHOLE).train(method, "long"))
    # Where `short` and `long` turn; the latter for `hot`, which goes on beyond.
    assert ours.left(method) == [3, 6]
    short, hot = ours.branch(method, "short"), ours.branch(method, "hot")
    assert same(short, bench("whole", WHOLE).train(method, "alone"))
    assert same(hot, bench("whole-hot", WHOLE_HOT).train(method, "alone"))
    taken = {"cell": f"cpt/{method}/long/s1", "steps": 3, "tokens": 3 * STEP}
    assert {**taken, "record": short.run["trunk"]["record"]} == short.run["trunk"]
    assert hot.run["trunk"]["steps"] == 6
    assert (short.results["tokens"], hot.results["tokens"]) == (5 * STEP, 7 * STEP)
    # Without a trunk's checkpoint it is the same run from the first step.
    shutil.rmtree(ours.root / "train" / method / "short")
    alone = ours.train(method, "short", branch=True)
    assert same(alone, short)
    assert "trunk" not in alone.run


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["inverse-sqrt", "plain"])
def test_of_an_inverse_root_and_by_the_plain_back_end_too(
    schedule: str, bench: Callable[..., Bench]
) -> None:
    name = {"name": "inverse-sqrt" if schedule == "inverse-sqrt" else "constant"}
    pair = []
    for folder, said in (
        ("ours", text(SCHEDULE | name)),
        ("whole", text(OF_ITS_OWN | name, {"alone": {"tokens": 620}})),
    ):
        if schedule == "plain":
            said = said.replace("compute:\n", "compute:\n  backend: plain\n")
        pair.append(bench(folder, said))
    ours, whole = pair
    ours.train("lora", "long")
    branch = ours.branch("lora", "short")
    assert same(branch, whole.train("lora", "alone"))
    assert branch.run["trunk"]["steps"] == 3
    assert branch.science.settings["backend"] == ("plain" if schedule == "plain" else "fast")


@pytest.mark.slow
def test_a_branch_that_is_added_later_is_led_to_its_point(bench: Callable[..., Bench]) -> None:
    """The trunk's checkpoints are gone; two are added, and the further one goes on from the
    nearer one's point."""
    first = bench("ours", text(budgets={"long": {"tokens": 1240}}))
    long = first.train("full", "long")
    assert not (first.root / "work/trunk").exists()
    later = bench("ours", text())
    record = later.trunk("full", "short")
    assert (record.results["steps"], record.results["tokens"]) == (3, 3 * STEP)
    assert later.left("full") == [3]
    further = later.trunk("full", "hot")
    assert further.run["went_on_at"] == 3
    assert later.left("full") == [3, 6]
    assert same(later.train("full", "short", branch=True), bench("w", WHOLE).train("full", "alone"))
    hot = bench("whole-hot", WHOLE_HOT).train("full", "alone")
    assert same(later.train("full", "hot", branch=True), hot)
    assert read_record(first.root / "train/full/long/record.json") == long


@pytest.mark.slow
def test_a_run_that_is_lost_before_or_after_a_point(bench: Callable[..., Bench]) -> None:
    """A branch is lost where a run of its own is: `hot` in the trunk, `short` after it."""
    ours, whole, hot = (
        bench(name, said.replace("- 0.001", "- 1.0e+30"))
        for name, said in (("ours", text()), ("whole", WHOLE), ("whole-hot", WHOLE_HOT))
    )
    long = ours.train("full", "long")
    assert (long.status, long.results["steps"]) == ("diverged", 4)
    trunks = [ours.trunk("full", budget).status for budget in ("short", "hot")]
    assert trunks == ["complete", "diverged"]
    for budget, alone in (("short", whole), ("hot", hot)):
        branch = ours.train("full", budget, branch=True)
        assert branch.status == "diverged"
        assert same(branch, alone.train("full", "alone"))
        assert ("trunk" in branch.run) == (budget == "short")


def test_a_branch_that_ends_before_its_trunk_is_warm(packed: dict[str, Path]) -> None:
    from datasets import load_from_disk

    from lora_ledger.training.batching import read_examples
    from lora_ledger.training.branching import course

    examples = read_examples(load_from_disk(str(packed["cpt"] / "train")))
    budgets = BUDGETS | {"brief": {"tokens": 2 * STEP, "from": "long"}}
    study = parse(text(budgets=budgets))
    said = "budgets.brief.tokens: found 248, expected more than the 2 steps of the warm-up of long"
    with pytest.raises(KeyProblem, match=said):
        course(study, "cpt", "full", "brief", 1, examples)
    assert course(study, "cpt", "full", "short", 1, examples).point == 3


def test_a_job_waits_for_another_on_the_same_trunk(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lora_ledger.training.checkpoints import alone\n"
        "with alone(Path(sys.argv[1])): print('here', flush=True); sys.stdin.readline()\n"
        "print('gone', flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=PIPE, stdout=PIPE, text=True
    ) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "here\n"
        threading.Timer(0.5, first.stdin.close).start()
        with checkpoints.alone(tmp_path, wait=True):
            assert first.stdout.readline() == "gone\n"
            assert (tmp_path / checkpoints.LOCK).read_text() == f"{os.getpid()}\n"


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Callable[[], object], micro_batches: int) -> None:
    """Run in a process that is killed before micro-batch `micro_batches` of it, or, at 0, when a
    checkpoint is handed over."""

    def run() -> None:
        torch.set_num_threads(1)
        calls, loss, link = iter(range(1, 10_000)), CellTrainer.compute_loss, checkpoints.link

        def until(*args: Any, **kwargs: Any) -> Any:
            return die() if next(calls) == micro_batches else loss(*args, **kwargs)

        CellTrainer.compute_loss = until  # type: ignore[method-assign]
        checkpoints.link = link if micro_batches else die
        work()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_kill_in_trunk_or_branch_changes_no_bit(method: str, bench: Callable[..., Bench]) -> None:
    whole = bench("whole", WHOLE)
    long, short = whole.train(method, "long"), whole.train(method, "alone")
    hot = bench("whole-hot", WHOLE_HOT).train(method, "alone")
    ours = bench("ours", text())
    # In the fifth step of the trunk, and when it hands over the state after its third and sixth.
    killed(lambda: ours.train(method, "long"), 9)
    assert ours.left(method) == [3]
    killed(lambda: ours.train(method, "long"), 0)
    assert same(ours.train(method, "long"), long)
    assert ours.left(method) == [3, 6]
    # As it takes the state over, and in its own first step.
    killed(lambda: ours.trunk(method, "short"), 0)
    made = ours.trunk(method, "short")
    killed(lambda: ours.train(method, "short", branch=True), 2)
    branch = ours.train(method, "short", branch=True)
    assert same(branch, short)
    assert branch.run["trunk"]["steps"] == 3
    # A trunk that is led to a later branch's point without what the long run left.
    shutil.rmtree(ours.root / "work/trunk")
    killed(lambda: ours.trunk(method, "hot"), 9)
    assert ours.left(method) == [3]
    ours.trunk(method, "hot")
    killed(lambda: ours.train(method, "hot", branch=True), 1)
    assert same(ours.train(method, "hot", branch=True), hot)
    again = ours.trunk(method, "short")
    assert again.id == made.id


def test_a_state_is_taken_where_it_fits_alone(tmp_path: Path) -> None:
    """Not one of another trunk, beyond the point, without a measurement, or after a lost step."""
    from lora_ledger.training.branching import Trunk, take
    from lora_ledger.training.curves import Curves

    store, work = tmp_path / "store", tmp_path / "work"
    for step, measured in ((2, (0, 1)), (4, (0, 1, 3)), (6, (0, 1)), (8, (0, 1, 3))):
        path = checkpoints.folder(store, step)
        path.mkdir(parents=True)
        curve = [(at, 10 * at, 1.0) for at in range(1, step + 1)]
        Curves(loss=curve, validation=[(at, 0, 1.0) for at in measured]).save(path / "curves.json")
        checkpoints.complete(path, "trunk")

    def taken(until: int, fingerprint: str = "trunk", lost_at: int = 99) -> int | None:
        shutil.rmtree(work, ignore_errors=True)
        trunk = Trunk(store, fingerprint, frozenset(), frozenset(), until)
        take(trunk, work, "branch", frozenset({1, 3}), lambda curve: len(curve) == lost_at)
        found = checkpoints.newest(work, "branch")
        return checkpoints.step_of(found) if found else None

    assert [taken(until) for until in (1, 2, 3, 5, 7, 8)] == [None, 2, 2, 4, 4, 8]
    assert taken(8, "another") is None
    assert taken(8, lost_at=3) == 2
    assert (work / "checkpoint-2/curves.json").stat().st_nlink == 2
    assert [p.name for p in store.glob("*/complete")] == ["complete"] * 4
