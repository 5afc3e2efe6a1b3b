"""Judge generated programs: what the score stage calls.

In: problems, each a prompt with a completion and the benchmark's own tests, and the least level of
confinement that is accepted. Out: a verdict for each, and a report of the confinement that held.
Equal problems are judged once. Nothing here runs a completion or a test: judges run the tests and
their workers the completions, in processes of their own (`judge`, `worker`). Standard library only.

    with Sandbox(jobs=2, level=3) as sandbox:
        verdicts = sandbox.judge_all(problems)
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from . import confine
from .confine import Limits
from .patience import Short, patiently
from .pool import Folder, JudgeProcess, readable

Reason = Literal[
    "passed", "wrong", "exception", "timeout", "memory", "non_literal", "protocol", "refused"
]
REASONS: tuple[Reason, ...] = (
    "passed", "wrong", "exception", "timeout", "memory", "non_literal", "protocol", "refused"
)  # fmt: skip
Style = Literal["humaneval", "mbpp"]
PROBES = Path(__file__).with_name("probes.py")


class SandboxError(RuntimeError):
    """This machine does not confine generated code as it must."""


@dataclass(frozen=True)
class Problem:
    """A program and what decides on it.

    `prompt` + `completion` is what the worker runs. `tests` is what the judge runs: HumanEval's
    module with its `check(candidate)`, or MBPP's asserts, one a line. `context` is the benchmark's
    own code that the tests may use: for HumanEval the prompt as published (`prompt` when it is left
    out), for MBPP the setup code. `entry_point` may be empty for MBPP. `cpu_seconds`
    is a limit of its own for a problem whose right solution is slow; 0 leaves the usual one.
    """

    prompt: str
    completion: str
    tests: str
    entry_point: str = ""
    style: Style = "humaneval"
    context: str | None = None
    cpu_seconds: int = 0

    def message(self) -> dict[str, Any]:
        context = self.prompt if self.style == "humaneval" else ""
        return asdict(self) | {"context": context if self.context is None else self.context}


@dataclass(frozen=True)
class Verdict:
    """Why, a few words more, and the seconds it took: until answers came, processor, in all."""

    reason: Reason
    detail: str = field(default="", compare=False)
    seconds: float = field(default=0.0, compare=False)
    cpu: float = field(default=0.0, compare=False)
    wall: float = field(default=0.0, compare=False)

    @property
    def passed(self) -> bool:
        return self.reason == "passed"


@dataclass(frozen=True)
class Confinement:
    """The level, every layer as it was laid, and every probe as it ended."""

    level: int
    layers: dict[str, str]
    probes: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Sandbox:
    """Judges with their workers, warm until the block ends.

    `level` is the least level accepted: SandboxError on entry, with what is missing, when this
    machine offers less. `_without` leaves layers out, for tests of exactly that.
    """

    def __init__(
        self,
        jobs: int = 1,
        level: int = 3,
        limits: Limits | None = None,
        *,
        _without: frozenset[str] = frozenset(),
    ) -> None:
        self.jobs, self.least = max(1, jobs), level
        self.limits = limits or Limits()
        self._without = _without
        self._judges: list[JudgeProcess] = []

    def __enter__(self) -> Sandbox:
        self._folder = Folder()
        try:
            files, listed = readable()
            self._settings = {
                "folder": str(self._folder.path),
                "readable": files,
                "listed": listed,
                "without": sorted(self._without),
                "limits": self.limits.as_dict(),
            }
            self._judges.append(JudgeProcess(self._settings))
            self.confinement = self._probe(self._judges[0])
            if self.confinement.level < self.least:
                raise SandboxError(lacking(self.confinement, self.least))
            self._judges += [JudgeProcess(self._settings) for _ in range(self.jobs - 1)]
        except BaseException as error:
            self.__exit__(None, None, None)
            if isinstance(error, Short):
                raise SandboxError(str(error)) from error
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in self._judges:
            one.close()
        self._judges.clear()
        self._folder.remove()

    def judge_all(self, problems: Sequence[Problem], measure: bool = False) -> list[Verdict]:
        """The verdicts, in order; equal problems are judged once.

        Processor seconds are known to all verdicts with `measure`, which costs a little time.
        """
        distinct = list(dict.fromkeys(problems))
        found: dict[Problem, Verdict] = {}
        waiting = iter(distinct)
        lock = threading.Lock()
        failures: list[BaseException] = []

        def serve(one: JudgeProcess) -> None:
            taken: list[Problem] = []

            def messages() -> Iterator[dict[str, Any]]:
                while not failures:
                    with lock:
                        problem = next(waiting, None)
                    if problem is None:
                        return
                    taken.append(problem)
                    yield problem.message() | {"whole": False, "measure": measure}

            try:
                for place, answer in enumerate(one.ask_all(messages(), self.limits)):
                    found[taken[place]] = Verdict(**answer)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=serve, args=(one,)) for one in self._judges]
        try:
            for thread in threads:
                patiently(thread.start)
            for thread in threads:
                thread.join()
        except BaseException as error:
            # A signal: nothing more is asked, and judges are closed with the sandbox.
            failures.append(error)
            raise
        if failures:
            if isinstance(failures[0], Short):
                raise SandboxError(str(failures[0])) from failures[0]
            raise failures[0]
        return [found[problem] for problem in problems]

    def plant(self, texts: Sequence[str]) -> dict[str, str]:
        """Files that anyone but a worker may read, for cheats to try: text → path."""
        return {text: str(self._folder.plant(text)) for text in texts}

    def _probe(self, one: JudgeProcess) -> Confinement:
        """Try every layer from inside, as generated code would."""
        tests = (
            "import json\ndef check(candidate):\n"
            f"    raise AssertionError(json.dumps(candidate({str(self._folder.planted)!r})))\n"
        )
        problem = Problem("", PROBES.read_text("utf-8"), tests, "probe")
        message = problem.message() | {"whole": True, "measure": True}
        answers = list(one.ask_all(iter([message]), self.limits))
        return confinement(one.layers, Verdict(**answers[0]))


def confinement(layers: dict[str, str], verdict: Verdict) -> Confinement:
    """What layers and probes come to."""
    text = verdict.detail.removeprefix("AssertionError: ")
    probes: dict[str, str] = json.loads(text) if text.startswith("{") else {}
    lost = [name.partition(":")[0] for name, outcome in probes.items() if outcome != "refused"]
    if not probes:
        probes, lost = {"probes": f"{verdict.reason} {verdict.detail}"}, list(confine.LAYERS)
    return Confinement(confine.level_of(layers, lost), layers, probes)


def lacking(found: Confinement, least: int) -> str:
    """What keeps a machine below a level, and how to get it."""
    lines = [
        f"evaluation.sandbox_level: found {found.level} on this machine, expected {least} or more"
    ]
    passed = sorted(name for name, outcome in found.probes.items() if outcome != "refused")
    for name in confine.NEEDED[least]:
        broken = [probe for probe in passed if probe.startswith(f"{name}:")]
        if not found.layers[name].startswith("on") or broken:
            got_past = f"; got past: {', '.join(broken)}" if broken else ""
            lines.append(
                f"{name} is {found.layers[name]}{got_past}; it needs {confine.ADVICE[name]}"
            )
    if "probes" in found.probes:
        lines.append(f"the probes themselves ended with {found.probes['probes']}")
    lines.append(
        "set evaluation.sandbox_level lower only on a machine that holds nothing of worth; "
        "`ledger sandbox selftest` shows every layer"
    )
    return "\n  ".join(lines)
