"""Run a command as the only one of its kind: `python -m lora_ledger.scheduling.lock snakemake …`

In: a Snakemake command line. Out: that command, in place of this process.
Snakemake's own lock outlives a process that was killed and then refuses the next run. This one is
the kernel's: it is gone with its holder. Whoever holds it may therefore clear what a dead run left
behind. It does not guard against a Snakemake that was started without it.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

from lora_ledger.data.sources import home

FOLDER = Path(".snakemake")


def main() -> None:
    command = sys.argv[1:]
    if not command:
        sys.exit("usage: python -m lora_ledger.scheduling.lock COMMAND …")
    FOLDER.mkdir(exist_ok=True)
    handle = os.open(FOLDER / "alone.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(
            f"another run is at work in {Path.cwd()}; wait for it, or stop it and give the same "
            "command again"
        )
    for left in (FOLDER / "locks").glob("*.lock"):
        left.unlink(missing_ok=True)
    # Snakemake keeps files in the user's cache before it reads any rule.
    instead = home.writable(os.environ)
    if instead:
        print(f"the home cannot be written; caches are in {instead}", file=sys.stderr)
    # Kept open across the change of program, the lock lasts as long as the command does.
    os.set_inheritable(handle, True)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
