"""`ledger`: the command line for people.

In: the files that a run left in `results/`. Out: what stands in the terminal, and an exit status:
0 when something was shown, 1 when there was nothing, 2 for a wrong command or file.
It runs no stage, loads no model and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .sandbox import add_commands
from .show import fail, print_tables, terminal

RESULTS = Path("results")
DEFAULT_STUDY = "quickstart"
NOT_RUNS = ("pinned", "published")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="ledger", description="Look at what a study found.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="print a study's tables and where its files are")
    place = show.add_mutually_exclusive_group()
    place.add_argument("folder", nargs="?", type=Path, help="results folder of a study")
    place.add_argument("--study", help=f"name or file of a study (default: {DEFAULT_STUDY})")
    show.set_defaults(run=_show)
    asked = commands.add_parser("plan", help="say what a study asks for, before it is run")
    asked.add_argument("study", nargs="?", default=DEFAULT_STUDY, help="name or file of a study")
    asked.add_argument(
        "--time",
        action="store_true",
        help="one line: how long it takes here, by a product timed now",
    )
    asked.set_defaults(run=_plan)
    ledger = commands.add_parser("claims", help="print what the papers claim, and what was decided")
    ledger.add_argument("ids", nargs="*", metavar="ID", help="claims to print whole, such as LA4")
    ledger.add_argument("--paper", help="a letter (A, B, C, D, E, N) or a paper's key")
    ledger.add_argument("--study", help="name or file of the study whose verdicts to take")
    ledger.add_argument(
        "--reanalysis", action="store_true", help="print docs/reanalysis.md from published numbers"
    )
    ledger.set_defaults(run=_claims)
    add_commands(commands.add_parser("sandbox", help="prove the sandbox of generated code"))
    args = parser.parse_args(argv)
    try:
        status: int = args.run(args)
    except (ValueError, KeyError, OSError) as error:
        fail(str(error))
        return 2
    return status


def _plan(args: argparse.Namespace) -> int:
    # Here, since `show` needs no study file.
    from .plan import print_plan, print_time

    return (print_time if args.time else print_plan)(args.study, RESULTS)


def _claims(args: argparse.Namespace) -> int:
    # Here, since `show` needs no claim.
    from .claims import print_claims, print_reanalysis

    if args.reanalysis:
        return print_reanalysis()
    study = study_name(args.study) if args.study else None
    return print_claims(args.ids, args.paper, study, RESULTS)


def _show(args: argparse.Namespace) -> int:
    folder = args.folder or RESULTS / study_name(args.study or DEFAULT_STUDY)
    return show_results(folder, args.study or folder.name)


def study_name(name_or_path: str) -> str:
    """The name that a study goes by; a file is read for its `name` and not otherwise checked."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        return name_or_path
    from lora_ledger.common import yaml

    content = yaml.read(path)
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise ValueError(f"{path}: found no `name`, expected a study file")
    return str(content["name"])


def show_results(folder: Path, study: str) -> int:
    """Print the tables of a results folder, then where everything lies."""
    console = terminal()
    path = folder / "tables" / "record.json"
    if not path.is_file():
        console.print(f"There are no tables in {folder} yet. To make them:", soft_wrap=True)
        console.print(f"  make results STUDY={study}", soft_wrap=True)
        console.print(
            f"  snakemake --cores all --config study={study}     (the same, without make)",
            soft_wrap=True,
        )
        others = sorted(
            p.parent.parent.name
            for p in RESULTS.glob("*/tables/record.json")
            if p.parent.parent.name not in NOT_RUNS
        )
        if others:
            console.print(f"Studies with tables: {', '.join(others)} (ledger show --study NAME)")
        return 1
    from lora_ledger.records.record import read_record

    record = read_record(path)
    if record.stage != "tabulate":
        raise ValueError(f"{path}: found a record of {record.stage}, expected one of tabulate")
    tables = dict(record.results["tables"])
    if "cost" in record.run:
        tables["cost"] = record.run["cost"]
    print_tables(console, list(tables.values()))
    console.print()
    for what, place in (
        ("tables", folder / "tables"),
        ("figures", folder / "figures"),
        ("records", folder),
    ):
        if place.is_dir():
            note = {"tables": "csv, md, tex", "figures": "svg, png", "records": "json"}[what]
            console.print(f"{what + ':':<9}{place}/  ({note})", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
