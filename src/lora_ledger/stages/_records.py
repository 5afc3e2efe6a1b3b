"""Many records on one command line.

In: the values of a flag. Out: paths. It reads no record.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from lora_ledger.common.errors import KeyProblem


def paths_of(given: Sequence[str]) -> list[Path]:
    """The paths given; for `-` alone those on standard input, quoted as a shell quotes them."""
    names = shlex.split(sys.stdin.read()) if list(given) == ["-"] else given
    if not names:
        raise KeyProblem("--records", [], "names of records on standard input")
    return [Path(name) for name in names]
