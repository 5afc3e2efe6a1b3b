"""A proof is made once for a machine, and made again where anything that decides it has changed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lora_ledger.sandbox import kept, proof
from lora_ledger.sandbox.client import Confinement, Problem, SandboxError
from lora_ledger.sandbox.proof import Count, Proof

PAIR = Problem(
    "def twice(x):\n    '''2 x'''\n",
    "    return 2 * x\n",
    "def check(candidate):\n    assert candidate(2) == 4\n",
    "twice",
)
HOLDS = Proof(
    Confinement(3, {"seccomp": "on"}, {"seccomp: socket": "refused"}),
    Count(1, 1),
    Count(0, 1),
    Count(0, 2),
    ("some",),
    {"one": "wrong", "two": "refused"},
    (0.25,),
    (0.5,),
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Proof]:
    """The proofs that were made, all of them HOLDS."""
    made: list[Proof] = []

    def prove(*_: Any) -> Proof:
        time.sleep(0.2)
        made.append(HOLDS)
        return HOLDS

    monkeypatch.setattr(proof, "prove", prove)
    return made


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def test_a_kept_proof_is_the_same_proof(tmp_path: Path, calls: list[Proof]) -> None:
    folder = tmp_path / "work" / "proofs"
    assert kept.obtain([PAIR], 1, 3, folder) == (HOLDS, False)
    assert kept.obtain([PAIR], 2, 3, folder) == (HOLDS, True)
    assert len(calls) == 1
    # A whole file, with what it hangs on in clear, and no other file but its lock.
    (path,) = files(folder)
    assert sorted(folder.iterdir()) == [path, path.with_suffix(".lock")]
    assert json.loads(path.read_text())["key"]["boot"] == kept.BOOT.read_text().strip()
    # Without a folder nothing is kept, and nothing is taken.
    assert kept.obtain([PAIR], 1, 3, None) == (HOLDS, False)
    assert len(calls) == 2


def test_jobs_that_start_together_prove_once(tmp_path: Path, calls: list[Proof]) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: kept.obtain([PAIR], 1, 3, tmp_path), range(4)))
    assert sorted(was for _, was in found) == [False, True, True, True]
    assert [one for one, _ in found] == [HOLDS] * 4
    assert len(calls) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.setattr(kept.sys, "version", "3.99"),
        lambda m: m.setattr(kept.os, "uname", lambda: ("Linux", "here", "7.0", "#1", "x86_64")),
        lambda m: m.setattr(kept.os, "geteuid", lambda: 4321),
        lambda m: m.setattr(kept.Path, "readlink", lambda path: "user:[1]"),
        lambda m: m.setattr(kept, "OF_STATUS", ("Pid",)),
        lambda m: m.setattr(kept, "BOOT", Path("/proc/self/comm")),
        lambda m: m.setattr(kept, "_sources", lambda: [Path(__file__)]),
        lambda m: m.setattr(kept, "_stamp", lambda path: [1]),
        lambda m: m.setattr(kept.resource, "getrlimit", lambda number: (1, 1)),
    ],
    ids=[
        *("python", "kernel", "user", "namespaces", "capabilities"),
        *("boot", "code", "files", "limits"),
    ],
)
def test_another_machine_or_code_proves_again(
    tmp_path: Path,
    calls: list[Proof],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[pytest.MonkeyPatch], None],
) -> None:
    kept.obtain([PAIR], 1, 3, tmp_path)
    with monkeypatch.context() as changed:
        change(changed)
        assert not kept.obtain([PAIR], 1, 3, tmp_path)[1]
        assert kept.obtain([PAIR], 1, 3, tmp_path)[1]
    # And what was proved before still holds.
    assert kept.obtain([PAIR], 1, 3, tmp_path)[1]
    assert len(calls) == len(files(tmp_path)) == 2


def test_another_benchmark_or_other_layers_prove_again(tmp_path: Path, calls: list[Proof]) -> None:
    kept.obtain([PAIR], 1, 3, tmp_path)
    assert not kept.obtain([replace(PAIR, tests=PAIR.tests + "\n")], 1, 3, tmp_path)[1]
    assert kept.obtain([PAIR], 1, 3, tmp_path, HOLDS.confinement)[1]
    others = replace(HOLDS.confinement, probes={"seccomp: socket": "passed"})
    assert not kept.obtain([PAIR], 1, 3, tmp_path, others)[1]
    assert len(calls) == 3


@pytest.mark.parametrize(
    "bad",
    [
        replace(HOLDS, cheats=Count(1, 2, ("gc_walk",))),
        replace(HOLDS, stubs=Count(1, 1, ("twice",))),
        replace(HOLDS, solutions=Count(0, 1, ("twice",))),
    ],
)
def test_a_proof_that_fails_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: Proof
) -> None:
    monkeypatch.setattr(proof, "prove", lambda *_: bad)
    for _ in range(2):
        with pytest.raises(SandboxError, match="does not judge"):
            kept.obtain([PAIR], 1, 3, tmp_path)
    assert not files(tmp_path)
    # Nor is one believed that somebody else wrote.
    decides = kept.key([PAIR])
    assert decides
    kept.write(tmp_path / "one.json", decides, bad)
    assert kept.read(tmp_path / "one.json", decides, 1) is None
    kept.write(tmp_path / "one.json", decides, HOLDS)
    assert kept.read(tmp_path / "one.json", decides, 1) == HOLDS
    assert kept.read(tmp_path / "one.json", decides, 2) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"key": 1, "proof": {}}'])
def test_a_broken_file_counts_as_none(tmp_path: Path, calls: list[Proof], text: str) -> None:
    kept.obtain([PAIR], 1, 3, tmp_path)
    (path,) = files(tmp_path)
    path.write_text(text)
    assert not kept.obtain([PAIR], 1, 3, tmp_path)[1]
    assert kept.obtain([PAIR], 1, 3, tmp_path) == (HOLDS, True)
    assert len(calls) == 2


@pytest.mark.parametrize("where", ["level", "boot", "folder"])
def test_where_it_cannot_be_kept_every_job_proves(
    tmp_path: Path, calls: list[Proof], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Code that could write, a start of the machine without a name, a folder that takes no file."""
    folder = tmp_path / "proofs"
    if where == "level":
        low = replace(HOLDS, confinement=replace(HOLDS.confinement, level=1))
        monkeypatch.setattr(proof, "prove", lambda *_: calls.append(low) or low)
    elif where == "boot":
        monkeypatch.setattr(kept, "BOOT", tmp_path / "none")
    else:
        folder.write_text("a file")
    for _ in range(2):
        assert not kept.obtain([PAIR], 1, 1, folder)[1]
    assert len(calls) == 2
    assert not list(tmp_path.rglob("*.json"))


def test_a_sandbox_whose_layers_are_others_is_proved(
    tmp_path: Path, calls: list[Proof], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HOLDS has layers that no sandbox has, so what was kept does not count."""
    kept.obtain([PAIR], 1, 3, tmp_path)
    with kept.judging([PAIR], 1, 3, tmp_path) as (sandbox, found, was):
        assert (found, was) == (HOLDS, False)
        assert sandbox.judge_all([PAIR])[0].passed
        right = replace(HOLDS, confinement=sandbox.confinement)
    assert len(calls) == 2
    monkeypatch.setattr(proof, "prove", lambda *_: calls.append(right) or right)
    for expected in (False, True, True):
        with kept.judging([PAIR], 1, 3, tmp_path) as (_, found, was):
            assert (found, was) == (right, expected)
    assert len(calls) == 3
