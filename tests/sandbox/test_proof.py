"""The proof: it holds here, and it would not hold with a judge that can be fooled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lora_ledger.sandbox import proof, seccomp
from lora_ledger.sandbox.client import Problem, Sandbox, SandboxError
from lora_ledger.sandbox.confine import Limits

PAIR = Problem(
    "def twice(x):\n    '''2 x'''\n",
    "    return 2 * x\n",
    "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate('a') == 'aa'\n",
    "twice",
)


@pytest.fixture
def fewer_cheats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without those that use up their time; the test of HumanEval tries all of them."""
    some = {n: text for n, text in proof.cheats().items() if not text.startswith("# slow:")}
    monkeypatch.setattr(proof, "cheats", lambda: some)


def test_solutions_stubs_and_cheats_of_human_eval(
    sandbox: Sandbox, solutions: list[Problem]
) -> None:
    found = proof.prove(solutions, jobs=2)
    assert (found.solutions.passed, found.solutions.total) == (164, 164), found.solutions.odd
    assert (found.stubs.passed, found.stubs.total) == (0, 164), found.stubs.odd
    assert found.cheats.passed == 0, found.cheats.odd
    assert found.cheats.total > len(proof.cheats()) >= 50
    assert found.holds
    proof.require(found)
    kept = found.as_dict()
    assert kept["confinement"]["level"] == 3
    assert kept["cheats"] == {"passed": 0, "total": found.cheats.total, "odd": ()}
    assert not {"cpu", "wall", "reasons"} & set(kept)
    # These end by the layer that is meant to stop them, and not by an accident of their own.
    expected = {
        "always_equal": "non_literal", "forged_messages": "protocol", "os_exit": "exception",
        "read_solutions": "refused", "network": "refused", "fork_bomb": "refused",
        "signal_by_descriptor": "refused", "memory_bomb": "memory", "memory_bomb_mapped": "memory",
        "sleeper": "timeout", "busy_loop": "timeout", "huge_power": "timeout",
        "write_files": "refused", "read_parent_memory": "refused", "reduce_payload": "wrong",
        "lying_items": "non_literal", "forged_objects": "protocol", "heavy_numbers": "protocol",
    }  # fmt: skip
    assert {name: found.reasons[name] for name in expected} == expected


def test_a_planted_solution_would_pass_if_it_could_be_read(sandbox: Sandbox) -> None:
    """The cheat is sound: with a path that a worker may read it succeeds."""
    import textwrap

    path = textwrap.__file__
    problem = Problem(
        "def fill(text, width):\n    '''Wrap.'''\n",
        "    pass\n",
        "def check(c):\n    assert c('a b', width=2) == 'a\\nb'\n",
        "fill",
    )
    for name in ("read_solutions", "read_solutions_raw"):
        cheat = proof.cheating(problem, proof.cheats()[name], path)

        assert sandbox.judge_all([cheat])[0].reason == "passed", name


@pytest.mark.skipif(not seccomp.supported(), reason="needs a layer to leave out")
def test_an_escape_shows_as_a_pass() -> None:
    """A cheat that does no harm, on purpose without the layer that stops it."""
    cheat = proof.cheating(PAIR, proof.cheats()["fork_raw"], "/nowhere")
    with Sandbox(1, 0) as one:
        assert one.judge_all([cheat])[0].reason == "refused"
    with Sandbox(1, 0, _without=frozenset({"seccomp"})) as one:
        assert one.judge_all([cheat])[0].reason == "passed"


@pytest.mark.usefixtures("fewer_cheats")
def test_a_cheat_is_not_tried_without_the_layer_that_stops_it() -> None:
    """It would do to the machine what it is meant to be kept from."""
    marked = {n for n, text in proof.cheats().items() if text.startswith("# seccomp:")}
    read = {n for n, text in proof.cheats().items() if text.startswith("# Landlock:")}
    assert {"kill_the_parent", "fork_bomb", "write_files", "exec", "network"} <= marked
    assert {"read_solutions", "read_proc"} <= read
    found = proof.prove([PAIR], level=0, _without=frozenset({"Landlock"}))
    assert set(found.untried) >= read
    assert not set(found.reasons) & set(found.untried)
    found = proof.prove([PAIR], level=0, _without=frozenset({"seccomp", "Landlock"}))
    assert set(found.untried) == read | marked
    assert found.cheats.passed == 0


@pytest.mark.usefixtures("fewer_cheats")
def test_a_proof_that_fails_says_what_and_refuses() -> None:
    wrong = replace(PAIR, completion="    return 3 * x\n")
    lax = replace(PAIR, tests="def check(candidate):\n    assert candidate(2) != 5\n")
    found = proof.prove([PAIR, wrong], level=0)
    assert found.solutions == proof.Count(1, 2, ("twice",))
    assert not found.holds
    with pytest.raises(SandboxError, match=r"1 of 2 right solutions .*twice"):
        proof.require(found)
    found = proof.prove([lax], level=0)
    assert (found.stubs.passed, found.holds) == (1, False)
    with pytest.raises(ValueError, match="no problem"):
        proof.prove([])


@pytest.mark.usefixtures("fewer_cheats")
def test_limits_follow_the_solutions() -> None:
    found = proof.prove([PAIR], level=0)
    slow = replace(found, cpu=(0.2, 1.4, 2.6), wall=(0.2, 9.0, 2.6))
    assert found.limits() == Limits()
    assert slow.limits() == replace(Limits(), wall_seconds=180.0)
    assert slow.cpu_seconds() == (0, 0, 6)
