"""The command line that every stage has: flags in, one call, one line out; errors for people.

In: a stage, its flags, and the function that does its work. Out: the process's exit: 0, or 2 after
one line on standard error that says what is wrong. A traceback is a fault of the program.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lora_ledger.common.surroundings import clear
from lora_ledger.data.sources import home
from lora_ledger.data.sources.cache import SourceError
from lora_ledger.scheduling.stage import Stage

OUTPUTS = ("out", "items", "work")
EXPECTED = (ValueError, OSError, SourceError)
"""What a wrong study, path or file raises; a stage adds what else its work may."""


def flag(name: str, help: str = "", **more: Any) -> tuple[str, dict[str, Any]]:
    """A flag that must be given, a text unless `type` or `nargs` says otherwise."""
    return f"--{name}", {"required": True, "help": help, **more}


def place(name: str, help: str = "", **more: Any) -> tuple[str, dict[str, Any]]:
    """A flag that names a file or folder."""
    return flag(name, help, type=Path, **more)


def _said(error: Exception) -> str:
    """An error in words; the system's own name a path at best, here also what was expected."""
    if not isinstance(error, OSError) or error.filename is None or error.errno is None:
        return str(error)
    path, why = os.fsdecode(error.filename), (error.strerror or "").lower()
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return (
            f"{path}: found nothing, expected what an earlier stage wrote; run that stage, or "
            "correct the path"
        )
    if isinstance(error, IsADirectoryError):
        return f"{path}: found a folder, expected a file; name the file"
    if isinstance(error, FileExistsError):
        return f"{path}: found a file, expected a folder or nothing; move the file away"
    return f"{path}: {why}, expected to be able to read and write there; see to its mode"


def run(
    stage: Stage,
    description: str | None,
    flags: Sequence[tuple[str, dict[str, Any]]],
    work: Callable[[argparse.Namespace], str | None],
    argv: Sequence[str] | None = None,
    expected: type[Exception] | None = None,
) -> int:
    """Parse the flags and do the work; what it returns is printed. `expected`: its own errors."""
    parser = argparse.ArgumentParser(
        prog=f"python -m lora_ledger.stages.{stage.name}", description=description
    )
    for name, settings in flags:
        parser.add_argument(name, **settings)
    args = parser.parse_args(argv)
    cleared = clear(os.environ)
    if cleared:
        print(
            f"{stage.name}: {', '.join(cleared)} taken out of the environment, as the study "
            "decides how it is computed",
            file=sys.stderr,
        )
    instead = home.writable(os.environ)
    if instead:
        print(f"{stage.name}: the home cannot be written; caches are in {instead}", file=sys.stderr)
    for place in (getattr(args, name, None) for name in OUTPUTS):
        # Before the work, which may take a day.
        if isinstance(place, Path) and not home.takes_files(place.parent):
            print(
                f"{stage.name}: {place}: found a folder that cannot be written, expected one that "
                "can; name another, or see to its mode and to space on the disk",
                file=sys.stderr,
            )
            return 2
    caught: tuple[type[Exception], ...] = (*EXPECTED, *([expected] if expected else []))
    try:
        said = work(args)
    except caught as error:
        print(f"{stage.name}: {_said(error)}", file=sys.stderr)
        return 2
    if said:
        print(said)
    return 0
