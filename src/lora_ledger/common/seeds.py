"""Seeds of independent random streams.

In: a study's seed and the name of what is drawn. Out: a seed for that stream alone.
Initialisation, dropout and example order each have their own, so that one arm's draws never shift
another's. It draws nothing itself.
"""

from __future__ import annotations

import hashlib


def stream(seed: int, name: str, *index: int) -> int:
    """A seed in [0, 2⁶³) for stream `name` (and step, epoch, … given as `index`) of a run."""
    text = ":".join([str(seed), name, *map(str, index)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
