"""How long a plan takes: reading a study of a thousand cells, and `snakemake -n` of it.

In: the study `smoke`, given more seeds. Out: processor seconds and wall seconds of both, as JSON.
It runs no job and measures no peer: nobody else plans such a study.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

SMOKE = Path("config/smoke.yaml")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1000, help="at least so many")
    parser.add_argument("--out", required=True, type=Path, help="JSON to write")
    args = parser.parse_args()
    from lora_ledger.records.atomic import write_text_atomic
    from lora_ledger.study import cells
    from lora_ledger.study.file import load

    one = len(cells.cells(load("smoke")))
    raw = yaml.safe_load(SMOKE.read_text("utf-8"))
    raw |= {"name": "planning", "seeds": list(range(1, 2 - args.cells // -one))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planning.yaml"
        path.write_text(yaml.safe_dump(raw), "utf-8")
        started = time.process_time()
        count = len(cells.cells(load(str(path))))
        read = time.process_time() - started
        command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "all"]
        started, before = time.perf_counter(), _children()
        subprocess.run(
            [*command, "--config", f"study={path}"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ,
        )
        found = {
            "cells": count,
            "read_cpu_seconds": round(read, 3),
            "plan_cpu_seconds": round(_children() - before, 1),
            "plan_wall_seconds": round(time.perf_counter() - started, 1),
        }
    write_text_atomic(args.out, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
