"""Does HF evaluate's `code_eval` say of real completions what the sandbox says, item by item?

In: HumanEval, a checkout of HF evaluate, and generations as stage `generate` writes them
(`results/<study>/generate/<run>/<cell>.jsonl.gz`). Out: how many verdicts are equal, and every one
that is not with both sides' words and the reason, as JSON and as Markdown. Ours are the verdicts of
stage `score`, limits and proof included. What differs is judged once more by both with ten times
the time, which tells a question of time from others. Completions are taken for hostile: `code_eval`
runs in a container (`sandbox_container`), without which this refuses to run.

    python benchmarks/sandbox_agreement.py --evaluate evaluate --out agreement.json FILE.jsonl.gz …
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from sandbox_container import LIMIT, Answer, Container

from lora_ledger.cli.sandbox import human_eval
from lora_ledger.data.tasks.scoring import read_generations
from lora_ledger.sandbox.client import Problem, Sandbox, Verdict
from lora_ledger.sandbox.proof import PATIENT, Proof, prove, require

PATIENCE = 10
# `code_eval` replaces these by None before it runs a program.
TAKEN_AWAY = re.compile(r"'NoneType' object is not callable|import of \w+ halted")


def programs(paths: Sequence[Path], solutions: Sequence[Problem]) -> list[tuple[str, Problem]]:
    """Where each completion stands, and its program as stage `score` puts it together."""
    found = []
    # A row's `problem` is its place in the corpus, whose order is not the published file's.
    by_prompt = {solution.prompt.strip(): solution for solution in solutions}
    for path in paths:
        for row in read_generations(path):
            published = by_prompt.get(row["prompt"].strip())
            if published is None:
                raise ValueError(
                    f"{path}: problem {row['problem']} has no prompt of HumanEval's; expected "
                    "generations of the task humaneval"
                )
            one = replace(
                published,
                prompt=row["prompt"],
                completion=row["completion"],
                context=published.prompt,
            )
            found.append((f"{path.name}, problem {row['problem']}, sample {row['sample']}", one))
    return found


def upstream(problem: Problem) -> str:
    """The program as lm-eval gives it to `code_eval`."""
    code = f"{problem.context}{problem.completion}"
    return f"{code}\n{problem.tests}\ncheck({problem.entry_point})"


def reason(problem: Problem, ours: Verdict, theirs: Answer, patient: tuple[Verdict, Answer]) -> str:
    """Why two verdicts differ, as far as both sides' words tell."""
    if patient[0].passed == patient[1].passed:
        if theirs.passed != patient[1].passed:
            return f"time: {LIMIT:.0f} s by the clock were not enough there"
        return "time: the processor time was not enough here"
    if ours.reason == "refused":
        return "uses files, sockets or processes, which are refused here"
    if ours.reason == "non_literal":
        return "returns what is no plain data"
    if "ModuleNotFoundError" in ours.detail:
        return "imports a package, of which here there are none"
    if theirs.result == "lost":
        return "ends or stops the process that judges there"
    helpers = set(re.findall(r"^def (\w+)", problem.context or "", re.MULTILINE))
    again = helpers & set(re.findall(r"^def (\w+)", problem.completion, re.MULTILINE))
    if again - {problem.entry_point}:
        return "redefines a helper of the prompt; the tests use the published one here"
    if ours.passed and TAKEN_AWAY.search(theirs.result):
        return "uses a function that is taken away there"
    if ours.reason in ("memory", "protocol"):
        return f"{ours.reason}: {ours.detail[:80]}"
    return "not explained: look at the program"


def compare(
    items: Sequence[tuple[str, Problem]], proof: Proof, container: Container, jobs: int
) -> dict[str, Any]:
    """Equal programs are judged once by either."""
    distinct = list(dict.fromkeys(problem for _, problem in items))
    answers = dict(zip(distinct, container.judge([upstream(p) for p in distinct]), strict=True))
    with Sandbox(jobs, 3, proof.limits()) as sandbox:
        verdicts = dict(zip(distinct, sandbox.judge_all(distinct), strict=True))
    differ = [p for p in distinct if verdicts[p].passed != answers[p].passed]
    with Sandbox(jobs, 3, PATIENT) as sandbox:
        patient = sandbox.judge_all([replace(p, cpu_seconds=0) for p in differ])
    slow = container.judge([upstream(p) for p in differ], PATIENCE * LIMIT)
    why = {
        p: reason(p, verdicts[p], answers[p], pair)
        for p, pair in zip(differ, zip(patient, slow, strict=True), strict=True)
    }
    return {
        "completions": len(items),
        "distinct": len(distinct),
        "both": dict(
            Counter(
                f"{'passed' if verdicts[p].passed else 'failed'} here, "
                f"{'passed' if answers[p].passed else 'failed'} there"
                for _, p in items
            )
        ),
        "reasons_here": dict(Counter(verdicts[p].reason for _, p in items)),
        "differences": [
            {
                "item": place,
                "why": why[p],
                "here": f"{verdicts[p].reason}: {verdicts[p].detail}",
                "code_eval": answers[p].result,
                "completion": p.completion,
            }
            for place, p in items
            if p in why
        ],
    }


def table(found: dict[str, Any]) -> str:
    differences = found["differences"]
    equal = found["completions"] - len(differences)
    lines = [
        f"{equal} of {found['completions']} verdicts are equal ({found['distinct']} distinct "
        f"programs; {', '.join(f'{n} {what}' for what, n in sorted(found['both'].items()))}).",
        "",
        "| completion | here | `code_eval` | why |",
        "|---|---|---|---|",
    ]
    for one in differences:
        words = [str(one[key])[:70].replace("|", "\\|") for key in ("here", "code_eval")]
        lines.append(f"| {one['item']} | {words[0]} | {words[1]} | {one['why']} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("generations", type=Path, nargs="+", help="FILE.jsonl.gz")
    parser.add_argument("--evaluate", type=Path, required=True, help="a checkout of HF evaluate")
    parser.add_argument("--problems", type=Path, help="HumanEval.jsonl or .jsonl.gz")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="FILE.json")
    args = parser.parse_args()
    try:
        solutions = human_eval(args.problems)
        items = programs(args.generations, solutions)
        container = Container(args.evaluate)
        proof = prove(solutions, args.jobs)
        require(proof)
    except (RuntimeError, OSError, ValueError) as error:
        print(f"sandbox_agreement: {error}", file=sys.stderr)
        sys.exit(2)
    places = {problem.entry_point: place for place, problem in enumerate(solutions)}
    longer = proof.cpu_seconds()
    items = [(where, replace(p, cpu_seconds=longer[places[p.entry_point]])) for where, p in items]
    found = compare(items, proof, container, args.jobs)
    if args.out:
        args.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
