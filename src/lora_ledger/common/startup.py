"""The start of a job: what it imports and loads before it works.

What torch, transformers and lm-eval make stays until the process ends. Python would look through it
again and again while it comes, at every later collection and once more at the end, which is two of
the five seconds that such a job takes to start and to end.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """No garbage is collected in the block.

    Where modules came, what is there at its end is left out of every later collection; a caller
    that has them already keeps its objects as they are.
    """
    enabled, modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > modules:
            gc.freeze()
        if enabled:
            gc.enable()
