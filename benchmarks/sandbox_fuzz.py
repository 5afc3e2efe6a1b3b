"""Throws random bytes and edited programs at the judge; it must give a verdict on each.

In: HumanEval. Out: counts of reasons, and a failure when anything passed that is not a solution's
equal, a process or a file is left, or the judge had to be replaced. Random bytes come in two ways:
as the completion itself, and as what a worker writes to the judge in the place of an answer.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from sandbox_mutants import mutants

from lora_ledger.cli.sandbox import human_eval
from lora_ledger.sandbox.client import Problem, Sandbox, Verdict

ANSWER = """    pass
import os
body = bytes.fromhex({body!r})
def {name}(*args, **kwargs):
    os.write(4, {length} + body)
    return None
"""


def written(problem: Problem, rng: random.Random) -> Problem:
    """A worker that answers with random bytes, half the time behind their true length."""
    body = rng.randbytes(rng.randrange(1, 300))
    length = len(body).to_bytes(4, "big") if rng.random() < 0.5 else rng.randbytes(4)
    text = ANSWER.format(body=body.hex(), name=problem.entry_point, length=length)
    return replace(problem, completion=text)


def as_program(problem: Problem, rng: random.Random) -> Problem:
    """Random bytes as the completion, half the time of letters that Python knows."""
    size = rng.randrange(1, 200)
    if rng.random() < 0.5:
        return replace(problem, completion=rng.randbytes(size).decode("latin-1"))
    letters = "abcxyz019 \n\t()[]{}:=.,'\"\\#@+-*/%<>!&|^~_"
    return replace(problem, completion="".join(rng.choice(letters) for _ in range(size)))


def processes() -> set[str]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"lora_ledger.sandbox" in path.read_bytes() and b"-c" in path.read_bytes():
                found.add(path.parent.name)
        except OSError:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=Path, help="HumanEval.jsonl or .jsonl.gz")
    parser.add_argument("--strings", type=int, default=10_000)
    parser.add_argument("--mutants", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    solutions = human_eval(args.problems)
    before = processes()
    places = [Path("/tmp"), Path("/dev/shm"), Path("/var/tmp"), Path.cwd()]
    files = {place: set(place.iterdir()) for place in places if place.is_dir()}
    strings = [
        (written if place % 2 else as_program)(solutions[place % len(solutions)], rng)
        for place in range(args.strings)
    ]
    failed = False
    with Sandbox(2, 3) as sandbox:
        held = {one.process.pid for one in sandbox._judges if one.process}
        for name, problems in (
            ("random strings", strings),
            ("edited solutions", mutants(solutions, args.mutants, args.seed)),
        ):
            began = time.monotonic()
            found: list[Verdict] = sandbox.judge_all(problems)
            slowest = max(verdict.wall for verdict in found)
            print(
                f"{name}: {len(found)} in {time.monotonic() - began:.1f} s, "
                f"slowest {slowest:.1f} s, {dict(Counter(v.reason for v in found))}",
                flush=True,
            )
            failed |= name == "random strings" and any(v.passed for v in found)
        kept = {one.process.pid for one in sandbox._judges if one.process}
    time.sleep(1)
    left = processes() - before
    new = {p for place, old in files.items() for p in set(place.iterdir()) - old}
    new = {p for p in new if p.name.startswith(("ledger", "core"))}
    print(
        f"judges replaced: {len(held - kept)}, processes left: {len(left)}, files left: {len(new)}"
    )
    sys.exit(int(failed or held != kept or bool(left) or bool(new)))


if __name__ == "__main__":
    main()
