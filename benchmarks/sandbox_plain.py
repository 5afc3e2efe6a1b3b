"""Does plain Python say of edited solutions what the sandbox says, item by item?

In: HumanEval, a seed. Out: how many verdicts are equal, and every one that is not, with both sides'
words; a status other than 0 where there is one. Plain is `python -I -c` on completion, tests and
`check(entry_point)` in a process of its own with ten seconds by the clock and the sandbox's limit
of memory: what the published runner does, without its replaced built-ins. It confines nothing, so
it takes edits of the published solutions alone and never a model's completions.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from sandbox_mutants import mutants

from lora_ledger.cli.sandbox import human_eval
from lora_ledger.sandbox.client import Problem, Sandbox
from lora_ledger.sandbox.confine import Limits

SECONDS = 10


def plain(problem: Problem, folder: str) -> str:
    """`passed`, `timeout`, or the last line of what Python wrote."""
    program = f"{problem.prompt}{problem.completion}\n{problem.tests}\ncheck({problem.entry_point})"
    memory = Limits().memory_bytes

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    try:
        ended = subprocess.run(
            [sys.executable, "-I", "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=limit,
            timeout=SECONDS,
            cwd=folder,
            env={},
        )
    except subprocess.TimeoutExpired:
        return "timeout"
    if ended.returncode == 0:
        return "passed"
    words = ended.stderr.decode("utf-8", "replace").strip().splitlines()
    return words[-1] if words else f"status {ended.returncode}"


def compare(problems: Sequence[Problem], jobs: int) -> list[tuple[Problem, str, str]]:
    """(problem, the sandbox's words, plain Python's)."""
    with Sandbox(jobs, 3) as sandbox:
        ours = sandbox.judge_all(problems)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        theirs = list(pool.map(lambda one: plain(one, folder), problems))
    return [
        (p, v.reason if v.passed else f"{v.reason}: {v.detail}", t)
        for p, v, t in zip(problems, ours, theirs, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=Path, help="HumanEval.jsonl or .jsonl.gz")
    parser.add_argument("--mutants", type=int, default=500)
    parser.add_argument("--edits", type=int, default=1, help="at most, of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    solutions = human_eval(args.problems)
    problems = [*solutions, *mutants(solutions, args.mutants, args.seed, args.edits)]
    found = compare(problems, args.jobs)
    differ = [one for one in found if (one[1] == "passed") != (one[2] == "passed")]
    told = Counter(
        f"{ours.partition(':')[0]} here, {theirs.partition(':')[0] or 'no word'} there"
        for _, ours, theirs in found
    )
    for words, count in told.most_common():
        print(f"{count:6} {words}")
    print(f"{len(found) - len(differ)} of {len(found)} verdicts are equal, {len(differ)} differ")
    for problem, ours, theirs in differ:
        print(json.dumps({"program": problem.prompt + problem.completion, "sandbox": ours,
                          "plain": theirs}, ensure_ascii=False))  # fmt: skip
    sys.exit(int(bool(differ)))


if __name__ == "__main__":
    main()
