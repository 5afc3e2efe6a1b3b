"""Fork servers that are short of processors, processes or threads, or lost; processor time."""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lora_ledger.sandbox import confine, forkserver, pool
from lora_ledger.sandbox.client import Problem, Sandbox, SandboxError
from lora_ledger.sandbox.confine import Limits
from lora_ledger.sandbox.patience import Short, patiently

ADD = "def f(x):\n    return x + 1\n"


def burn(seconds: float) -> None:
    # As every worker does: Linux shares out processors among sessions before processes.
    os.setsid()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.parametrize(("seconds", "limit"), [(0.5, 0), (1.2, 2)])
def test_a_loaded_machine_gives_the_same_verdict(
    sandbox: Sandbox, seconds: float, limit: int
) -> None:
    """Processor time below the limit, the usual one or its own, with four times as many others as
    processors: by the wall clock that takes longer than any limit here."""
    code = (
        f"import time\ndef f():\n    end = time.process_time() + {seconds}\n"
        "    while time.process_time() < end:\n        pass\n    return 1\n"
    )
    tests = "def check(candidate):\n    assert candidate() == 1\n"
    # So that spare workers stand by, which are not the one that is short of a processor.
    short = [Problem("", f"def f():\n    return {n}\n", tests, "f", context="") for n in range(9)]
    sandbox.judge_all(short)
    others = [
        multiprocessing.get_context("spawn").Process(target=burn, args=(12.0,))
        for _ in range(4 * (os.cpu_count() or 1))
    ]
    for one in others:
        one.start()
    time.sleep(1)
    try:
        problem = Problem("", code, tests, "f", context="", cpu_seconds=limit)
        found = sandbox.judge_all([problem])[0]
    finally:
        for one in others:
            one.kill()
            one.join()
    assert found.reason == "passed", found


def test_a_program_full_of_threads_costs_the_next_one_nothing() -> None:
    """They leave no room for another process until it has ended, which this one does not do."""
    threads = (
        "import threading, time\n"
        "try:\n"
        "    while True:\n"
        "        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\n"
        "except RuntimeError:\n"
        "    pass\n"
        "def f(x):\n    time.sleep(30)\n"
    )
    tests = "def check(candidate):\n    assert candidate(1) == 2\n"
    codes = [ADD, threads, *(f"{ADD}#{n}\n" for n in range(4))]
    with Sandbox(1, 0, Limits(memory_bytes=2**35, own_seconds=0.5)) as one:
        judge = one._judges[0].process
        assert judge
        before = [process.pid for process in psutil.Process(judge.pid).children()]
        found = one.judge_all([Problem("", code, tests, "f", context="") for code in codes])
        after = [process.pid for process in psutil.Process(judge.pid).children()]
    assert [verdict.reason for verdict in found] == ["passed", "timeout", *4 * ["passed"]]
    # The fork server is the one that it was.
    assert after == before


def alive(process: psutil.Process) -> bool:
    """A killed process stands in the table until its parent, here a judge, asks after it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_fork_server_that_is_lost_says_nothing_of_a_completion() -> None:
    """As when the system is short of memory and chooses it."""
    tests = "def check(candidate):\n    assert candidate(1) == 2\n"
    problems = [Problem("", f"{ADD}#{n}\n", tests, "f", context="") for n in range(6)]
    with Sandbox(1, 0) as one:
        assert all(verdict.passed for verdict in one.judge_all(problems))
        judge = one._judges[0].process
        assert judge
        servers = psutil.Process(judge.pid).children()
        for process in servers:
            process.kill()
        while any(map(alive, servers)):
            time.sleep(0.01)
        again = one.judge_all([replace(p, completion=p.completion + "#\n") for p in problems])
    assert [(verdict.reason, verdict.detail) for verdict in again] == [("passed", "")] * 6


# Each kind is past the limit by its own account, which is exact, before it answers.
BURNS = {
    "one thread": "burn(None)",
    "two threads that give way": "together(2, libc.sched_yield)",
    "eight threads that give way": "together(8, libc.sched_yield)",
    "threads that rest at the tick": "together(2, lambda: libc.usleep(60))",
    "a thread that goes on": "threading.Thread(target=burn, args=(None,)).start(), burn(None)",
}
BURN = """
import ctypes, threading, time
libc = ctypes.CDLL(None)
def burn(rest):
    while time.process_time() < {seconds}:
        end = time.perf_counter() + 0.0005
        while time.perf_counter() < end:
            pass
        rest and rest()
