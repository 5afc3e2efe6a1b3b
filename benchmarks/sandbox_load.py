"""Do verdicts stay the same when other work holds every processor?

In: HumanEval. Judged are its solutions, edited solutions, and programs that use a given share of
their processor time, among them some that sleep and some that do not end: once on the machine as it
is, and once beside several busy processes for each processor that it may use. Out: the reasons of
both runs, the slowest by the clock, and every item whose reason differs; a status other than 0
where there is one. Programs near a limit are left out: which side of it they fall on is settled by
the processor and not by the load. With `taskset` it leaves the other processors alone.

    python benchmarks/sandbox_load.py --busy 4
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from sandbox_mutants import mutants

from lora_ledger.cli.sandbox import human_eval
from lora_ledger.sandbox.client import Problem, Sandbox, Verdict
from lora_ledger.sandbox.confine import Limits

SLOW = """import time
def f():
    end = time.process_time() + {compute}
    while time.process_time() < end:
        pass
    time.sleep({sleep})
    return 1
"""
TESTS = "def check(candidate):\n    assert candidate() == 1\n"
# Shares of the limit of processor time, and of the limit of the time that is the program's own.
SHARES = ((0.2, 0.0), (0.4, 0.0), (0.6, 0.0), (0.0, 0.5), (0.4, 0.3), (9.0, 0.0), (0.0, 9.0))


def slow(limits: Limits, copies: int) -> list[Problem]:
    found = []
    for copy in range(copies):
        for compute, sleep in SHARES:
            code = SLOW.format(
                compute=compute * limits.cpu_seconds, sleep=sleep * limits.own_seconds
            )
            found.append(Problem("", f"{code}# {copy}\n", TESTS, "f", context=""))
    return found


def burn() -> None:
    # As every worker does: Linux shares out processors among sessions before processes.
    os.setsid()
    while True:
        pass


def run(problems: list[Problem], jobs: int) -> tuple[list[Verdict], float]:
    began = time.monotonic()
    with Sandbox(jobs, 3) as sandbox:
        found = sandbox.judge_all(problems)
    return found, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=Path, help="HumanEval.jsonl or .jsonl.gz")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--busy", type=int, default=4, help="busy processes for each processor")
    parser.add_argument("--mutants", type=int, default=164)
    parser.add_argument("--slow", type=int, default=2, help="copies of each slow program")
    parser.add_argument("--out", type=Path, help="FILE.json")
    args = parser.parse_args()
    solutions = human_eval(args.problems)
    problems = [*solutions, *mutants(solutions, args.mutants), *slow(Limits(), args.slow)]
    alone, seconds = run(problems, args.jobs)
    processors = len(os.sched_getaffinity(0))
    others = [
        multiprocessing.get_context("spawn").Process(target=burn, daemon=True)
        for _ in range(args.busy * processors)
    ]
    for one in others:
        one.start()
    try:
        loaded, longer = run(problems, args.jobs)
    finally:
        for one in others:
            one.kill()
            one.join()
    differ = [
        {
            "program": p.completion,
            "alone": f"{a.reason}: {a.detail}",
            "loaded": f"{b.reason}: {b.detail}",
        }
        for p, a, b in zip(problems, alone, loaded, strict=True)
        if a.reason != b.reason
    ]
    for name, found, spent in (("alone", alone, seconds), ("loaded", loaded, longer)):
        slowest = max(verdict.wall for verdict in found)
        reasons = dict(sorted(Counter(verdict.reason for verdict in found).items()))
        print(f"{name}: {len(found)} in {spent:.0f} s, slowest {slowest:.1f} s, {reasons}")
    print(
        f"{len(differ)} of {len(problems)} reasons differ, "
        f"{len(others)} busy processes on {processors} processors"
    )
    for one in differ:
        print(json.dumps(one, ensure_ascii=False))
    if args.out:
        args.out.write_text(json.dumps(differ, indent=1, ensure_ascii=False) + "\n", "utf-8")
    sys.exit(int(bool(differ)))


if __name__ == "__main__":
    main()
