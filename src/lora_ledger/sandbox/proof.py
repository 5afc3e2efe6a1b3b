"""Proof that the judge judges: right solutions pass, stubs and cheats do not.

In: the problems of a benchmark with their own solutions. Out: three counts, and the names of what
ended otherwise. It is run with every score, and its result stands in the record. A cheat is a text
in `cheats/`: a module that defines `cheat`, which takes the place of the generated function.
`ENTRY` is that function's name, `PLANTED` the path of a file that holds a right program. What a
cheat returns is right for no problem, but where it got past a layer it calls `solved`, the right
one, so that an escape shows as a pass. A first line that begins with `slow:` has it tried once
only; `Landlock:` and `seccomp:` say which layer stops it. Without that layer it is not tried, since
it would do to the machine what it is meant to be kept from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .client import Confinement, Problem, Sandbox, SandboxError, Verdict
from .confine import Limits

# By the mark of a cheat, the level that stops it.
STOPPED = {"# Landlock:": 3, "# seccomp:": 2}
CHEATS = Path(__file__).with_name("cheats")
# Solutions are right however slow the machine; how long they take sets the limits for the others.
PATIENT = Limits(cpu_seconds=30, own_seconds=60.0, wall_seconds=300.0)
# Cheats end by their reason, not by their limit; these are enough for any of them to succeed.
QUICK = Limits(memory_bytes=2**29, cpu_seconds=1, own_seconds=1.5, wall_seconds=60.0)


SOLVED = """ENTRY, PLANTED, RIGHT = {entry!r}, {planted!r}, {right!r}
def solved(*args, **kwargs):
    space = {{}}
    exec(RIGHT, space)
    return space[ENTRY](*args, **kwargs)
"""


@dataclass(frozen=True)
class Count:
    """How many passed of how many, and which did not end as they should."""

    passed: int
    total: int
    odd: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proof:
    """Solutions must all pass, stubs and cheats never; `cpu` and `wall` are the
    seconds of each solution."""

    confinement: Confinement
    solutions: Count
    stubs: Count
    cheats: Count
    untried: tuple[str, ...]
    reasons: dict[str, str]
    cpu: tuple[float, ...]
    wall: tuple[float, ...]

    @property
    def holds(self) -> bool:
        return (
            self.solutions.passed == self.solutions.total
            and not self.stubs.passed
            and not self.cheats.passed
        )

    def as_dict(self) -> dict[str, Any]:
        """What a record keeps: no times, so that a repeat of the run has the same id."""
        found = asdict(self)
        del found["cpu"], found["wall"], found["reasons"]
        return found

    def limits(self) -> Limits:
        """The usual limits with the wall clock's, a mere backstop, at 20 times the slowest
        solution's time where that is more."""
        usual = Limits()
        return replace(usual, wall_seconds=max(usual.wall_seconds, 20 * max(self.wall)))

    def cpu_seconds(self) -> tuple[int, ...]:
        """For each solution's problem, twice the processor time that it took, in whole seconds, if
        that is more than the usual limit, else 0."""
        usual = Limits().cpu_seconds
        return tuple(s if (s := math.ceil(2 * one)) > usual else 0 for one in self.cpu)


def cheats() -> dict[str, str]:
    """The corpus: name → text."""
    return {path.stem: path.read_text("utf-8") for path in sorted(CHEATS.glob("*.txt"))}


def stub(problem: Problem) -> Problem:
    """The problem with a function that takes anything and returns None."""
    if problem.style == "humaneval":
        return replace(problem, completion="    pass\n")
    names = _functions(problem)
    return replace(
        problem,
        completion="".join(f"def {name}(*args, **kwargs):\n    pass\n" for name in names),
    )


def cheating(problem: Problem, text: str, planted: str) -> Problem:
    """The problem with a cheat in the place of its solution."""
    names = _functions(problem)
    right = problem.prompt + problem.completion
    head = SOLVED.format(entry=names[0], planted=planted, right=right)
    tail = "".join(f"\n{name} = cheat" for name in names)
    body = "    pass\n\n" if problem.style == "humaneval" else ""
    return replace(problem, completion=f"{body}{head}{text}{tail}\n")


def prove(
    solutions: Sequence[Problem],
    jobs: int = 1,
    level: int = 3,
    *,
    _without: frozenset[str] = frozenset(),
) -> Proof:
    """The proof for a benchmark, given by problems with right completions.

    Raises SandboxError where the machine offers less than `level`, ValueError without problems.
    """
    if not solutions:
        raise ValueError("proof: found no problem with a solution, expected one at least")
    with Sandbox(jobs, level, PATIENT, _without=_without) as sandbox:
        right = sandbox.judge_all(solutions, measure=True)
        empty = sandbox.judge_all([stub(problem) for problem in solutions])
    with Sandbox(jobs, level, QUICK, _without=_without) as sandbox:
        confinement = sandbox.confinement
        beyond = tuple(mark for mark, least in STOPPED.items() if confinement.level < least)
        corpus = cheats()
        untried = tuple(n for n, text in corpus.items() if beyond and text.startswith(beyond))
        attempts = [
            (name, problem, text)
            for name, text in corpus.items()
            if name not in untried
            for problem in solutions[: 1 if text.startswith("# slow:") else 2]
        ]
        planted = sandbox.plant([p.prompt + p.completion for p in solutions[:2]])
        tried = sandbox.judge_all(
            [cheating(p, text, planted[p.prompt + p.completion]) for _, p, text in attempts]
        )
    names = [p.entry_point or str(place) for place, p in enumerate(solutions)]
    return Proof(
        confinement,
        _count(names, right, odd=False),
        _count(names, empty, odd=True),
        _count([name for name, _, _ in attempts], tried, odd=True),
        untried,
        {name: v.reason for (name, _, _), v in zip(attempts, tried, strict=True)},
        tuple(verdict.cpu for verdict in right),
        tuple(verdict.wall for verdict in right),
    )


def require(proof: Proof) -> None:
    """SandboxError, with names, unless the proof holds."""
    if not proof.holds:
        raise SandboxError(
            f"the judge does not judge on this machine: {proof.solutions.passed} of "
            f"{proof.solutions.total} right solutions passed (expected all; not: "
            f"{', '.join(proof.solutions.odd) or 'none'}), {proof.stubs.passed} stubs "
            f"(expected 0) and {proof.cheats.passed} cheats (expected 0: "
            f"{', '.join(proof.stubs.odd + proof.cheats.odd) or 'none'}); "
            "`ledger sandbox selftest` shows every layer"
        )


def _functions(problem: Problem) -> tuple[str, ...]:
    if problem.style == "humaneval":
        return (problem.entry_point,)
    from . import mbpp

    return mbpp.plan(problem.tests, problem.entry_point).functions


def _count(names: Sequence[str], verdicts: Sequence[Verdict], *, odd: bool) -> Count:
    passed = [verdict.passed for verdict in verdicts]
    wrong = tuple(n for n, ok in zip(names, passed, strict=True) if ok is odd)
    return Count(sum(passed), len(passed), wrong)