def together(count, rest):
    threads = [threading.Thread(target=burn, args=(rest,)) for _ in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
def f(x):
    {kind}
    return x + 1
"""
RIGHT = "def check(candidate):\n    assert candidate(1) == 2\n"


@pytest.mark.parametrize("kind", BURNS)
def test_no_thread_computes_past_the_limit_and_passes(kind: str) -> None:
    """On any machine, however the ticks fall that RLIMIT_CPU counts."""
    codes = [BURN.format(seconds=seconds, kind=BURNS[kind]) for seconds in (1.1, 0.4, 1.2)]
    with Sandbox(1, 0, Limits(cpu_seconds=1, own_seconds=30.0)) as one:
        found = one.judge_all([Problem("", code, RIGHT, "f", context="") for code in codes])
    assert [verdict.reason for verdict in found] == ["timeout", "passed", "timeout"], found


@pytest.mark.parametrize("left", ["", " | os.WNOWAIT"], ids=["waited for", "left behind"])
def test_children_are_counted_where_a_worker_may_have_any(left: str) -> None:
    code = (
        "import os, time\n"
        "def f(x):\n"
        "    for _ in range(3):\n"
        "        child = os.fork()\n"
        "        if child == 0:\n"
        "            while time.process_time() < {}:\n                pass\n"
        "            os._exit(0)\n"
        f"        os.waitid(os.P_PID, child, os.WEXITED{left})\n"
        "    return x + 1\n"
    )
    codes = [code.format(seconds) for seconds in (0.5, 0.1)]
    without = frozenset({"seccomp", "Landlock"})
    with Sandbox(1, 0, Limits(cpu_seconds=1, own_seconds=30.0), _without=without) as one:
        found = one.judge_all([Problem("", code, RIGHT, "f", context="") for code in codes])
    assert [verdict.reason for verdict in found] == ["timeout", "passed"], found


def test_a_shortage_is_waited_for_and_in_the_end_an_error_of_the_run() -> None:
    outcomes = [BlockingIOError(11, "fork"), RuntimeError("can't start new thread"), None]

    def start() -> str:
        if error := outcomes.pop(0):
            raise error
        return "started"

    assert patiently(start) == "started"
    outcomes[:] = [OSError(12, "no memory")] * 99
    with pytest.raises(Short, match=r"no memory.*ulimit -u"):
        patiently(start, 0.05)
    outcomes[:] = [PermissionError(1, "no")]
    with pytest.raises(PermissionError):
        patiently(start)


def test_a_run_without_room_for_a_judge_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(pool.subprocess, "Popen", refuse)
    monkeypatch.setattr(pool, "patiently", lambda start: patiently(start, 0.1))
    with pytest.raises(SandboxError, match=r"no room for a process.*ulimit -u"), Sandbox(1, 0):
        raise AssertionError("a judge out of nothing")


# In a process of its own, since the limit is the user's: as many others as there is room for, from
# before the first judge to well after the first problem, and completions that take what is left.
CROWDED = """
import os, resource, sys, threading, time
sys.path.insert(0, sys.argv[1])
from lora_ledger.sandbox.client import Problem, Sandbox
from lora_ledger.sandbox.confine import Limits
resource.setrlimit(resource.RLIMIT_NPROC, (60, 60))
others = []
def fill():
    while True:
        try:
            child = os.fork()
        except BlockingIOError:
            return
        if child == 0:
            time.sleep(60)
            os._exit(0)
        others.append(child)
def leave():
    while others:
        os.kill(child := others.pop(), 9)
        os.waitpid(child, 0)
def later():
    time.sleep(1.5)
    leave()
storm = '''
import threading, time
threading.stack_size(2**17)
def go():
    while True:
        try:
            threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
        except RuntimeError:
            time.sleep(0.0003)
try:
    threading.Thread(target=go, daemon=True).start()
except RuntimeError:
    pass
def f(x):
    time.sleep(0.3)
    return x + 1
#'''
plain = "def f(x):\\n    return x + 1\\n#"
tests = "def check(candidate):\\n    assert candidate(1) == 2\\n"
codes = [f"{code}{n}\\n" for n in range(12) for code in (storm, plain)]
problems = [Problem("", code, tests, "f", context="") for code in codes]
threading.Thread(target=later).start()
time.sleep(0.2)
fill()
with Sandbox(2, 0, Limits(memory_bytes=2**35), _without=frozenset(sys.argv[2:])) as sandbox:
    found = sandbox.judge_all(problems[:8])
    threading.Thread(target=later).start()
    fill()
    found += sandbox.judge_all(problems[8:])
print([(v.reason, v.detail) for v in found if not v.passed], len(found))
"""


@pytest.mark.skipif(os.getuid() != 0 or not Path("/usr/bin/setpriv").exists(), reason="needs root")
@pytest.mark.parametrize("without", [["namespaces"], []], ids=["no namespaces", "namespaces"])
def test_a_user_who_is_out_of_processes_fails_no_completion(without: list[str]) -> None:
    python = Path("/usr/bin/python3")
    source = Path(confine.__file__).resolve().parents[2]
    if not python.exists() or not source.stat().st_mode & 0o005:
        pytest.skip("needs a system Python and a checkout that others can read")
    # A uid that nobody has, so that no other work is counted with it.
    uid = str(0x6F000000 + os.getpid())
    command = ["/usr/bin/setpriv", "--reuid", uid, "--regid", "65534", "--clear-groups"]
    done = subprocess.run(
        [*command, str(python), "-B", "-c", CROWDED, str(source), *without],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
        timeout=600,
    )
    if "SyntaxError" in done.stderr or "Permission" in done.stderr:
        pytest.skip(done.stderr[-200:])
    assert done.stdout.strip() == "[] 24", done.stderr[-2000:]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_each_judge_has_a_uid_of_its_own() -> None:
    with Sandbox(2, 0, _without=frozenset({"namespaces"})) as one:
        if one.confinement.layers["identity"] != "on: a uid of its own":
            pytest.skip(one.confinement.layers["identity"])
        judges = [judge.process for judge in one._judges]
        uids = [
            {server.uids().real for server in psutil.Process(judge.pid).children(recursive=True)}
            for judge in judges
            if judge
        ]
    assert [len(found) for found in uids] == [1, 1]
    assert uids[0].isdisjoint(uids[1])


def test_time_before_there_was_room_to_fork_is_not_the_workers() -> None:
    """As long as there is none the answer is -1; then what came before is taken off."""
    ages = iter([-1.0, 0.25])

    class Server:
        def age(self, number: int) -> float:
            return next(ages)

    worker = object.__new__(forkserver.Worker)
    worker.forkserver, worker.number, worker.late = Server(), 7, 0.0  # type: ignore[assignment]
    assert worker._lateness(4.0) == 4.0
    assert worker._lateness(1.0) == 0.75
    assert worker.late == 4.75
    ages = iter([-1.0])
    with pytest.raises(Short, match="no room for a worker"):
        worker._lateness(60.0)


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="namespaces are Linux's")
def test_a_worker_that_gets_no_namespace_waits_and_runs_nothing() -> None:
    """The kernel counts them, and gives them back some time after their end."""
    refusals = [errno.ENOSPC, errno.EAGAIN, errno.ENOMEM]

    def unshare(flags: int) -> int:
        if not refusals:
            return 0
        ctypes.set_errno(refusals.pop())
        return -1

    child = os.fork()
    if child == 0:
        confine._unshare_alone = unshare  # type: ignore[assignment]
        layers = {"seccomp": "off", "Landlock": "off"}
        confine.seal(9, confine.Enclosure(layers, ("pid", "user"), 10**4))
        os._exit(len(refusals))
    assert os.waitpid(child, 0)[1] == 0
