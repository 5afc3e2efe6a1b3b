"""How many of the cheats pass under HF evaluate's `code_eval`, and how many here, in one run.

In: HumanEval, and a checkout of HF evaluate. Every cheat of `sandbox/cheats/` is tried on the first
two problems (a slow one on the first), once under each. Out: a verdict for each attempt, as JSON,
and a table by kind of cheat, as Markdown. `code_eval` runs each attempt in a container of its own
(`sandbox_container`), without which this refuses to run; it has no other confinement, so a cheat
that tries to get at the machine passes where the container alone would have held it.

    python benchmarks/sandbox_cheats.py --evaluate evaluate --out cheats.json
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from sandbox_container import Container

from lora_ledger.cli.sandbox import human_eval
from lora_ledger.sandbox import proof
from lora_ledger.sandbox.client import Problem, Sandbox

KINDS = {
    "values that lie": "always_equal changing_items code_injection cyclic_value deep_value "
    "items_by_stack lying_class lying_items lying_metaclass lying_stand_ins lying_subclasses "
    "mutated_arguments nan reduce_in_exception reduce_payload",
    "search for tests and verdict, patched built-ins": "frame_walk gc_walk own_memory "
    "patched_builtins replaced_helpers rewritten_worker stolen_nonce import_hooks",
    "exits and control exceptions": "atexit control_exceptions excepthook os_exit os_exit_at_load "
    "sys_exit sys_exit_at_load",
    "forged and broken messages, threads": "closed_channel forged_in_a_thread forged_messages "
    "forged_objects forged_references "
    "malformed_messages oversized_frame silent_channel thread_outlives",
    "reads of files, of the answers and of other processes": "read_parent_memory read_proc "
    "read_solutions read_solutions_by_link read_solutions_raw",
    "fork, exec, signals, sockets, writes, privileges": "escaped_session exec fork_bomb fork_raw "
    "kill_the_parent network network_raw new_privileges signal_by_descriptor write_files",
    "exhaustion": "busy_loop colliding_hashes deep_recursion endless_iterator heavy_numbers "
    "huge_integer huge_power memory_bomb memory_bomb_mapped output_flood signal_handlers sleeper "
    "yielding_threads",
    "sight of other completions": "clocks_of_others leaves_a_flag numbers_in_a_row shared_futex",
}
PLANTED = "/planted"


def kinds() -> dict[str, str]:
    """Cheat → kind. Raises ValueError where the table above and the corpus differ."""
    found = {name: kind for kind, names in KINDS.items() for name in names.split()}
    if odd := set(found) ^ set(proof.cheats()):
        raise ValueError(f"sandbox_cheats.KINDS: {', '.join(sorted(odd))} stand on one side only")
    return found


def attempts(solutions: list[Problem]) -> list[tuple[str, Problem]]:
    """Every cheat with the problems that it is tried on, as the proof of each run has them."""
    return [
        (name, problem)
        for name, text in proof.cheats().items()
        for problem in solutions[: 1 if text.startswith("# slow:") else 2]
    ]


def under_code_eval(
    container: Container, tried: list[tuple[str, Problem]]
) -> list[tuple[bool, str]]:
    found = []
    for place, (name, problem) in enumerate(tried):
        cheat = proof.cheating(
            problem, proof.cheats()[name], f"{PLANTED}/{problem.entry_point}.txt"
        )
        program = f"{cheat.prompt}{cheat.completion}\n{cheat.tests}\ncheck({cheat.entry_point})"
        answer = container.judge([program])[0]
        found.append((answer.passed, answer.result))
        print(f"{place + 1} of {len(tried)}: {name}: {answer.result[:60]}", file=sys.stderr)
    return found


def here(tried: list[tuple[str, Problem]]) -> tuple[int, list[tuple[bool, str]]]:
    with Sandbox(1, 3, proof.QUICK) as sandbox:
        planted = sandbox.plant([p.prompt + p.completion for _, p in tried])
        verdicts = sandbox.judge_all(
            [
                proof.cheating(p, proof.cheats()[name], planted[p.prompt + p.completion])
                for name, p in tried
            ]
        )
        return sandbox.confinement.level, [(v.passed, f"{v.reason}: {v.detail}") for v in verdicts]


def table(rows: list[dict[str, Any]]) -> str:
    """By kind: cheats, how many passed on one problem at least, and how many ended or stopped the
    process that judges under `code_eval`."""
    lines = [
        "| kind of cheat | cheats | `code_eval`: pass | `code_eval`: end the judge | here: pass |",
        "|---|---|---|---|---|",
    ]
    cheats = {row["cheat"]: row["kind"] for row in rows}
    columns = [
        {row["cheat"] for row in rows if row["code_eval"]["passed"]},
        {row["cheat"] for row in rows if row["code_eval"]["result"] == "lost"},
        {row["cheat"] for row in rows if row["here"]["passed"]},
    ]
    for kind in [*KINDS, ""]:
        names = {name for name, own in cheats.items() if kind in ("", own)}
        cells = [_cell(sorted(names & column), bool(kind)) for column in columns]
        lines.append(f"| {kind or 'all'} | {len(names)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(names: list[str], listed: bool) -> str:
    return f"{len(names)}: {', '.join(names)}" if names and listed else str(len(names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluate", type=Path, required=True, help="a checkout of HF evaluate")
    parser.add_argument("--problems", type=Path, help="HumanEval.jsonl or .jsonl.gz")
    parser.add_argument("--out", type=Path, help="FILE.json")
    args = parser.parse_args()
    kind = kinds()
    tried = attempts(human_eval(args.problems))
    with tempfile.TemporaryDirectory() as folder:
        # The container has a user of its own, and this stands for a benchmark that lies on a disk.
        Path(folder).chmod(0o755)
        for problem in {p for _, p in tried}:
            path = Path(folder) / f"{problem.entry_point}.txt"
            path.write_text(problem.prompt + problem.completion, "utf-8")
        try:
            container = Container(args.evaluate, {PLANTED: Path(folder)})
        except RuntimeError as error:
            print(f"sandbox_cheats: {error}", file=sys.stderr)
            sys.exit(2)
        theirs = under_code_eval(container, tried)
    level, ours = here(tried)
    rows = [
        {
            "cheat": name,
            "kind": kind[name],
            "problem": problem.entry_point,
            "code_eval": {"passed": their_pass, "result": their_word},
            "here": {"passed": our_pass, "result": our_word},
        }
        for (name, problem), (their_pass, their_word), (our_pass, our_word) in zip(
            tried, theirs, ours, strict=True
        )
    ]
    if args.out:
        content = {"level": level, "python": platform.python_version(), "attempts": rows}
        args.out.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    print(table(rows))
    sys.exit(int(any(passed for passed, _ in ours)))


if __name__ == "__main__":
    main()
