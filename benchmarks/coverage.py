"""How often does each interval hold the truth, at a study's numbers of seeds and items?

In: numbers of seeds, a number of items, a number of simulated data sets. Out: two Markdown tables,
written over those in docs/statistics.md, and a CSV of every shape of data beside it. The same
numbers give the same tables. Threads of numpy's matrix product only get in each other's way here.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py --seeds 3 5 6 --items 200 \\
        --doc docs/statistics.md --csv results/bench/coverage.csv
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from lora_ledger.analysis.coverage import METHODS, MORE, SETS, Measured, measured
from lora_ledger.records.atomic import write_text_atomic

BEGIN, END = "<!-- measured coverage -->", "<!-- end -->"


def figures(rows: Sequence[Measured]) -> str:
    """Least coverage and most rejections among shapes of data, in per cent."""
    covered = [r.coverage for r in rows if not math.isnan(r.coverage)]
    rejected = [r.rejected for r in rows if not math.isnan(r.rejected)]
    parts = [f"{100 * min(covered):.1f}" if covered else "–"]
    parts.append(f"{100 * max(rejected):.1f}" if rejected else "–")
    return " / ".join(parts)


def table(found: dict[str, dict[int, tuple[Measured, ...]]], seeds: Sequence[int]) -> str:
    """One row a method: the worst of the shapes that it allows."""
    head = ["interval or test", *(f"{n} seeds" for n in seeds), "may decide at"]
    rows = [head, ["---"] * len(head)]
    for method, by_seeds in found.items():
        allowed = {n: [r for r in by_seeds[n] if not r.broken] for n in seeds}
        fine = [str(n) for n in seeds if all(r.holds for r in allowed[n])]
        rows.append([method, *(figures(allowed[n]) for n in seeds), ", ".join(fine) or "none"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def broken(found: dict[str, dict[int, tuple[Measured, ...]]], seeds: Sequence[int]) -> str:
    """One row a method and shape of data that breaks what it assumes."""
    head = ["interval or test", "data", *(f"{n} seeds" for n in seeds)]
    rows = [head, ["---"] * len(head)]
    for method, by_seeds in found.items():
        for shape in METHODS[method].broken:
            cells = [figures([r for r in by_seeds[n] if r.shape == shape]) for n in seeds]
            rows.append([method, shape, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def as_csv(found: dict[str, dict[int, tuple[Measured, ...]]]) -> str:
    text = io.StringIO()
    rows = [asdict(r) for by_seeds in found.values() for many in by_seeds.values() for r in many]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 6])
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--sets", type=int, default=SETS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--doc", type=Path)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args(argv)
    found: dict[str, dict[int, tuple[Measured, ...]]] = {method: {} for method in METHODS}
    with ProcessPoolExecutor(args.jobs) as pool:
        asked = {
            (method, n): pool.submit(measured, method, n, args.items, args.sets)
            for method in METHODS
            for n in args.seeds
        }
        for (method, n), made in tqdm(asked.items()):
            found[method][n] = made.result()
    text = (
        f"{args.sets:,} data sets each, {MORE * args.sets:,} where those leave it open; "
        f"{args.items} items. Covered / rejected, per\ncent, the worst of the shapes of data that "
        f"the method allows.\n\n{table(found, args.seeds)}\n\n"
        f"Where the data break what a method assumes:\n\n{broken(found, args.seeds)}"
    )
    if args.csv:
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(args.csv, as_csv(found))
    if args.doc:
        before, rest = args.doc.read_text("utf-8").split(BEGIN, 1)
        after = rest.split(END, 1)[1]
        write_text_atomic(args.doc, f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
